#!/usr/bin/env node
/*
 * A client of the official SDK: what a node offers, and one call where the demonstration server
 * "everything" is there.
 *
 *     deploy/servers/client.mjs [URL]
 */
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

const ECHO = 'everything__echo';
const SHOWN = 4;

async function listAll(client) {
  const tools = [];
  let cursor;
  do {
    const page = await client.listTools({ cursor });
    tools.push(...page.tools);
    cursor = page.nextCursor;
  } while (cursor);
  return tools;
}

async function show(client) {
  const tools = client.getServerCapabilities()?.tools ? await listAll(client) : [];
  const names = tools.map(tool => tool.name);
  const more = names.length > SHOWN ? ', …' : '';
  console.log(`${names.length} tools${names.length ? ': ' : ''}${names.slice(0, SHOWN).join(', ')}${more}`);
  if (!names.includes(ECHO)) return;
  const answer = await client.callTool({ name: ECHO, arguments: { message: 'hello' } });
  console.log(answer.content[0].text);
}

const address = process.argv[2] ?? 'http://127.0.0.1:8080/mcp';
const client = new Client({ name: 'demo', version: '1' });

try {
  const transport = new StreamableHTTPClientTransport(new URL(address));
  await client.connect(transport);
  await show(client);
  await transport.terminateSession();
} catch (error) {
  console.error(`${address}: ${error.cause?.message ?? error.message}`);
  process.exitCode = 1;
} finally {
  await client.close();
}
