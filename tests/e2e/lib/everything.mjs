/*
 * Checks of everything that server-everything shows.
 */
import assert from 'node:assert/strict';
import { gunzipSync } from 'node:zlib';
import { refusal, textOf, until } from './suite.mjs';
import { sleep } from './target.mjs';

const SERVER = 'everything';
const TEXT_1 = 'demo://resource/dynamic/text/1';
const BLOB_2 = 'demo://resource/dynamic/blob/2';

const byName = list => [...list].sort((a, b) => (a.name < b.name ? -1 : 1));

const PLAIN_TOOLS = [
	'echo', 'get-annotated-message', 'get-env', 'get-resource-links', 'get-resource-reference',
	'get-structured-content', 'get-sum', 'get-tiny-image', 'gzip-file-as-resource', 'simulate-research-query',
	'toggle-simulated-logging', 'toggle-subscriber-updates', 'trigger-long-running-operation',
];

async function initialize(t) {
	const { client } = await t.session();
	const has = client.getServerCapabilities();
	assert.equal(has.tools?.listChanged, true);
	assert.equal(has.prompts?.listChanged, true);
	assert.equal(has.resources?.listChanged, true);
	assert.equal(has.resources?.subscribe, true);
	for (const kind of ['logging', 'completions'])
		assert.ok(has[kind], `capability ${kind}`);
	assert.match(client.getInstructions(), /Everything Server/);
	assert.ok(client.getServerVersion().name);
	return 'tools prompts resources logging completions, instructions';
}

async function toolsList(t) {
	const s = await t.session();
	const tools = byName(s.own((await s.client.listTools()).tools));
	for (const name of [...PLAIN_TOOLS, 'get-roots-list', 'trigger-elicitation-request',
		'trigger-sampling-request', 'trigger-url-elicitation'])
		assert.ok(tools.some(tool => tool.name === name), name);
	return tools;
}

/* Which tools there are depends on what the client can do. */
async function toolsOfBareClient(t) {
	const s = await t.open({ capabilities: {} });
	const names = byName(s.own((await s.client.listTools()).tools)).map(tool => tool.name);
	assert.deepEqual(names, PLAIN_TOOLS);
	return names;
}

async function annotated(t) {
	const s = await t.session();
	const results = [];
	for (const messageType of ['error', 'success', 'debug'])
		results.push(await s.call('get-annotated-message', { messageType, includeImage: true }));
	assert.equal(results[0].content[0].annotations.priority, 1);
	assert.equal(results[0].content[1].type, 'image');
	return results;
}

async function environment(t) {
	const s = await t.session();
	const env = JSON.parse(textOf(await s.call('get-env')));
	assert.equal(typeof env.PATH, 'string');
	return 'an object with PATH';
}

async function resourceLinks(t) {
	const s = await t.session();
	const { content } = await s.call('get-resource-links', { count: 4 });
	const links = content.filter(block => block.type === 'resource_link');
	assert.equal(links.length, 4);
	const read = await s.client.readResource({ uri: links[0].uri });
	assert.equal(read.contents.length, 1);
	return content;
}

async function resourceReference(t) {
	const s = await t.session();
	const text = await s.call('get-resource-reference', { resourceType: 'Text', resourceId: 3 });
	const blob = await s.call('get-resource-reference', { resourceType: 'Blob', resourceId: 4 });
	assert.equal(text.content.find(block => block.type === 'resource').resource.mimeType, 'text/plain');
	assert.ok(blob.content.find(block => block.type === 'resource').resource.blob);
	return text;
}

async function structured(t) {
	const s = await t.session();
	await s.client.listTools(); /* the client checks results against the output schemas it knows */
	const result = await s.call('get-structured-content', { location: 'Chicago' });
	assert.equal(typeof result.structuredContent.temperature, 'number');
	return result;
}

async function image(t) {
	const s = await t.session();
	const { content } = await s.call('get-tiny-image');
	assert.equal(content[1].mimeType, 'image/png');
	return content;
}

async function gzip(t) {
	const s = await t.open({ roots: [] });
	const source = 'compress me '.repeat(50);
	const { content } = await s.call('gzip-file-as-resource', {
		name: 'e2e.gz',
		data: `data:text/plain;base64,${Buffer.from(source).toString('base64')}`,
		outputType: 'resourceLink',
	});
	await until(() => s.seen.resources.length > 0, 'resources/list_changed');
	const listed = (await s.client.listResources()).resources;
	assert.ok(listed.some(entry => entry.uri === content[0].uri), 'link is listed');
	const { contents } = await s.client.readResource({ uri: content[0].uri });
	assert.equal(gunzipSync(Buffer.from(contents[0].blob, 'base64')).toString(), source);
	return content;
}

async function gzipInline(t) {
	const s = await t.open({ roots: [] });
	const { content } = await s.call('gzip-file-as-resource', {
		name: 'inline.gz',
		data: `data:text/plain,${'a'.repeat(200)}`,
		outputType: 'resource',
	});
	assert.equal(gunzipSync(Buffer.from(content[0].resource.blob, 'base64')).length, 200);
	return content;
}

async function longRunning(t) {
	const s = await t.session();
	const progress = [];
	const result = await s.call('trigger-long-running-operation', { duration: 0.5, steps: 5 }, undefined,
		{ onprogress: note => progress.push(note) });
	/* The SDK's client hands out notifications a tick later than answers: the last one may come too late for it. */
	assert.ok(progress.length >= 4, `${progress.length} of 5 arrived`);
	progress.forEach((note, i) => assert.deepEqual(note, { progress: i + 1, total: 5 }));
	return { progress: progress.slice(0, 4), result };
}

/* No token given, none sent: a stray progress notification would be told as an error of the client. */
async function noProgressUnasked(t) {
	const s = await t.open({ roots: [] });
	const result = await s.call('trigger-long-running-operation', { duration: 0.2, steps: 2 });
	assert.deepEqual(s.errors, []);
	return result;
}

async function cancellation(t) {
	const s = await t.open({ roots: [] });
	const stop = new AbortController();
	const call = s.call('trigger-long-running-operation', { duration: 2, steps: 2 }, undefined,
		{ signal: stop.signal });
	setTimeout(() => stop.abort('enough'), 200);
	const error = await refusal(call);
	assert.match(String(error.message ?? error), /enough/);
	const echo = await s.call('echo', { message: 'still there' });
	assert.equal(textOf(echo), 'Echo: still there');
	await sleep(2300); /* the cancelled call's answer must not arrive as something else */
	assert.deepEqual(s.errors.filter(line => /unknown message ID/i.test(line)), []);
	return echo;
}

async function cancelOne(t) {
	const s = await t.session();
	const stop = new AbortController();
	const run = signal => s.call('trigger-long-running-operation', { duration: 0.8, steps: 1 }, undefined,
		signal ? { signal } : {});
	const doomed = run(stop.signal);
	const kept = run();
	setTimeout(() => stop.abort('one'), 100);
	await refusal(doomed);
	return kept;
}

async function sampling(t) {
	const s = await t.session();
	const before = s.asked.sampling.length;
	const result = await s.call('trigger-sampling-request', { prompt: 'say something', maxTokens: 20 });
	assert.equal(s.asked.sampling.length, before + 1);
	assert.match(textOf(result), /a sampled answer/);
	return { asked: s.asked.sampling.at(-1), result };
}

async function elicitation(t) {
	const s = await t.session();
	const results = [];
	for (const answer of [
		{ action: 'accept', content: { name: 'Ada', check: true, color: 'teal', integer: 42 } },
		{ action: 'decline' },
		{ action: 'cancel' },
	]) {
		s.elicit = () => answer;
		results.push(await s.call('trigger-elicitation-request'));
	}
	assert.match(textOf(results[0]), /Name: Ada/);
	assert.match(textOf(results[1]), /declined/);
	assert.match(textOf(results[2]), /cancelled/);
	return { asked: s.asked.elicitation.at(-1), results };
}

async function urlElicitation(t) {
	const s = await t.open({ roots: [] });
	s.elicit = () => ({ action: 'accept' });
	const args = { url: 'https://example.org/consent', message: 'Please consent', elicitationId: 'e2e-1' };
	const result = await s.call('trigger-url-elicitation', { ...args, errorPath: false });
	assert.equal(s.asked.elicitation.at(-1).mode, 'url');
	assert.equal(s.asked.elicitation.at(-1).url, args.url);
	return result;
}

async function urlElicitationRequired(t) {
	const s = await t.open({ roots: [] });
	const error = await refusal(s.call('trigger-url-elicitation', {
		url: 'https://example.org/first', message: 'First', elicitationId: 'e2e-2', errorPath: true,
	}));
	assert.equal(error.code, -32042);
	assert.equal(error.data.elicitations.length, 1);
	return { code: error.code, data: error.data };
}

async function unknownTool(t) {
	const s = await t.session();
	const outcome = await s.call('no-such-tool').then(
		result => ({ isError: result.isError }), error => ({ code: error.code }));
	assert.ok(outcome.isError === true || outcome.code === -32602);
	return 'refused';
}

async function invalidArguments(t) {
	const s = await t.session();
	const results = [];
	for (const args of [{}, { message: 7 }]) {
		const result = await s.call('echo', args);
		assert.equal(result.isError, true);
		results.push(result.content[0].text.replaceAll(s.name('echo'), 'echo'));
	}
	return results;
}

/* What goes through untouched: unicode, escapes, long text, numbers that are not small integers. */
async function bytes(t) {
	const s = await t.session();
	const message = 'grüße \u{1f680} "quoted" \\ \u0001 \u2028 \u0000 </script> end';
	assert.equal(textOf(await s.call('echo', { message })), `Echo: ${message}`);
	const sum = await s.call('get-sum', { a: 0.1, b: 1e21 });
	return sum;
}

async function largeMessage(t) {
	const s = await t.session();
	const message = '0123456789abcdef'.repeat(64 * 1024);
	const result = await s.call('echo', { message });
	assert.equal(textOf(result), `Echo: ${message}`);
	return `${message.length} characters`;
}

async function manyAtOnce(t) {
	const s = await t.session();
	const numbers = Array.from({ length: 60 }, (_, i) => i);
	const sums = await Promise.all(numbers.map(i => s.call('get-sum', { a: i, b: 1000 })));
	sums.forEach((result, i) => assert.match(textOf(result), new RegExp(`\\b${i + 1000}\\b`)));
	return `${sums.length} answers, each its own`;
}

async function promptsList(t) {
	const s = await t.session();
	const prompts = byName(s.own((await s.client.listPrompts()).prompts));
	assert.equal(prompts.length, 4);
	return prompts;
}

async function promptsGet(t) {
	const s = await t.session();
	const get = (name, args) => s.client.getPrompt({ name: s.name(name), arguments: args });
	const results = [
		await get('simple-prompt'),
		await get('args-prompt', { city: 'Oslo', state: 'Oslo' }),
		await get('completable-prompt', { department: 'Engineering', name: 'Alice' }),
		await get('resource-prompt', { resourceType: 'Text', resourceId: '1' }),
	];
	assert.match(results[1].messages[0].content.text, /Oslo/);
	assert.equal(results[3].messages[1].content.type, 'resource');
	return results;
}

async function promptErrors(t) {
	const s = await t.session();
	const missing = await refusal(s.client.getPrompt({ name: s.name('args-prompt'), arguments: {} }));
	const unknown = await refusal(s.client.getPrompt({ name: s.name('no-such-prompt') }));
	assert.equal(missing.code, -32602);
	assert.equal(unknown.code, -32602);
	return [missing.code, unknown.code];
}

async function completionOfPrompt(t) {
	const s = await t.session();
	const ref = { type: 'ref/prompt', name: s.name('completable-prompt') };
	const department = await s.client.complete({ ref, argument: { name: 'department', value: 'Eng' } });
	const name = await s.client.complete({
		ref, argument: { name: 'name', value: '' }, context: { arguments: { department: 'Engineering' } },
	});
	assert.deepEqual(department.completion.values, ['Engineering']);
	assert.ok(name.completion.values.length > 0);
	return [department, name];
}

async function completionOfTemplate(t) {
	const s = await t.session();
	const [template] = (await s.client.listResourceTemplates()).resourceTemplates;
	const variable = /\{(\w+)\}/.exec(template.uriTemplate)[1];
	return s.client.complete({
		ref: { type: 'ref/resource', uri: template.uriTemplate }, argument: { name: variable, value: '1' },
	});
}

async function resourcesList(t) {
	const s = await t.session();
	const { resources } = await s.client.listResources();
	const mine = resources.filter(entry => entry.uri.includes('demo://resource/static'));
	assert.ok(mine.length >= 5);
	return mine.map(entry => entry.uri).sort();
}

async function resourcesRead(t) {
	const s = await t.session();
	const { resources } = await s.client.listResources();
	const uri = resources.find(entry => entry.uri.endsWith('features.md')).uri;
	const [document] = (await s.client.readResource({ uri })).contents;
	assert.match(document.text, /Everything Server/);
	const [text] = (await s.client.readResource({ uri: TEXT_1 })).contents;
	const [blob] = (await s.client.readResource({ uri: BLOB_2 })).contents;
	assert.match(text.text, /Resource 1/);
	assert.ok(blob.blob.length > 0);
	assert.equal(text.uri, TEXT_1);
	assert.equal(blob.uri, BLOB_2);
	return { document, text };
}

async function resourceUnknown(t) {
	const s = await t.session();
	const error = await refusal(s.client.readResource({ uri: 'demo://resource/nowhere' }));
	assert.ok([-32602, -32002].includes(error.code), String(error.code));
	return 'refused';
}

async function templates(t) {
	const s = await t.session();
	const listed = (await s.client.listResourceTemplates()).resourceTemplates;
	/* templates keep their names: other servers' are told by their URIs */
	const all = byName(listed.filter(entry => entry.uriTemplate.startsWith('demo://')));
	assert.equal(all.length, 2);
	return all.map(entry => [entry.uriTemplate, entry.mimeType]);
}

async function subscription(t) {
	const s = await t.open({ roots: [] });
	await s.client.subscribeResource({ uri: TEXT_1 });
	const began = textOf(await s.call('toggle-subscriber-updates'));
	await until(() => s.seen.updated.length > 0, 'resources/updated');
	assert.equal(s.seen.updated[0].uri, TEXT_1);
	await s.client.unsubscribeResource({ uri: TEXT_1 });
	const ended = textOf(await s.call('toggle-subscriber-updates'));
	assert.match(began, /Started/);
	assert.match(ended, /Stopped/);
	return s.seen.updated[0];
}

/* Another session does not hear of it. */
async function subscriptionIsMine(t) {
	const s = await t.open({ roots: [] });
	const other = await t.open({ roots: [] });
	await s.client.subscribeResource({ uri: TEXT_1 });
	await s.call('toggle-subscriber-updates');
	await until(() => s.seen.updated.length > 0, 'resources/updated');
	await sleep(300);
	assert.deepEqual(other.seen.updated, []);
	await s.call('toggle-subscriber-updates');
	return 'only the subscriber hears';
}

async function logging(t) {
	const s = await t.open({ roots: [] });
	await s.client.setLoggingLevel('debug');
	await s.call('toggle-simulated-logging');
	await until(() => s.seen.message.some(note => /level/i.test(String(note.data))), 'notifications/message', 8000);
	await s.call('toggle-simulated-logging');
	return 'a message of the server';
}

async function roots(t) {
	const s = await t.open({ roots: [{ uri: 'file:///tmp/x', name: 'x' }, { uri: 'file:///tmp/y', name: 'y' }] });
	const first = textOf(await s.call('get-roots-list'));
	assert.match(first, /2 total/);
	assert.match(first, /file:\/\/\/tmp\/x/);
	s.roots = [{ uri: 'file:///tmp/z', name: 'z' }];
	const asked = s.asked.roots;
	await s.client.sendRootsListChanged();
	await until(() => s.asked.roots > asked, 'roots/list after list_changed');
	const second = await until(async () => {
		const text = textOf(await s.call('get-roots-list'));
		return /1 total/.test(text) && text;
	}, 'the new roots');
	assert.match(second, /file:\/\/\/tmp\/z/);
	return [first, second];
}

async function taskTool(t) {
	const s = await t.session();
	const kinds = [];
	let result;
	const stream = s.client.experimental.tasks.callToolStream({
		name: s.name('simulate-research-query'), arguments: { topic: 'owls', ambiguous: false },
	}, undefined, { task: { ttl: 60000 } });
	for await (const message of stream) {
		if (message.type === 'error')
			throw message.error;
		if (kinds.at(-1) !== message.type)
			kinds.push(message.type);
		if (message.type === 'result')
			result = message.result;
	}
	assert.match(textOf(result), /Research Report: owls/);
	return { kinds, report: textOf(result) };
}

async function taskAsks(t) {
	const s = await t.open({ roots: [] });
	s.elicit = () => ({ action: 'accept', content: { interpretation: 'technical' } });
	let result;
	for await (const message of s.client.experimental.tasks.callToolStream({
		name: s.name('simulate-research-query'), arguments: { topic: 'python', ambiguous: true },
	}, undefined, { task: { ttl: 60000 } })) {
		if (message.type === 'error')
			throw message.error;
		if (message.type === 'result')
			result = message.result;
	}
	assert.equal(s.asked.elicitation.length, 1);
	return textOf(result);
}

async function taskListCancel(t) {
	const s = await t.open({ roots: [] });
	const stream = s.client.experimental.tasks.callToolStream({
		name: s.name('simulate-research-query'), arguments: { topic: 'slow', ambiguous: false },
	}, undefined, { task: { ttl: 60000 } });
	const { value } = await stream.next();
	assert.equal(value.type, 'taskCreated');
	const { taskId } = value.task;
	const { tasks } = s.client.experimental;
	assert.equal((await tasks.getTask(taskId)).taskId, taskId);
	assert.ok((await tasks.listTasks()).tasks.some(task => task.taskId === taskId), 'listed');
	const cancelled = await tasks.cancelTask(taskId);
	await stream.return();
	assert.equal(cancelled.status, 'cancelled');
	return cancelled.status;
}

/* The server asks the client to run sampling and elicitation as tasks of the client. */
async function clientTasks(t) {
	const s = await t.open({ roots: [], clientTasks: true });
	/* offered once the server knows what its client can */
	await until(async () => s.own((await s.client.listTools()).tools).some(tool =>
		tool.name.endsWith('trigger-elicitation-request-async')), 'the tool is listed');
	const sampled = textOf(await s.call('trigger-sampling-request-async', { prompt: 'later', maxTokens: 20 }));
	assert.match(sampled, /a sampled answer/);
	const elicited = textOf(await s.call('trigger-elicitation-request-async'));
	assert.match(elicited, /Ada/);
	return 'sampling and elicitation as tasks of the client';
}

export const CHECKS = [
	['everything.initialize', SERVER, initialize],
	['everything.ping', SERVER, async t => (await t.session()).client.ping()],
	['everything.tools.list', SERVER, toolsList],
	['everything.tools.list.bare_client', SERVER, toolsOfBareClient],
	['everything.tool.echo', SERVER, async t => (await t.session()).call('echo', { message: 'hello' })],
	['everything.tool.get-sum', SERVER, async t => (await t.session()).call('get-sum', { a: 2, b: 3 })],
	['everything.tool.get-annotated-message', SERVER, annotated],
	['everything.tool.get-env', SERVER, environment],
	['everything.tool.get-resource-links', SERVER, resourceLinks],
	['everything.tool.get-resource-reference', SERVER, resourceReference],
	['everything.tool.get-structured-content', SERVER, structured],
	['everything.tool.get-tiny-image', SERVER, image],
	['everything.tool.gzip-file-as-resource', SERVER, gzip],
	['everything.tool.gzip-file-as-resource.inline', SERVER, gzipInline],
	['everything.tool.trigger-long-running-operation', SERVER, longRunning],
	['everything.tool.trigger-sampling-request', SERVER, sampling],
	['everything.tool.trigger-elicitation-request', SERVER, elicitation],
	['everything.tool.trigger-url-elicitation', SERVER, urlElicitation],
	['everything.tool.trigger-url-elicitation.required', SERVER, urlElicitationRequired],
	['everything.tool.unknown', SERVER, unknownTool],
	['everything.tool.invalid_arguments', SERVER, invalidArguments],
	['everything.bytes', SERVER, bytes],
	['everything.large_message', SERVER, largeMessage],
	['everything.many_at_once', SERVER, manyAtOnce],
	['everything.progress.none_unasked', SERVER, noProgressUnasked],
	['everything.cancellation', SERVER, cancellation],
	['everything.cancellation.only_one', SERVER, cancelOne],
	['everything.prompts.list', SERVER, promptsList],
	['everything.prompts.get', SERVER, promptsGet],
	['everything.prompts.errors', SERVER, promptErrors],
	['everything.completion.prompt', SERVER, completionOfPrompt],
	['everything.completion.template', SERVER, completionOfTemplate],
	['everything.resources.list', SERVER, resourcesList],
	['everything.resources.read', SERVER, resourcesRead],
	['everything.resources.unknown', SERVER, resourceUnknown],
	['everything.resources.templates', SERVER, templates],
	['everything.resources.subscribe', SERVER, subscription],
	['everything.resources.subscribe.isolated', SERVER, subscriptionIsMine],
	['everything.logging', SERVER, logging],
	['everything.roots', SERVER, roots],
	['everything.tasks.call', SERVER, taskTool],
	['everything.tasks.input_required', SERVER, taskAsks],
	['everything.tasks.list_cancel', SERVER, taskListCancel],
	['everything.tasks.of_client', SERVER, clientTasks],
];
