/*
 * A client of the official SDK (v2) that speaks revision 2026-07-28 and nothing else; it records and answers as the
 * one in client.mjs does.
 */
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';

export const MODERN = '2026-07-28';

/* options: roots, as in client.mjs; capabilities instead of the usual ones. */
export function makeModernClient(options = {}) {
	const capabilities = options.capabilities ?? { roots: {}, sampling: {}, elicitation: { form: {} } };
	const client = new Client({ name: 'gatehouse-e2e', version: '2.0.0' }, {
		capabilities,
		versionNegotiation: { mode: { pin: MODERN } },
	});
	const session = {
		client,
		roots: options.roots ?? [],
		seen: { message: [], tools: [], prompts: [] },
		asked: { sampling: [], elicitation: [], roots: 0 },
		elicit: () => ({ action: 'accept', content: { name: 'Ada' } }),
		errors: [],
		closed: false,
	};
	client.onerror = error => session.errors.push(String(error.message ?? error));
	client.onclose = () => {
		session.closed = true;
	};
	for (const [kind, method] of [['message', 'notifications/message'],
		['tools', 'notifications/tools/list_changed'], ['prompts', 'notifications/prompts/list_changed']])
		client.setNotificationHandler(method, note => {
			session.seen[kind].push(note.params);
		});
	if (capabilities.roots)
		client.setRequestHandler('roots/list', () => {
			session.asked.roots++;
			return { roots: session.roots };
		});
	if (capabilities.sampling)
		client.setRequestHandler('sampling/createMessage', request => {
			session.asked.sampling.push(request.params);
			return {
				role: 'assistant',
				content: { type: 'text', text: 'a sampled answer' },
				model: 'test-model',
				stopReason: 'endTurn',
			};
		});
	if (capabilities.elicitation)
		client.setRequestHandler('elicitation/create', request => {
			session.asked.elicitation.push(request.params);
			return session.elicit(request.params);
		});
	return session;
}

/* where: { url } or { command, args } */
export const modernTransport = where => (where.url ?
	new StreamableHTTPClientTransport(new URL(where.url)) :
	new StdioClientTransport({ command: where.command, args: where.args, stderr: 'ignore' }));
