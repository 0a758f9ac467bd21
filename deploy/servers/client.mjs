#!/usr/bin/env node
/*
 * A client of the official SDK: what a node offers, and one call.
 *
 *     deploy/servers/client.mjs [URL]
 */
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

const url = new URL(process.argv[2] ?? 'http://127.0.0.1:8080/mcp');
const client = new Client({ name: 'demo', version: '1' });
const transport = new StreamableHTTPClientTransport(url);

await client.connect(transport);
const { tools } = await client.listTools();
console.log(`${tools.length} tools, ${tools.map(tool => tool.name).slice(0, 4).join(', ')}, …`);
const answer = await client.callTool({ name: 'everything__echo', arguments: { message: 'hello' } });
console.log(answer.content[0].text);
await transport.terminateSession();
await client.close();
