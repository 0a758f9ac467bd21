/*
 * Checks on the conformance fixture: what the other servers cannot show the same way twice.
 */
import assert from 'node:assert/strict';
import { textOf, until } from './suite.mjs';
import { sleep } from './target.mjs';

const SERVER = 'fixture';

async function logLevel(t) {
	const s = await t.open({ roots: [] });
	await s.client.setLoggingLevel('error');
	await s.call('test_tool_with_logging');
	await sleep(200);
	assert.equal(s.seen.message.length, 0, 'info below the level error');
	await s.client.setLoggingLevel('info');
	await s.call('test_tool_with_logging');
	await until(() => s.seen.message.length >= 3, 'three messages');
	return s.seen.message.map(note => [note.level, note.data]);
}

/* Two sessions have two levels. */
async function logLevelIsMine(t) {
	const loud = await t.open({ roots: [] });
	const quiet = await t.open({ roots: [] });
	await loud.client.setLoggingLevel('debug');
	await quiet.client.setLoggingLevel('emergency');
	await Promise.all([loud.call('test_tool_with_logging'), quiet.call('test_tool_with_logging')]);
	await until(() => loud.seen.message.length >= 3, 'three messages');
	assert.equal(quiet.seen.message.length, 0);
	return [loud.seen.message.length, quiet.seen.message.length];
}

async function listChanged(t) {
	const s = await t.open({ roots: [] });
	await s.client.listTools();
	await s.call('test_simple_text');
	await sleep(300);
	const before = { tools: s.seen.tools.length, prompts: s.seen.prompts.length };
	await s.call('test_trigger_tool_change');
	await until(() => s.seen.tools.length > before.tools, 'tools/list_changed');
	await s.call('test_trigger_prompt_change');
	await until(() => s.seen.prompts.length > before.prompts, 'prompts/list_changed');
	await sleep(300);
	return [s.seen.tools.length - before.tools, s.seen.prompts.length - before.prompts];
}

async function schema(t) {
	const s = await t.open({ roots: [] });
	const tool = s.own((await s.client.listTools()).tools).find(x => x.name === 'json_schema_2020_12_tool');
	assert.equal(tool.inputSchema.$schema, 'https://json-schema.org/draft/2020-12/schema');
	assert.ok(tool.inputSchema.$defs.address.$anchor);
	return tool;
}

/* One call that asks four times: name, color, and in another tool model and roots. */
async function rounds(t) {
	const s = await t.open({ roots: [{ uri: 'file:///tmp/one' }] });
	s.elicit = params => ({
		action: 'accept',
		content: /color/.test(params.message) ? { color: 'blue' } : { name: 'Ada' },
	});
	const two = textOf(await s.call('test_input_required_result_multi_round'));
	assert.equal(two, 'Ada likes blue');
	const three = textOf(await s.call('test_input_required_result_multiple_inputs'));
	assert.equal(three, 'a sampled answer Ada, 1 root(s)');
	return [two, three];
}

async function declines(t) {
	const s = await t.open({ roots: [] });
	s.elicit = () => ({ action: 'decline' });
	return textOf(await s.call('test_elicitation', { message: 'May I?' }));
}

async function toolError(t) {
	const s = await t.open({ roots: [] });
	const result = await s.call('test_error_handling');
	assert.equal(result.isError, true);
	return result;
}

export const CHECKS = [
	['fixture.logging.level', SERVER, logLevel],
	['fixture.logging.level.isolated', SERVER, logLevelIsMine],
	['fixture.list_changed', SERVER, listChanged],
	['fixture.schema_2020_12', SERVER, schema],
	['fixture.rounds', SERVER, rounds],
	['fixture.elicitation.decline', SERVER, declines],
	['fixture.tool_error', SERVER, toolError],
];
