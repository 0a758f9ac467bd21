/*
 * Checks of server-filesystem: its tools, its walls, and roots that replace its directories for one session only.
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { textOf, until } from './suite.mjs';

const SERVER = 'files';

const root = dir => ({ uri: pathToFileURL(dir).href, name: dir.split('/').at(-1) });
const bare = t => t.open({ capabilities: {} });

const allowedDirs = async s =>
	textOf(await s.call('list_allowed_directories')).split('\n').slice(1).map(line => line.trim());

async function ok(promise) {
	const result = await promise;
	assert.notEqual(result.isError, true, textOf(result));
	return textOf(result);
}

async function denied(promise) {
	const result = await promise;
	assert.equal(result.isError, true);
	assert.match(textOf(result), /outside allowed directories/i);
	return 'denied';
}

async function toolsList(t) {
	const s = await bare(t);
	const tools = s.own((await s.client.listTools()).tools);
	assert.ok(tools.length >= 13);
	return tools.sort((a, b) => (a.name < b.name ? -1 : 1));
}

async function ownDirectory(t) {
	const s = await bare(t);
	const dirs = await allowedDirs(s);
	assert.deepEqual(dirs, [t.area.dir('allowed')]);
	return dirs;
}

async function readAndWrite(t) {
	const s = await bare(t);
	const path = join(t.area.dir('allowed'), 'note.txt');
	const body = 'first line\nzweite Zeile: grüße \u{1f680}\n';
	await ok(s.call('write_file', { path, content: body }));
	assert.equal(readFileSync(path, 'utf8'), body);
	const text = await ok(s.call('read_text_file', { path }));
	assert.equal(text, body);
	const head = await ok(s.call('read_text_file', { path, head: 1 }));
	assert.equal(head, 'first line');
	return text;
}

async function edit(t) {
	const s = await bare(t);
	const path = join(t.area.dir('allowed'), 'edit.txt');
	writeFileSync(path, 'one\ntwo\nthree\n');
	const diff = await ok(s.call('edit_file', { path, edits: [{ oldText: 'two', newText: 'zwei' }] }));
	assert.equal(readFileSync(path, 'utf8'), 'one\nzwei\nthree\n');
	return diff;
}

async function tree(t) {
	const s = await bare(t);
	const dir = join(t.area.dir('allowed'), 'tree');
	await ok(s.call('create_directory', { path: join(dir, 'deep') }));
	await ok(s.call('write_file', { path: join(dir, 'deep', 'leaf.txt'), content: 'leaf' }));
	await ok(s.call('move_file', { source: join(dir, 'deep', 'leaf.txt'), destination: join(dir, 'moved.txt') }));
	const listed = await ok(s.call('list_directory', { path: dir }));
	assert.match(listed, /\[FILE\] moved\.txt/);
	const sizes = await ok(s.call('list_directory_with_sizes', { path: dir }));
	const whole = await ok(s.call('directory_tree', { path: dir }));
	const found = await ok(s.call('search_files', { path: dir, pattern: '*.txt' }));
	assert.match(found, /moved\.txt/);
	const info = await ok(s.call('get_file_info', { path: join(dir, 'moved.txt') }));
	assert.match(info, /size: 4/);
	return { listed, sizes, whole, found };
}

async function severalFiles(t) {
	const s = await bare(t);
	const paths = ['m1.txt', 'm2.txt'].map(name => join(t.area.dir('allowed'), name));
	paths.forEach((path, i) => writeFileSync(path, `content ${i}`));
	return ok(s.call('read_multiple_files', { paths: [...paths, join(t.area.dir('allowed'), 'absent.txt')] }));
}

async function media(t) {
	const s = await bare(t);
	const path = join(t.area.dir('allowed'), 'dot.png');
	writeFileSync(path, Buffer.from([0x89, 0x50, 0x4e, 0x47, 0, 255, 1, 254]));
	const { content } = await s.call('read_media_file', { path });
	assert.equal(content[0].type, 'image');
	return content;
}

async function walls(t) {
	const s = await bare(t);
	const secret = join(t.area.dir('outside'), 'secret.txt');
	writeFileSync(secret, 'secret');
	await denied(s.call('read_text_file', { path: secret }));
	await denied(s.call('read_text_file', { path: join(t.area.dir('allowed'), '..', 'outside', 'secret.txt') }));
	await denied(s.call('write_file', { path: join(t.area.dir('outside'), 'new.txt'), content: 'x' }));
	return 'three times denied';
}

async function rootsReplace(t) {
	const s = await t.open({ roots: [root(t.area.dir('a'))] });
	await until(async () => (await allowedDirs(s))[0] === t.area.dir('a'), "the client's roots in force");
	const path = join(t.area.dir('a'), 'mine.txt');
	await ok(s.call('write_file', { path, content: 'of a' }));
	await denied(s.call('read_text_file', { path: join(t.area.dir('allowed'), 'note.txt') }));
	return allowedDirs(s);
}

async function rootsChange(t) {
	const s = await t.open({ roots: [root(t.area.dir('a'))] });
	await until(async () => (await allowedDirs(s))[0] === t.area.dir('a'), 'the first roots in force');
	s.roots = [root(t.area.dir('b'))];
	await s.client.sendRootsListChanged();
	await until(async () => (await allowedDirs(s))[0] === t.area.dir('b'), 'the new roots in force');
	await denied(s.call('list_directory', { path: t.area.dir('a') }));
	return ok(s.call('list_directory', { path: t.area.dir('b') }));
}

/* Two clients at once, each with its own directory, and a third without roots. */
async function isolation(t) {
	const a = await t.open({ roots: [root(t.area.dir('a'))] });
	const b = await t.open({ roots: [root(t.area.dir('b'))] });
	const none = await bare(t);
	for (const [s, name] of [[a, 'a'], [b, 'b'], [none, 'allowed']])
		await until(async () => (await allowedDirs(s))[0] === t.area.dir(name), `directory ${name} in force`);
	writeFileSync(join(t.area.dir('a'), 'private.txt'), 'of a');
	writeFileSync(join(t.area.dir('b'), 'private.txt'), 'of b');
	const read = (s, name) => s.call('read_text_file', { path: join(t.area.dir(name), 'private.txt') });
	for (let round = 0; round < 5; round++) {
		const [ownA, ownB] = await Promise.all([ok(read(a, 'a')), ok(read(b, 'b'))]);
		assert.equal(ownA, 'of a');
		assert.equal(ownB, 'of b');
		await Promise.all([denied(read(a, 'b')), denied(read(b, 'a')), denied(read(none, 'a'))]);
	}
	return [await allowedDirs(a), await allowedDirs(b), await allowedDirs(none)];
}

export const CHECKS = [
	['files.tools.list', SERVER, toolsList],
	['files.own_directory', SERVER, ownDirectory],
	['files.read_write', SERVER, readAndWrite],
	['files.edit', SERVER, edit],
	['files.tree', SERVER, tree],
	['files.several', SERVER, severalFiles],
	['files.media', SERVER, media],
	['files.walls', SERVER, walls],
	['files.roots.replace', SERVER, rootsReplace],
	['files.roots.list_changed', SERVER, rootsChange],
	['files.roots.isolation', SERVER, isolation],
];
