#!/usr/bin/env python3
"""A Streamable HTTP server that a test scripts: how it behaves stands in the path of its address.

    scripted_http.py [CERTIFICATE KEY]      prints its port, then serves until stdin ends; over TLS if given files

Paths: /mcp answers JSON; /sse answers event streams; words after further slashes change that:
    none      no sessions              nostream  GET is answered 405
    close     closes each connection   chunked   answers in pieces
    move      redirects to /mcp        away      redirects to another origin
    poll      the response stream ends before the answer, which is read on by GET with Last-Event-ID
    break     as poll, but the connection just dies
    modern    refuses initialize as a 2026-07-28 server      stale=N  a lost session is told by status N
    fresh     speaks 2026-07-28 alone, and says -32020 to headers that differ from the body; tools zoned {region},
              who, hang (until the client closes), changed (a note on subscriptions/listen)
Tools: echo {text}, who (session and headers), forget (the server forgets all sessions), slow {ms}, note (a log note on
the response's stream), push (a note on the GET stream), drop (the connection dies), ask (asks roots/list first),
count (how often count was executed so far), status {n, body} (HTTP status n).
"""
import asyncio
import base64
import itertools
import json
import ssl
import sys

sessions = {}
numbers = itertools.count(1)
counts = {'closed': 0, 'count': 0, 'deleted': 0, 'connections': 0, 'gets': 0}
parked = {}
listeners = {}


class Session:
    def __init__(self):
        self.queue = asyncio.Queue()
        self.answers = {}


def reply(id, result):
    return {'jsonrpc': '2.0', 'id': id, 'result': result}


def text(value):
    return {'content': [{'type': 'text', 'text': value if isinstance(value, str) else json.dumps(value)}]}


def plain(header):
    if header and header.startswith('=?base64?'):
        return base64.b64decode(header[9:-2]).decode()
    return header


def event(message, id=None):
    out = f'id: {id}\n' if id else ''
    return (out + 'data: ' + (json.dumps(message) if message is not None else '') + '\n\n').encode()


class Connection:
    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        counts['connections'] += 1

    async def run(self):
        try:
            while await self.request():
                pass
        except (OSError, asyncio.IncompleteReadError, ValueError, asyncio.CancelledError):
            pass
        self.writer.close()

    async def request(self):
        line = (await self.reader.readline()).decode().split()
        if len(line) != 3:
            return False
        self.headers = {}
        while True:
            header = (await self.reader.readline()).decode().strip()
            if not header:
                break
            name, value = header.split(':', 1)
            self.headers[name.lower()] = value.strip()
        self.body = await self.reader.readexactly(int(self.headers.get('content-length', 0)))
        self.words = line[1].strip('/').split('/')
        self.session = sessions.get(self.headers.get('mcp-session-id'))
        await getattr(self, line[0].lower())()
        await self.writer.drain()
        return 'close' not in self.words

    def send(self, status, body=b'', type='application/json', headers=()):
        head = [f'HTTP/1.1 {status} X', *headers]
        if body:
            head.append('Content-Type: ' + type)
        if 'close' in self.words:
            head.append('Connection: close')
        if 'chunked' in self.words and body:
            head.append('Transfer-Encoding: chunked')
            body = b''.join(b'%x\r\n%s\r\n' % (len(body[i:i + 3]), body[i:i + 3]) for i in range(0, len(body), 3))
            body += b'0\r\n\r\n'
        else:
            head.append(f'Content-Length: {len(body)}')
        self.writer.write('\r\n'.join(head).encode() + b'\r\n\r\n' + body)

    def begin_stream(self, headers=()):
        self.writer.write('\r\n'.join(['HTTP/1.1 200 OK', 'Content-Type: text/event-stream',
                                       'Transfer-Encoding: chunked', *headers]).encode() + b'\r\n\r\n')

    def stream(self, data):
        self.writer.write(b'%x\r\n%s\r\n' % (len(data), data))

    def end_stream(self):
        self.writer.write(b'0\r\n\r\n')

    def knows(self):
        if self.session or 'none' in self.words:
            return True
        status = next((int(w[6:]) for w in self.words if w.startswith('stale=')), 404)
        self.send(status, json.dumps({'jsonrpc': '2.0', 'id': None,
                                      'error': {'code': -32001, 'message': 'no such session'}}).encode())
        return False

    async def delete(self):
        counts['deleted'] += 1
        sessions.pop(self.headers.get('mcp-session-id'), None)
        self.send(200)

    async def get(self):
        counts['gets'] += 1
        last = self.headers.get('last-event-id', '')
        if last.startswith('r'):
            self.begin_stream()
            self.stream(event(parked.pop(last)))
            self.end_stream()
            return
        if 'nostream' in self.words:
            self.send(405)
            return
        if not self.knows():
            return
        self.begin_stream()
        await self.writer.drain()
        self.session = self.session or Session()
        while True:
            self.stream(event(await self.session.queue.get()))
            await self.writer.drain()

    async def post(self):
        if self.words[0] == 'move':
            self.send(307, headers=['Location: /mcp'])
            return
        if self.words[0] == 'away':
            self.send(308, headers=['Location: http://example.org/mcp'])
            return
        message = json.loads(self.body)
        if 'fresh' in self.words:
            await self.modern(message)
            return
        if message.get('method') == 'initialize':
            self.initialize(message)
            return
        if not self.knows():
            return
        if 'method' not in message:
            waiting = self.session.answers.pop(message['id'], None)
            if waiting:
                waiting.set_result(message)
            self.send(202)
        elif 'id' not in message:
            self.send(202)
        else:
            await self.call(message)

    def initialize(self, message):
        if 'modern' in self.words:
            self.send(400, json.dumps({'jsonrpc': '2.0', 'id': message['id'], 'error': {
                'code': -32022, 'message': 'Unsupported', 'data': {'supported': ['2026-07-28']}}}).encode())
            return
        headers = []
        if 'none' not in self.words:
            name = f'session-{next(numbers)}'
            sessions[name] = Session()
            headers = ['Mcp-Session-Id: ' + name]
        self.finish(message, {'protocolVersion': message['params']['protocolVersion'],
                              'capabilities': {'tools': {'listChanged': True}, 'logging': {}},
                              'serverInfo': {'name': 'scripted-http', 'version': '1'}}, headers)

    def mirrors(self, message):
        params = message.get('params', {})
        region = params.get('arguments', {}).get('region')
        return (self.headers.get('mcp-protocol-version') == '2026-07-28' and
                params.get('_meta', {}).get('io.modelcontextprotocol/protocolVersion') == '2026-07-28' and
                self.headers.get('mcp-method') == message['method'] and
                self.headers.get('mcp-name') == params.get('name') and
                plain(self.headers.get('mcp-param-region')) == region and
                'mcp-session-id' not in self.headers)

    async def modern(self, message):
        method, params = message['method'], message.get('params', {})
        if not self.mirrors(message):
            code = -32022 if method == 'initialize' else -32020
            self.send(400, json.dumps({'jsonrpc': '2.0', 'id': message['id'], 'error': {
                'code': code, 'message': 'no'}}).encode())
        elif method == 'server/discover':
            self.finish(message, {'resultType': 'complete', 'supportedVersions': ['2026-07-28'],
                                  'capabilities': {'tools': {'listChanged': True}}})
        elif method == 'tools/list':
            schema = {'type': 'object', 'properties': {'region': {'type': 'string', 'x-mcp-header': 'Region'}}}
            self.finish(message, {'resultType': 'complete', 'tools': [
                {'name': 'zoned', 'inputSchema': schema}, {'name': 'who', 'inputSchema': {'type': 'object'}}]})
        elif method == 'subscriptions/listen':
            await self.keep(listeners)
        elif params.get('name') == 'hang':
            await self.keep({})
        elif params.get('name') == 'nowhere':
            self.send(404, json.dumps({'jsonrpc': '2.0', 'id': message['id'], 'error': {
                'code': -32601, 'message': 'unknown'}}).encode())
        else:
            if params.get('name') == 'changed':
                for queue in listeners.values():
                    queue.put_nowait({'jsonrpc': '2.0', 'method': 'notifications/tools/list_changed'})
            self.finish(message, text({'headers': self.headers, 'counts': counts}))

    async def keep(self, where):
        queue = where[self] = asyncio.Queue()
        self.begin_stream()
        self.stream(b': hello\n\n')
        gone = asyncio.ensure_future(self.reader.read(1))
        while not gone.done():
            said = asyncio.ensure_future(queue.get())
            await asyncio.wait([gone, said], return_when=asyncio.FIRST_COMPLETED)
            if said.done():
                self.stream(event(said.result()))
        del where[self]
        counts['closed'] += 1
        raise OSError

    def finish(self, message, result, headers=()):
        if self.words[0] == 'sse':
            self.begin_stream(headers)
            self.stream(b': hello\n\n' + event(None, 'p1') + event(reply(message['id'], result)))
            self.end_stream()
        else:
            self.send(200, json.dumps(reply(message['id'], result)).encode(), headers=headers)

    async def call(self, message):
        params = message.get('params', {})
        arguments = params.get('arguments', {})
        name = params.get('name')
        result = text('done')
        if message['method'] == 'tools/list':
            result = {'tools': [{'name': 'echo', 'inputSchema': {'type': 'object'}}]}
        elif message['method'] != 'tools/call':
            result = {}
        elif name == 'echo':
            result = text(arguments.get('text', ''))
        elif name == 'who':
            result = text({'headers': self.headers, 'counts': counts, 'sessions': len(sessions)})
        elif name == 'forget':
            sessions.clear()
        elif name == 'count':
            counts['count'] += 1
            result = text(str(counts['count']))
        elif name == 'slow':
            await asyncio.sleep(arguments['ms'] / 1000)
        elif name == 'drop':
            counts['count'] += 1
            self.writer.transport.abort()
            raise OSError
        elif name == 'status':
            self.send(arguments['n'], json.dumps(arguments.get('body', {'oh': 'no'})).encode())
            return
        elif name == 'push':
            self.session.queue.put_nowait({'jsonrpc': '2.0', 'method': 'notifications/message',
                                           'params': {'level': 'info', 'data': 'pushed'}})
        elif name in ('note', 'ask'):
            await self.talk(message, name)
            return
        if name in ('echo', 'count') and ('poll' in self.words or 'break' in self.words):
            self.park(message, result)
            return
        self.finish(message, result)

    def park(self, message, result):
        id = f'r{next(numbers)}'
        parked[id] = reply(message['id'], result)
        self.begin_stream()
        self.stream(b'retry: 20\n\n' + event(None, id))
        if 'break' in self.words:
            self.words.append('close')
        else:
            self.end_stream()

    async def talk(self, message, name):
        self.begin_stream()
        if name == 'note':
            self.stream(event({'jsonrpc': '2.0', 'method': 'notifications/message',
                               'params': {'level': 'info', 'data': 'mine'}}))
            answer = 'noted'
        else:
            waiting = self.session.answers['q'] = asyncio.get_running_loop().create_future()
            self.stream(event({'jsonrpc': '2.0', 'id': 'q', 'method': 'roots/list'}))
            await self.writer.drain()
            answer = await waiting
        self.stream(event(reply(message['id'], text(answer))))
        self.end_stream()


async def main():
    tls = None
    if len(sys.argv) == 3:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(sys.argv[1], sys.argv[2])
    server = await asyncio.start_server(lambda r, w: Connection(r, w).run(), '127.0.0.1', 0, limit=1 << 24, ssl=tls)
    print(server.sockets[0].getsockname()[1], flush=True)
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, sys.stdin.read)

asyncio.run(main())
