/*
 * All checks, all targets, and how one target is run from start to stop.
 */
import { CHECKS as everything } from './everything.mjs';
import { CHECKS as files } from './files.mjs';
import { CHECKS as fixture } from './fixture.mjs';
import { CHECKS as modern } from './modern.mjs';
import { runSuite } from './suite.mjs';
import {
	directRemote, directStdio, makeArea, nodeHttp, nodeRemote, nodeSse, nodeStdio, nodeWebSocket, withV2,
} from './target.mjs';

const CHECKS = [...everything, ...files, ...fixture];

/* [label, function that makes the target, label of the direct target it must equal, whether clients of 2026-07-28 can
 * use it: the transports of sessions are not for them, and the v2 client speaks their revision in each row anyhow] */
export const DIRECT = [
	['direct stdio', area => directStdio(area)],
	['direct http', () => directRemote('http')],
	['direct sse', () => directRemote('sse')],
	['direct ws', () => directRemote('ws')],
	['direct stdio, v2 client', withV2(directStdio), undefined, false],
];

export const through = build => [
	['node http', area => nodeHttp(build, area), 'direct stdio'],
	['node http, http server', () => nodeRemote(build, 'http'), 'direct http'],
	['node http, sse server', () => nodeRemote(build, 'sse'), 'direct sse'],
	['node http, ws server', () => nodeRemote(build, 'ws'), 'direct ws'],
	['node stdio', area => nodeStdio(build, area), 'direct stdio'],
	['node websocket', area => nodeWebSocket(build, area), 'direct stdio', false],
	['node sse', area => nodeSse(build, area), 'direct stdio', false],
	['node http, v2 client', withV2(area => nodeHttp(build, area)), 'direct stdio, v2 client', false],
	['node stdio, v2 client', withV2(area => nodeStdio(build, area)), 'direct stdio, v2 client', false],
	['node sse, v2 client', withV2(area => nodeSse(build, area)), 'direct stdio, v2 client', false],
];

/* Gives [{ name, ok, line }]; a target that does not start is one failed result. */
export async function runTarget(make, { modern: isModern, ...options }) {
	const area = makeArea();
	let target;
	try {
		target = await make(area);
		const checks = (isModern ? modern : CHECKS).filter(([name]) => !target.lacks?.(name));
		return await runSuite(checks, target, area, options);
	} catch (error) {
		options.tell?.(`start: FAIL ${error.message}`);
		return [{ name: 'start', ok: false, line: error.message }];
	} finally {
		await target?.stop();
		area.remove();
	}
}

/* Runs jobs targets at a time. Calls done(label, lines, results) for each; gives a Map of label -> results. */
export async function runTargets(targets, { jobs, done, ...options }) {
	const results = new Map();
	const waiting = [...targets];
	const work = async () => {
		for (let row = waiting.shift(); row; row = waiting.shift()) {
			const lines = [];
			const found = await runTarget(row[1], { ...options, tell: line => lines.push(line) });
			results.set(row[0], found);
			done(row[0], lines, found);
		}
	};
	await Promise.all(Array.from({ length: jobs }, work));
	return results;
}

const state = result => (result ? `${result.ok ? 'ok' : 'FAIL'} ${result.line}` : 'missing');

/* How many checks gave the same through a node as directly, and which did not: [{ name, direct, through }]. */
export function compareTargets(direct, found) {
	const byName = new Map(found.map(result => [result.name, result]));
	const pairs = direct.map(expected => ({
		name: expected.name, direct: state(expected), through: state(byName.get(expected.name)),
	}));
	const different = pairs.filter(pair => pair.direct !== pair.through);
	return { same: pairs.length - different.length, different };
}
