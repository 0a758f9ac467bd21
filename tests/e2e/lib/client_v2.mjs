/*
 * A client of the official SDK (v2), in either era; it records and answers as the one in client.mjs does, and its
 * calls are written as there.
 */
import { Client, SSEClientTransport, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import { CAPABILITIES } from './client.mjs';

export const MODERN = '2026-07-28';

const RECORDED = [
	['message', 'notifications/message'],
	['updated', 'notifications/resources/updated'],
	['tools', 'notifications/tools/list_changed'],
	['prompts', 'notifications/prompts/list_changed'],
	['resources', 'notifications/resources/list_changed'],
	['elicited', 'notifications/elicitation/complete'],
];

function record(session) {
	for (const [kind, method] of RECORDED)
		session.client.setNotificationHandler(method, note => {
			session.seen[kind].push(note.params);
		});
}

function answer(session, capabilities) {
	if (capabilities.roots)
		session.client.setRequestHandler('roots/list', () => {
			session.asked.roots++;
			return { roots: session.roots };
		});
	if (capabilities.sampling)
		session.client.setRequestHandler('sampling/createMessage', request => {
			session.asked.sampling.push(request.params);
			return {
				role: 'assistant',
				content: { type: 'text', text: 'a sampled answer' },
				model: 'test-model',
				stopReason: 'endTurn',
			};
		});
	if (capabilities.elicitation)
		session.client.setRequestHandler('elicitation/create', request => {
			session.asked.elicitation.push(request.params);
			return session.elicit(request.params);
		});
}

function makeSession(client, capabilities, roots) {
	const session = {
		client,
		roots,
		seen: Object.fromEntries(RECORDED.map(([kind]) => [kind, []])),
		asked: { sampling: [], elicitation: [], roots: 0 },
		elicit: () => ({ action: 'accept', content: { name: 'Ada' } }),
		errors: [],
		closed: false,
	};
	client.onerror = error => session.errors.push(String(error.message ?? error));
	client.onclose = () => {
		session.closed = true;
	};
	record(session);
	answer(session, capabilities);
	return session;
}

/* Revision 2026-07-28 and nothing else. options: roots, as in client.mjs; capabilities instead of the usual ones. */
export function makeModernClient(options = {}) {
	const capabilities = options.capabilities ?? { roots: {}, sampling: {}, elicitation: { form: {} } };
	const client = new Client({ name: 'gatehouse-e2e', version: '2.0.0' }, {
		capabilities,
		versionNegotiation: { mode: { pin: MODERN } },
	});
	return makeSession(client, capabilities, options.roots ?? []);
}

/* The first client's callTool takes a schema before the options. */
class LegacyClient extends Client {
	callTool(params, schema, options) {
		return super.callTool(params, options);
	}
}

/* The revisions with sessions. options as in client.mjs. */
export function makeLegacyClient(options = {}) {
	const capabilities = { ...(options.capabilities ?? CAPABILITIES) };
	if (options.roots === undefined)
		delete capabilities.roots;
	const client = new LegacyClient({ name: 'gatehouse-e2e', version: '1.0.0' }, { capabilities });
	return makeSession(client, capabilities, options.roots);
}

/* where: { url, type } or { command, args } */
export function transportV2(where) {
	if (!where.url)
		return new StdioClientTransport({ command: where.command, args: where.args, stderr: 'ignore' });
	const url = new URL(where.url);
	return where.type === 'sse' ? new SSEClientTransport(url) : new StreamableHTTPClientTransport(url);
}
