/*
 * Where a client connects to: a server itself, or the same server behind a Gatehouse node. A target is
 *   { label, servers, open(server, options) -> session, stop() }
 * and session.name(x) gives the name under which the server's tool or prompt x is known there, session.own(list)
 * the entries of that server with their own names.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { WebSocketClientTransport } from '@modelcontextprotocol/sdk/client/websocket.js';
import { WebSocket } from 'ws';
import { makeClient } from './client.mjs';
import { makeLegacyClient, makeModernClient, transportV2 } from './client_v2.mjs';

const TESTS = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const MODULES = join(TESTS, 'node_modules', '@modelcontextprotocol');
const EVERYTHING = join(MODULES, 'server-everything', 'dist', 'index.js');
const FILESYSTEM = join(MODULES, 'server-filesystem', 'dist', 'index.js');
export const FIXTURE = join(TESTS, 'fixture', 'server.mjs');
const EVERYTHING_WS = join(TESTS, 'fixture', 'everything_ws.mjs');
const START_MS = 30000;
const CLOSE_MS = 5000;

/* The SDK's client takes the browser's WebSocket, which Node.js has from version 22 on. */
globalThis.WebSocket ??= WebSocket;

export const sleep = ms => new Promise(resolve => setTimeout(resolve, ms));

/*
 * Servers as the checks name them -> as a node's configuration names them. Those of the second kind are spoken to by a
 * modern client: modern is the fixture, which speaks both eras; crossing is server-everything, which speaks the legacy
 * one only, so that just a node can stand between.
 */
const BEHIND = { everything: 'everything', files: 'files', fixture: 'fixture', modern: 'fixture', crossing: 'everything' };
const IS_MODERN = new Set(['modern', 'crossing']);

/* The directories the filesystem server is tested with; made fresh for each run. */
export function makeArea() {
	const base = realpathSync(mkdtempSync(join(tmpdir(), 'gatehouse-e2e-')));
	for (const name of ['allowed', 'a', 'b', 'outside'])
		mkdirSync(join(base, name));
	return { base, dir: name => join(base, name), remove: () => rmSync(base, { recursive: true }) };
}

export function stdioCommands(area) {
	return {
		everything: { command: process.execPath, args: [EVERYTHING, 'stdio'] },
		files: { command: process.execPath, args: [FILESYSTEM, area.dir('allowed')] },
		fixture: { command: process.execPath, args: [FIXTURE, '--stdio'] },
	};
}

export async function freePort() {
	const server = createServer();
	await new Promise(resolve => server.listen(0, '127.0.0.1', resolve));
	const { port } = server.address();
	await new Promise(resolve => server.close(resolve));
	return port;
}

/* Starts a program that serves `url`; it is ready when a GET is answered as `isReady` wants. */
export async function startProgram(command, args, env, url, isReady) {
	const child = spawn(command, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
	const killAtExit = () => child.kill('SIGKILL');
	process.once('exit', killAtExit);
	let said = '';
	const keep = chunk => {
		said = (said + chunk).slice(-8000);
	};
	child.stdout.on('data', keep);
	child.stderr.on('data', keep);
	let exited = false;
	const gone = new Promise(resolve => child.once('exit', resolve)).then(() => {
		exited = true;
		process.off('exit', killAtExit);
	});
	const stop = async () => {
		if (exited)
			return;
		child.kill('SIGTERM');
		await Promise.race([gone, sleep(CLOSE_MS)]);
		if (!exited)
			child.kill('SIGKILL');
		await gone;
	};
	for (const end = Date.now() + START_MS; Date.now() < end; await sleep(50)) {
		if (exited)
			break;
		try {
			const response = await fetch(url, { signal: AbortSignal.timeout(1000) });
			await response.body?.cancel();
			if (isReady(response.status))
				return { stop, said: () => said };
		} catch {
			continue;
		}
	}
	await stop();
	throw new Error(`${command} ${args.join(' ')} did not start:\n${said}`);
}

async function connect(session, transport) {
	await session.client.connect(transport);
	session.transport = transport;
	session.close = async () => {
		if (transport.terminateSession)
			await transport.terminateSession().catch(() => {});
		await Promise.race([session.client.close(), sleep(CLOSE_MS)]);
	};
	return session;
}

function named(session, prefix) {
	session.name = name => prefix + name;
	session.own = list => list.filter(x => x.name.startsWith(prefix))
		.map(x => ({ ...x, name: x.name.slice(prefix.length) }));
	return session;
}

function legacyTransport(where) {
	if (!where.url)
		return new StdioClientTransport({ command: where.command, args: where.args, stderr: 'ignore' });
	const url = new URL(where.url);
	if (where.type === 'sse')
		return new SSEClientTransport(url);
	return where.type === 'ws' ? new WebSocketClientTransport(url) : new StreamableHTTPClientTransport(url);
}

/* where: { url, type } or { command, args }; type: http if left out, sse, ws. options.v2: by the SDK's second client. */
export function openEra(where, modern, options, prefix) {
	if (modern)
		return connect(named(makeModernClient(options), prefix), transportV2(where));
	if (options?.v2)
		return connect(named(makeLegacyClient(options), prefix), transportV2(where));
	return connect(named(makeClient(options), prefix), legacyTransport(where));
}

/* The same target for the SDK's second client, which has no tasks in the revisions with sessions. */
export const withV2 = make => async area => {
	const target = await make(area);
	return {
		...target,
		lacks: name => name.startsWith('everything.tasks.'),
		open: (server, options) => target.open(server, { ...options, v2: true }),
	};
};

const openAt = (where, server, options, prefix) => openEra(where, IS_MODERN.has(server), options, prefix);

/* Each server as a child of the client. */
export function directStdio(area) {
	const commands = stdioCommands(area);
	return {
		label: 'direct stdio',
		servers: ['everything', 'files', 'fixture', 'modern'],
		open: (server, options) => openAt(commands[BEHIND[server]], server, options, ''),
		stop: async () => {},
	};
}

/* How server-everything is started to listen on a port; where it is then; what a GET there says once it does. */
const EVERYTHING_AT = {
	http: { args: [EVERYTHING, 'streamableHttp'], path: 'http:/mcp', ready: 400 },
	sse: { args: [EVERYTHING, 'sse'], path: 'http:/sse', ready: 200 },
	ws: { args: [EVERYTHING_WS], path: 'ws:/', ready: 426 },
};

async function startEverything(type) {
	const port = await freePort();
	const { args, path, ready } = EVERYTHING_AT[type];
	const url = path.replace(':', `://127.0.0.1:${port}`);
	const program = await startProgram(process.execPath, [...args, String(port)], { PORT: String(port) },
		url.replace('ws:', 'http:'), status => status === ready);
	return { where: { url, type }, program };
}

/* server-everything over http, sse or ws. */
export async function directRemote(type) {
	const { where, program } = await startEverything(type);
	return {
		label: `direct ${type}`,
		servers: ['everything'],
		open: (server, options) => openAt(where, server, options, ''),
		stop: () => program.stop(),
	};
}

export function findGatehouse(build) {
	for (const path of [join(build, 'gatehouse'), join(build, 'ctl', 'gatehouse')])
		if (existsSync(path))
			return path;
	throw new Error(`no gatehouse in ${build}`);
}

function writeConfig(dir, port, servers, settings) {
	const file = join(dir, 'gatehouse.yaml');
	const lines = [
		`admin: { socket: ${JSON.stringify(join(dir, 'admin.sock'))}, http: "127.0.0.1:${port}" }`,
		`state: ${JSON.stringify(join(dir, 'state'))}`,
		'naming: prefix',
		...settings,
		'mcpServers:',
		...Object.entries(servers).map(([name, spec]) => `  ${name}: ${JSON.stringify(spec)}`),
	];
	writeFileSync(file, `${lines.join('\n')}\n`);
	return file;
}

/* settings: more lines of its configuration */
export async function startNode(build, servers, settings = []) {
	const dir = mkdtempSync(join(tmpdir(), 'gatehouse-node-'));
	const config = writeConfig(dir, await freePort(), servers, settings);
	const url = `http://127.0.0.1:${await freePort()}`;
	let program;
	try {
		program = await startProgram(findGatehouse(build), ['serve', '-c', config, '--listen', url], {},
			`${url}/readyz`, status => status === 200);
	} catch (error) {
		rmSync(dir, { recursive: true, force: true });
		throw error;
	}
	return {
		url: `${url}/mcp`,
		config,
		adminSocket: join(dir, 'admin.sock'),
		said: program.said,
		stop: async () => {
			await program.stop();
			rmSync(dir, { recursive: true, force: true });
		},
	};
}

/* The stdio servers behind one node, reached at the address that where() makes of the node's. */
async function behindNode(build, area, label, servers, where, settings = []) {
	const node = await startNode(build, stdioCommands(area), settings);
	const at = where(node.url);
	return {
		label,
		address: at.url,
		adminSocket: node.adminSocket,
		servers,
		open: (server, options) => openAt(at, server, options, `${BEHIND[server]}__`),
		stop: node.stop,
		said: node.said,
	};
}

export const nodeHttp = (build, area) => behindNode(build, area, 'node http',
	['everything', 'files', 'fixture', 'modern', 'crossing'], url => ({ url }));

export const nodeWebSocket = (build, area) => behindNode(build, area, 'node websocket',
	['everything', 'files', 'fixture'], url => ({ url: url.replace(/^http/, 'ws'), type: 'ws' }));

export const nodeSse = (build, area, settings) => behindNode(build, area, 'node sse',
	['everything', 'files', 'fixture'], url => ({ url: url.replace(/mcp$/, 'sse'), type: 'sse' }), settings);

/* server-everything over http, sse or ws behind a node, which is told the url alone. */
export async function nodeRemote(build, type) {
	const { where, program } = await startEverything(type);
	let node;
	try {
		node = await startNode(build, { everything: { url: where.url } });
	} catch (error) {
		await program.stop();
		throw error;
	}
	return {
		label: `node http, ${type} server`,
		servers: ['everything', 'crossing'],
		open: (server, options) => openAt({ url: node.url }, server, options, `${BEHIND[server]}__`),
		stop: async () => {
			await node.stop();
			await program.stop();
		},
		said: node.said,
	};
}

/* The stdio servers behind one node, reached through `gatehouse stdio`. */
export async function nodeStdio(build, area) {
	const node = await startNode(build, stdioCommands(area));
	const command = { command: findGatehouse(build), args: ['stdio', '--url', node.url] };
	return {
		label: 'node stdio',
		servers: ['everything', 'files', 'fixture', 'modern', 'crossing'],
		open: (server, options) => openAt(command, server, options, `${BEHIND[server]}__`),
		stop: node.stop,
		said: node.said,
	};
}
