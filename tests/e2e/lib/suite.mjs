/*
 * Runs a list of checks [name, server, function] against a target. A check gets a context and returns its result; it
 * fails by throwing. A line per check: `name: ok detail` or `name: FAIL reason`.
 */
import assert from 'node:assert/strict';
import { asDetail, normalise } from './norm.mjs';
import { sleep } from './target.mjs';

const CHECK_MS = 30000;

/* Waits until probe() gives something true. */
export async function until(probe, what, ms = 5000) {
	for (const end = Date.now() + ms; ;) {
		const value = await probe();
		if (value)
			return value;
		if (Date.now() > end)
			throw new Error(`not within ${ms} ms: ${what}`);
		await sleep(25);
	}
}

/* The error a promise is rejected with. */
export async function refusal(promise) {
	try {
		await promise;
	} catch (error) {
		return error;
	}
	throw new assert.AssertionError({ message: 'expected an error, got a result' });
}

export const textOf = result =>
	result.content.filter(block => block.type === 'text').map(block => block.text).join('\n');

class Context {
	#target;
	#server;
	#opened = [];
	#shared;

	constructor(target, server, area, shared) {
		this.#target = target;
		this.#server = server;
		this.area = area;
		this.#shared = shared;
	}

	/* A session of this check alone. */
	async open(options) {
		const session = await this.#target.open(this.#server, options);
		session.call = (tool, args = {}, ...rest) =>
			session.client.callTool({ name: session.name(tool), arguments: args }, ...rest);
		this.#opened.push(session);
		return session;
	}

	/* The session that checks without needs of their own share. */
	async session() {
		if (!this.#shared.session || this.#shared.session.closed) {
			this.#shared.session = await this.open({
				roots: [{ uri: 'file:///tmp/one', name: 'one' }, { uri: 'file:///tmp/two', name: 'two' }],
			});
			this.#opened.pop();
		}
		return this.#shared.session;
	}

	async close() {
		for (const session of this.#opened)
			await session.close();
	}
}

function deadline(ms) {
	let timer;
	const promise = new Promise((resolve, reject) => {
		timer = setTimeout(() => reject(new Error(`no end within ${ms} ms`)), ms);
	});
	return { promise, clear: () => clearTimeout(timer) };
}

async function runCheck(context, [name, , run], replace) {
	const limit = deadline(CHECK_MS);
	try {
		const result = await Promise.race([run(context), limit.promise]);
		return { name, ok: true, line: normalise(result ?? '', replace) };
	} catch (error) {
		return { name, ok: false, line: normalise(String(error.message ?? error), replace) };
	} finally {
		limit.clear();
		await context.close().catch(() => {});
	}
}

/* Gives [{ name, ok, line }]; tells each line as it is known. */
export async function runSuite(checks, target, area, { only, tell = () => {} } = {}) {
	const results = [];
	const replace = [[area.base, '<base>']];
	for (const server of target.servers) {
		const shared = {};
		for (const check of checks.filter(row => row[1] === server)) {
			if (only && !check[0].includes(only))
				continue;
			const context = new Context(target, server, area, shared);
			const result = await runCheck(context, check, replace);
			results.push(result);
			tell(`${result.name}: ${result.ok ? 'ok' : 'FAIL'} ${asDetail(result.line)}`.trimEnd());
		}
		await shared.session?.close();
	}
	return results;
}
