#!/usr/bin/env python3
"""One scripted MCP server over every transport, so that a test can hold all of them to the same.

    scripted_peer.py stdio|http|sse|ws MODES LOG [CERTIFICATE KEY]

stdio serves its stdin and stdout; the others print their port and serve until stdin ends, over TLS if given files.
LOG gets a line per thing that happened: "open N", "got N METHOD [TOOL]", "end N [HOW]" of conversation number N (of
stdio: the process id).
MODES, joined by commas ("-": none):
    mute       never answers anything          trickle     writes byte by byte
    sse        refuse=STATUS (what a POST to the url itself gets)
               endpoint=FORM with FORM path, absolute, query, dots, other, junk, none    type (no event stream)
    ws         fragments (frames of 7 bytes)   accept, protocol, extension, upgrade (a bad handshake)   noprotocol
               status=N (instead of the handshake)    nopong
Tools: echo {text}; odd (an answer with unusual JSON); raw (the request's params as they came); big {n}; notes {n};
order {n} and ordered; hang; ask (asks for a form, and answers with what it is told); bye (answers, then ends the conversation); die (dies without an answer); headers; and of
WebSocket alone: say {hex} (bytes on the wire as they are).
"""
import asyncio
import base64
import hashlib
import itertools
import json
import os
import re
import ssl
import struct
import sys

TRANSPORT, MODES, LOG = sys.argv[1], set(sys.argv[2].split(',')), open(sys.argv[3], 'a', buffering=1, encoding='utf-8')
ODD = b'{"content": [ {"type":"text","text":"\\u00e9\\/\xc3\xa9"} ],  "n":1.50, "big":12345678901234567890123, "n":1}'
numbers = itertools.count(1)
order = []


def option(name):
    return next((m[len(name) + 1:] for m in MODES if m.startswith(name + '=')), None)


class Died(Exception):
    pass


class Conversation:
    """send (a message's bytes), end and die are the transport's."""

    def __init__(self):
        self.n = os.getpid() if TRANSPORT == 'stdio' else next(numbers)
        self.headers = {}
        self.asked = {}  # by the question's id: of the call, how its answer is sent, an event for when it was
        print('open', self.n, file=LOG)

    def ended(self, how=''):
        print('end', self.n, how, file=LOG)

    async def take(self, raw, send):
        message = json.loads(raw)
        params = message.get('params', {})
        tool = params.get('name', '')
        print('got', self.n, message.get('method', '-'), tool, file=LOG)
        told = None
        if message.get('id') in self.asked and 'method' not in message:
            number, send, told = self.asked.pop(message['id'])
            message = {'id': number, 'method': 'answer', 'params': message}
        if 'mute' in MODES or 'id' not in message or 'method' not in message:
            return
        result = await self.run(message, params, tool, raw, send)
        if result is not None:
            id = json.dumps(message['id']).encode()
            await send(b'{"jsonrpc":"2.0","id":' + id + b',"result":' + result + b'}')
        if told:
            told.set()
        if tool == 'bye':
            await self.end()

    async def run(self, message, params, tool, raw, send):
        arguments = params.get('arguments', {})
        if message['method'] == 'initialize':
            return json.dumps({'protocolVersion': params['protocolVersion'], 'capabilities': {'tools': {}},
                               'serverInfo': {'name': 'scripted-peer', 'version': '1'}}).encode()
        if message['method'] == 'tools/list':
            return b'{"tools":[{"name":"echo","inputSchema":{"type":"object"}}]}'
        if message['method'] == 'answer':
            return json.dumps({'content': [{'type': 'text', 'text': json.dumps(message['params'])}]}).encode()
        if message['method'] != 'tools/call':
            return b'{}'
        text = 'done'
        if tool == 'echo':
            text = arguments['text']
        elif tool == 'odd':
            return ODD
        elif tool == 'raw':
            return re.search(rb'"params":(.*)\}$', raw, re.S)[1]
        elif tool == 'big':
            text = 'y' * arguments['n']
        elif tool == 'notes':
            for i in range(arguments['n']):
                await send(json.dumps({'jsonrpc': '2.0', 'method': 'notifications/progress', 'params': {
                    'progressToken': params['_meta']['progressToken'], 'progress': i + 1}}).encode())
        elif tool == 'order':
            order.append(arguments['n'])
        elif tool == 'ordered':
            text = json.dumps(order)
        elif tool == 'headers':
            text = json.dumps(self.headers)
        elif tool == 'hang':
            return None
        elif tool == 'ask':
            asked = f'ask-{message["id"]}'
            self.asked[asked] = (message['id'], send, asyncio.Event())
            await send(json.dumps({'jsonrpc': '2.0', 'id': asked, 'method': 'elicitation/create',
                                   'params': {'message': arguments['text']}}).encode())
            return None
        elif tool == 'die':
            await self.die()
            raise Died
        elif tool == 'say':
            await self.say(bytes.fromhex(arguments['hex']))
            return None
        return json.dumps({'content': [{'type': 'text', 'text': text}]}, ensure_ascii=False).encode()


# --- stdio ------------------------------------------------------------------------------------------------------------

class Stdio(Conversation):
    async def send(self, data):
        data += b'\n'
        step = 1 if 'trickle' in MODES else len(data)
        for i in range(0, len(data), step):
            piece = data[i:i + step]
            while piece:
                piece = piece[os.write(1, piece):]

    async def end(self):
        self.ended()
        os._exit(0)

    async def die(self):
        os._exit(9)

    async def serve(self):
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.buffer.readline):
            await self.take(line.rstrip(b'\n'), self.send)
        self.ended()
        os._exit(0)


# --- what stands on TCP -----------------------------------------------------------------------------------------------

class Connection:
    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.lock = asyncio.Lock()

    async def run(self):
        try:
            while await self.request():
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError, Died):
            pass
        finally:
            self.gone()
            self.writer.close()

    def gone(self):
        pass

    async def write(self, data):
        async with self.lock:
            step = 1 if 'trickle' in MODES else max(len(data), 1)
            for i in range(0, len(data), step):
                self.writer.write(data[i:i + step])
                await self.writer.drain()
                await asyncio.sleep(0)

    async def head(self):
        line = (await self.reader.readline()).decode().split()
        if len(line) != 3:
            return None
        self.headers = {}
        while header := (await self.reader.readline()).decode().strip():
            name, value = header.split(':', 1)
            self.headers[name.lower()] = value.strip()
        return line[0], line[1]

    async def respond(self, status, *headers, body=b''):
        lines = [f'HTTP/1.1 {status} X', *headers]
        if status != 101:
            lines.append(f'Content-Length: {len(body)}')
        await self.write('\r\n'.join(lines).encode() + b'\r\n\r\n' + body)

    async def begin_stream(self, *headers):
        await self.write('\r\n'.join(['HTTP/1.1 200 OK', 'Content-Type: text/event-stream',
                                      'Transfer-Encoding: chunked', *headers]).encode() + b'\r\n\r\n')

    async def event(self, data, name=''):
        name = f'event: {name}\n'.encode() if name else b''
        data = name + b''.join(b'data: ' + line + b'\n' for line in data.split(b'\n')) + b'\n'
        await self.write(b'%x\r\n%s\r\n' % (len(data), data))


conversations = {}


class Http(Connection):
    """Streamable HTTP; each POST of a request is answered by an event stream."""

    async def request(self):
        head = await self.head()
        if not head:
            return False
        body = await self.reader.readexactly(int(self.headers.get('content-length', 0)))
        conversation = conversations.get(self.headers.get('mcp-session-id'))
        if head[0] == 'DELETE' and conversation:
            conversations.pop(self.headers['mcp-session-id']).ended()
            await self.respond(200)
        elif head[0] != 'POST':
            await self.respond(405)
        else:
            await self.post(body, conversation)
        return True

    async def post(self, body, conversation):
        message = json.loads(body)
        if 'mute' in MODES:
            await asyncio.sleep(60)
        if message.get('method') == 'initialize':
            conversation = Conversation()
            conversations[f's{conversation.n}'] = conversation
        if not conversation:
            await self.respond(404)
            return
        conversation.end, conversation.die = self.forget(conversation), self.die
        conversation.headers = self.headers
        if 'id' not in message or 'method' not in message:
            await conversation.take(body, None)
            await self.respond(202)
            return
        await self.begin_stream(f'Mcp-Session-Id: s{conversation.n}')
        await conversation.take(body, self.event)
        for told in [told for _, send, told in conversation.asked.values() if send == self.event]:
            await told.wait()
        if message.get('params', {}).get('name') == 'hang':
            await self.reader.read()
            raise Died
        await self.write(b'0\r\n\r\n')

    def forget(self, conversation):
        async def end():
            conversations.pop(f's{conversation.n}', None)
            conversation.ended()
        return end

    async def die(self):
        self.writer.transport.abort()


class Sse(Connection):
    """HTTP+SSE of 2024-11-05."""

    stream = None

    async def request(self):
        head = await self.head()
        if not head:
            return False
        body = await self.reader.readexactly(int(self.headers.get('content-length', 0)))
        if 'mute' in MODES:
            await asyncio.sleep(60)
        if head[0] == 'GET' and 'type' in MODES:
            await self.respond(200, 'Content-Type: text/html', body=b'<p>hello')
        elif head[0] == 'GET':
            await self.open()
            return False
        elif '?c=' in head[1]:
            await self.post(head[1].split('=')[1], body)
        else:
            await self.respond(int(option('refuse') or 405), body=b'no POST here')
        return True

    async def open(self):
        self.stream = Conversation()
        self.stream.headers = self.headers
        conversations[str(self.stream.n)] = self.stream
        self.stream.send, self.stream.end, self.stream.die = self.event, self.end, self.die
        await self.begin_stream()
        where, host = f'?c={self.stream.n}', self.headers['host']
        form = option('endpoint') or 'path'
        if form != 'none':
            await self.event({'path': '/sse/message' + where, 'absolute': f'http://{host}/m{where}', 'query': where,
                              'dots': '../a/./../m' + where, 'other': 'http://127.0.0.1:1/m' + where,
                              'junk': 'mailto:x'}[form].encode(), 'endpoint')
        # it talks no more; the end of its input is the end of it
        await self.reader.read()

    async def end(self):
        await self.write(b'0\r\n\r\n')
        self.writer.close()

    async def die(self):
        self.writer.transport.abort()

    def gone(self):
        if self.stream and conversations.pop(str(self.stream.n), None):
            self.stream.ended()

    async def post(self, number, body):
        conversation = conversations.get(number)
        if not conversation:
            await self.respond(404)
            return
        await self.respond(202, body=b'Accepted')
        asyncio.ensure_future(self.take(conversation, body))

    async def take(self, conversation, body):
        try:
            await conversation.take(body, conversation.send)
        except (Died, OSError):
            pass


class WebSocket(Connection):
    talk = None
    closing = False

    async def request(self):
        if not await self.head():
            return False
        if 'mute' in MODES:
            await asyncio.sleep(60)
        if option('status'):
            await self.respond(int(option('status')), body=b'no')
            return True
        key = self.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        lines = ['Upgrade: ' + ('h2c' if 'upgrade' in MODES else 'WebSocket'), 'Connection: keep-alive, upgrade',
                 'Sec-WebSocket-Accept: ' + (accept[::-1] if 'accept' in MODES else accept)]
        if 'noprotocol' not in MODES:
            lines.append('Sec-WebSocket-Protocol: ' + ('soap' if 'protocol' in MODES else 'mcp'))
        if 'extension' in MODES:
            lines.append('Sec-WebSocket-Extensions: permessage-deflate')
        await self.respond(101, *lines)
        self.talk = Conversation()
        self.talk.headers = self.headers
        self.talk.end, self.talk.die, self.talk.say = self.end, self.die, self.write
        while await self.frame():
            pass
        return False

    async def frame(self):
        """The client sends whole messages, masked (RFC 6455 §5.1)."""
        first, length = await self.reader.readexactly(2)
        assert first & 0x70 == 0 and first & 0x80 and length & 0x80
        length &= 0x7f
        if length > 125:
            length = int.from_bytes(await self.reader.readexactly(2 if length == 126 else 8), 'big')
        mask = await self.reader.readexactly(4)
        payload = await self.reader.readexactly(length)
        key = int.from_bytes((mask * (length // 4 + 1))[:length], 'big')
        payload = (int.from_bytes(payload, 'big') ^ key).to_bytes(length, 'big')
        kind = first & 15
        if kind == 8:
            self.talk.ended(str(int.from_bytes(payload[:2], 'big')))
            self.talk = None
            if not self.closing:
                await self.write(self.framed(8, payload))
            return False
        if kind == 9 and 'nopong' not in MODES:
            print('ping', file=LOG)
            await self.write(self.framed(10, payload))
        elif kind == 1:
            await self.talk.take(payload, self.send)
        return True

    def framed(self, kind, payload, last=True):
        head = bytes([kind | (0x80 if last else 0)])
        if len(payload) < 126:
            return head + bytes([len(payload)]) + payload
        if len(payload) < 1 << 16:
            return head + b'\x7e' + struct.pack('>H', len(payload)) + payload
        return head + b'\x7f' + struct.pack('>Q', len(payload)) + payload

    async def send(self, data):
        if 'fragments' not in MODES:
            await self.write(self.framed(1, data))
            return
        pieces = [data[i:i + 7] for i in range(0, len(data), 7)]
        for i, piece in enumerate(pieces):
            await self.write(self.framed(0 if i else 1, piece, i == len(pieces) - 1))
            if i % 5 == 0:
                await self.write(self.framed(9, b'in between'))

    async def end(self):
        self.closing = True
        await self.write(self.framed(8, struct.pack('>H', 1001) + b'going'))

    async def die(self):
        self.writer.transport.abort()

    def gone(self):
        if self.talk:
            self.talk.ended('without a close frame')


async def main():
    if TRANSPORT == 'stdio':
        await Stdio().serve()
    tls = None
    if len(sys.argv) == 6:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(sys.argv[4], sys.argv[5])
    kind = {'http': Http, 'sse': Sse, 'ws': WebSocket}[TRANSPORT]
    server = await asyncio.start_server(lambda r, w: kind(r, w).run(), '127.0.0.1', 0, limit=1 << 24, ssl=tls)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    os._exit(0)

asyncio.run(main())
