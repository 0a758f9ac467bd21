#!/usr/bin/env python3
"""An MCP server that shows, and says, bytes as they are.

    byte_peer.py stdio       serves its stdin and stdout
    byte_peer.py http        prints its port; a POST is answered with JSON; serves until stdin ends

Tools: raw (the params of the call, as they came); say {hex} (a result of these bytes); fail {hex} (an error object of
these bytes); line {hex} (a whole message of these bytes, with @ for the id); slow {ms} (answers after so long);
seen {word} (how many messages so far contain the word, those of this tool left out).
"""
import asyncio
import json
import re
import sys

TOOLS = ('raw', 'say', 'fail', 'line', 'slow', 'seen')
seen = []
sys.set_int_max_str_digits(0)


def listed():
    return {'tools': [{'name': name, 'inputSchema': {'type': 'object'}} for name in TOOLS]}


async def answer(raw):
    """The whole message that answers one, or None."""
    seen.append(raw)
    message = json.loads(raw)
    if 'id' not in message or 'method' not in message:
        return None
    number, params = json.dumps(message['id']).encode(), message.get('params') or {}
    tool, arguments = params.get('name'), params.get('arguments') or {}
    if message['method'] == 'tools/call' and tool == 'line':
        return bytes.fromhex(arguments['hex']).replace(b'@', number)
    if message['method'] == 'tools/call' and tool == 'fail':
        return b'{"jsonrpc":"2.0","id":' + number + b',"error":' + bytes.fromhex(arguments['hex']) + b'}'
    return b'{"jsonrpc":"2.0","id":' + number + b',"result":' + await result(raw, message, params, tool, arguments) + b'}'


async def result(raw, message, params, tool, arguments):
    if message['method'] == 'initialize':
        return json.dumps({'protocolVersion': params['protocolVersion'], 'capabilities': {'tools': {}, 'prompts': {}},
                           'serverInfo': {'name': 'byte-peer', 'version': '1'}}).encode()
    if message['method'] == 'tools/list':
        return json.dumps(listed()).encode()
    if message['method'] == 'prompts/list':
        return b'{"prompts":[{"name":"one"},{"name":"two"}]}'
    if message['method'] != 'tools/call':
        return b'{}'
    if tool == 'raw':
        return re.search(rb'"params":(.*)\}\s*$', raw, re.S)[1]
    if tool == 'say':
        return bytes.fromhex(arguments['hex'])
    if tool == 'slow':
        await asyncio.sleep(arguments['ms'] / 1000)
    count = sum(arguments.get('word', '').encode() in line and b'"seen"' not in line for line in seen)
    return json.dumps({'content': [], 'count': count}).encode()


async def serve_stdio():
    async def take(line):
        said = await answer(line.rstrip(b'\n'))
        if said is not None:
            sys.stdout.buffer.write(said + b'\n')
            sys.stdout.buffer.flush()

    loop = asyncio.get_running_loop()
    tasks = set()
    while line := await loop.run_in_executor(None, sys.stdin.buffer.readline):
        tasks.add(asyncio.create_task(take(line)))


async def read_request(reader):
    """The body of the next request, with its method; None at the end."""
    first = (await reader.readline()).split()
    if len(first) != 3:
        return None
    length = 0
    while header := (await reader.readline()).strip():
        if header.lower().startswith(b'content-length:'):
            length = int(header.split(b':')[1])
    return first[0], await reader.readexactly(length)


async def serve_connection(reader, writer):
    try:
        while request := await read_request(reader):
            said = await answer(request[1]) if request[0] == b'POST' else None
            status = b'200 OK' if said is not None else b'202 Accepted' if request[0] == b'POST' else b'405 No'
            writer.write(b'HTTP/1.1 ' + status + b'\r\nContent-Type: application/json\r\nMcp-Session-Id: one\r\n'
                         b'Content-Length: %d\r\n\r\n' % len(said or b'') + (said or b''))
            await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def serve_http():
    server = await asyncio.start_server(serve_connection, '127.0.0.1', 0, limit=1 << 24)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == '__main__':
    asyncio.run(serve_http() if sys.argv[1:] == ['http'] else serve_stdio())
