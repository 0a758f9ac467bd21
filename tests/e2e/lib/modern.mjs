/*
 * Checks with a client of the modern era. modern.*: a server that speaks it too. crossing.*: a legacy server behind a
 * node, which has to initialize it, carry its questions as input_required results, and fill in what results need.
 */
import assert from 'node:assert/strict';
import { refusal, textOf, until } from './suite.mjs';

const byName = list => [...list].sort((a, b) => (a.name < b.name ? -1 : 1));

const one = { roots: [{ uri: 'file:///tmp/one', name: 'one' }] };

async function tools(t) {
	const s = await t.session();
	return byName(s.own((await s.client.listTools()).tools)).map(tool => [tool.name, tool.inputSchema]);
}

async function simple(t) {
	const s = await t.session();
	const results = [];
	for (const name of ['test_simple_text', 'test_image_content', 'test_multiple_content_types', 'test_error_handling'])
		results.push((await s.call(name)).content);
	return results;
}

async function progress(t) {
	const s = await t.session();
	let seen, result;
	/* the client loses what it reads together with the answer: a slow machine gets another try */
	for (let tries = 0; tries < 5 && seen?.[1] !== 50; tries++) {
		seen = [];
		result = await s.client.callTool({ name: s.name('test_tool_with_progress'), arguments: {} },
			{ onprogress: note => seen.push(note.progress) });
	}
	assert.deepEqual(seen.slice(0, 2), [0, 50]);
	return [seen.slice(0, 2), textOf(result)];
}

async function rounds(t) {
	const s = await t.open(one);
	s.elicit = params => ({
		action: 'accept',
		content: /color/.test(params.message) ? { color: 'blue' } : { name: 'Ada', ok: true },
	});
	const said = [];
	for (const name of ['test_input_required_result_elicitation', 'test_input_required_result_sampling',
		'test_input_required_result_list_roots', 'test_input_required_result_request_state',
		'test_input_required_result_multiple_inputs', 'test_input_required_result_multi_round'])
		said.push(textOf(await s.call(name)));
	assert.equal(said[0], 'Hello, Ada!');
	assert.equal(said[2], 'file:///tmp/one');
	assert.equal(said[5], 'Ada likes blue');
	return said;
}

async function missingCapability(t) {
	const s = await t.open({ capabilities: {} });
	const error = await refusal(s.call('test_missing_capability'));
	assert.equal(error.code, -32021);
	return { code: error.code, required: error.data?.requiredCapabilities ?? error.requiredCapabilities };
}

async function resources(t) {
	const s = await t.session();
	const { contents } = await s.client.readResource({ uri: 'test://template/77/data' });
	assert.match(contents[0].text, /77/);
	const error = await refusal(s.client.readResource({ uri: 'test://nowhere' }));
	assert.equal(error.code, -32602);
	return contents;
}

async function prompt(t) {
	const s = await t.open(one);
	s.elicit = () => ({ action: 'accept', content: { context: 'owls' } });
	const plain = await s.client.getPrompt({
		name: s.name('test_prompt_with_arguments'), arguments: { arg1: 'a', arg2: 'b' },
	});
	const asked = await s.client.getPrompt({ name: s.name('test_input_required_result_prompt') });
	assert.match(asked.messages[0].content.text, /owls/);
	return [plain.messages, asked.messages];
}

/* Crossing: server-everything behind a node. */

async function crossingTools(t) {
	const s = await t.open(one);
	const names = byName(s.own((await s.client.listTools()).tools)).map(tool => tool.name);
	assert.ok(names.includes('echo'));
	return names;
}

async function crossingCall(t) {
	const s = await t.session();
	const sums = await Promise.all([1, 2, 3, 4].map(a => s.call('get-sum', { a, b: 10 })));
	sums.forEach((result, i) => assert.match(textOf(result), new RegExp(`is ${i + 11}`)));
	return sums.map(textOf);
}

async function crossingAsks(t) {
	const s = await t.open(one);
	const elicited = textOf(await s.call('trigger-elicitation-request'));
	assert.match(elicited, /Name: Ada/);
	const sampled = textOf(await s.call('trigger-sampling-request', { prompt: 'hello', maxTokens: 10 }));
	assert.match(sampled, /a sampled answer/);
	return [s.asked.elicitation.length, s.asked.sampling.length];
}

async function crossingProgress(t) {
	const s = await t.session();
	const seen = [];
	await s.client.callTool({ name: s.name('trigger-long-running-operation'), arguments: { duration: 0.4, steps: 4 } },
		{ onprogress: note => seen.push(note.progress) });
	await until(() => seen.length >= 3, 'progress', 500);
	return seen.slice(0, 3);
}

async function crossingResources(t) {
	const s = await t.session();
	const { contents } = await s.client.readResource({ uri: 'demo://resource/dynamic/text/1' });
	assert.match(contents[0].text, /Resource 1/);
	return 'read';
}

export const CHECKS = [
	['modern.tools.list', 'modern', tools],
	['modern.tools.call', 'modern', simple],
	['modern.progress', 'modern', progress],
	['modern.rounds', 'modern', rounds],
	['modern.missing_capability', 'modern', missingCapability],
	['modern.resources', 'modern', resources],
	['modern.prompts', 'modern', prompt],
	['crossing.tools.list', 'crossing', crossingTools],
	['crossing.tools.call', 'crossing', crossingCall],
	['crossing.asks', 'crossing', crossingAsks],
	['crossing.progress', 'crossing', crossingProgress],
	['crossing.resources', 'crossing', crossingResources],
];
