/*
 * The client that the official suite judges: one of the official SDK, v1 for the revisions with sessions, v2 for
 * 2026-07-28 (GATEHOUSE_CLIENT_ERA=modern). The suite says in the environment what is to be done.
 *
 *     client.mjs URL
 */
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { ElicitRequestSchema } from '@modelcontextprotocol/sdk/types.js';
import { makeModernClient, transportV2 } from '../e2e/lib/client_v2.mjs';

const MODERN = process.env.GATEHOUSE_CLIENT_ERA === 'modern';
const asked = () => JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT ?? '{}').toolCalls ?? [];

function legacy() {
	const client = new Client({ name: 'gatehouse-conformance', version: '1.0.0' }, {
		capabilities: { elicitation: { form: { applyDefaults: true } } },
	});
	client.setRequestHandler(ElicitRequestSchema, () => ({ action: 'accept', content: {} }));
	return [client, url => new StreamableHTTPClientTransport(new URL(url))];
}

function modern() {
	const session = makeModernClient({ capabilities: { elicitation: { form: { applyDefaults: true } } } });
	session.elicit = () => ({ action: 'accept', content: { confirmed: true } });
	return [session.client, url => transportV2({ url })];
}

/* What a tool or prompt without values of its own is given. */
const SOME = { a: 2, b: 3 };

async function callFirst(client) {
	const { tools } = await client.listTools();
	for (const tool of tools.slice(0, 1))
		await client.callTool({ name: tool.name, arguments: SOME });
}

async function callAll(client) {
	const { tools } = await client.listTools();
	for (const tool of tools)
		await client.callTool({ name: tool.name, arguments: {} });
}

async function readAll(client) {
	await callAll(client);
	for (const { uri } of (await client.listResources()).resources)
		await client.readResource({ uri });
	for (const { name } of (await client.listPrompts()).prompts)
		await client.getPrompt({ name });
}

async function echoSchema(client) {
	const { tools } = await client.listTools();
	const { inputSchema } = tools.find(tool => tool.name === 'json_schema_2020_12_tool');
	await client.callTool({ name: 'json_schema_echo', arguments: { schema: inputSchema } });
}

async function callAsked(client) {
	await client.listTools();
	for (const call of asked())
		await client.callTool(call);
}

const SCENARIOS = {
	'initialize': client => client.listTools(),
	'request-metadata': client => client.listTools(),
	'json-schema-ref-no-deref': client => client.listTools(),
	'tools_call': callFirst,
	'elicitation-sep1034-client-defaults': callAll,
	'sse-retry': callAll,
	'sep-2322-client-request-state': callAll,
	'http-invalid-tool-headers': callAll,
	'http-standard-headers': readAll,
	'http-custom-headers': callAsked,
	'json-schema-2020-12-preservation': echoSchema,
};

const scenario = SCENARIOS[process.env.MCP_CONFORMANCE_SCENARIO];
if (!scenario)
	throw new Error(`no scenario ${process.env.MCP_CONFORMANCE_SCENARIO}`);
const [client, transport] = MODERN ? modern() : legacy();
await client.connect(transport(process.argv[2]));
await scenario(client);
await client.close();
