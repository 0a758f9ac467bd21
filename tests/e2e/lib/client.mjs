/*
 * A client of the official SDK (v1) that records what reaches it and answers what a server asks.
 */
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { InMemoryTaskMessageQueue, InMemoryTaskStore } from '@modelcontextprotocol/sdk/experimental/tasks';
import {
	CreateMessageRequestSchema, ElicitRequestSchema, ElicitationCompleteNotificationSchema,
	ListRootsRequestSchema, LoggingMessageNotificationSchema, PromptListChangedNotificationSchema,
	ResourceListChangedNotificationSchema, ResourceUpdatedNotificationSchema,
	ToolListChangedNotificationSchema,
} from '@modelcontextprotocol/sdk/types.js';

export const CAPABILITIES = {
	roots: { listChanged: true },
	sampling: {},
	elicitation: { form: {}, url: {} },
};

const CLIENT_TASKS = {
	tasks: { list: {}, cancel: {}, requests: { sampling: { createMessage: {} }, elicitation: { create: {} } } },
};

const RECORDED = [
	['message', LoggingMessageNotificationSchema],
	['updated', ResourceUpdatedNotificationSchema],
	['tools', ToolListChangedNotificationSchema],
	['prompts', PromptListChangedNotificationSchema],
	['resources', ResourceListChangedNotificationSchema],
	['elicited', ElicitationCompleteNotificationSchema],
];

/* Runs a request as a task of this client when the server asked for one, else at once. */
async function maybeAsTask(request, extra, result) {
	if (!request.params.task)
		return result;
	const task = await extra.taskStore.createTask({ ttl: 60000, pollInterval: 100 });
	setTimeout(() => extra.taskStore.storeTaskResult(task.taskId, 'completed', result), 50);
	return { task };
}

/*
 * options: roots (a list, or undefined for a client without roots), capabilities (instead of the usual ones),
 * clientTasks (the client runs sampling and elicitation as tasks).
 */
export function makeClient(options = {}) {
	const capabilities = {
		...(options.capabilities ?? CAPABILITIES),
		...(options.clientTasks ? CLIENT_TASKS : {}),
	};
	const wantsRoots = options.roots !== undefined;
	if (!wantsRoots)
		delete capabilities.roots;
	const client = new Client({ name: 'gatehouse-e2e', version: '1.0.0' }, {
		capabilities,
		...(options.clientTasks ? {
			taskStore: new InMemoryTaskStore(),
			taskMessageQueue: new InMemoryTaskMessageQueue(),
		} : {}),
	});
	const session = {
		client,
		roots: options.roots,
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
	for (const [kind, schema] of RECORDED)
		client.setNotificationHandler(schema, note => {
			session.seen[kind].push(note.params);
		});
	if (wantsRoots)
		client.setRequestHandler(ListRootsRequestSchema, () => {
			session.asked.roots++;
			return { roots: session.roots };
		});
	if (capabilities.sampling)
		client.setRequestHandler(CreateMessageRequestSchema, (request, extra) => {
			session.asked.sampling.push(request.params);
			return maybeAsTask(request, extra, {
				role: 'assistant',
				content: { type: 'text', text: 'a sampled answer' },
				model: 'test-model',
				stopReason: 'endTurn',
			});
		});
	if (capabilities.elicitation)
		client.setRequestHandler(ElicitRequestSchema, (request, extra) => {
			session.asked.elicitation.push(request.params);
			return maybeAsTask(request, extra, session.elicit(request.params));
		});
	return session;
}
