"""Clients that send bytes as they are and give messages as they came: Streamable HTTP, WebSocket, and stdin and stdout
of `gatehouse stdio`. Nothing is checked, escaped or retried here."""
import asyncio
import base64
import itertools
import json
import os
import struct

from mcp import Closed, Session

PATIENCE_S = 20.0
LINE_MAX = 1 << 24
MODERN = '2026-07-28'


def initialize(version):
    return (b'{"jsonrpc":"2.0","id":"init","method":"initialize","params":{"protocolVersion":"%s","capabilities":{},'
            b'"clientInfo":{"name":"raw","version":"1"}}}' % version.encode())


def size_of(message):
    return len(json.loads(message)) if message.startswith(b'[') else 1


INITIALIZED = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'


class Http:
    """Each message is a POST of its own; status is that of the last."""

    def __init__(self, node):
        self.session, self.status = Session(node.url), None

    async def open(self, version):
        self.session.version = version
        await self.session.open()
        return self

    async def ask(self, body, count=1, headers=None):
        """The messages that answer body; count is how many are expected, those of an array counted one by one."""
        response = await asyncio.wait_for(self.session.request(body, headers=headers), PATIENCE_S)
        self.status = response.status
        if 'text/event-stream' not in response.headers.get('content-type', ''):
            return [response.body] if response.body else []
        return [line[5:].strip() for line in response.body.split(b'\n') if line.startswith(b'data:') and line[5:].strip()]

    async def close(self):
        await self.session.delete()
        self.session.close()


class Channel:
    """What carries all messages both ways: an answer is waited for, and a ping tells that no more came with it."""

    def __init__(self, node):
        self.node, self.fences, self.status = node, itertools.count(1), None

    async def open(self, version):
        await self.connect()
        await self.ask(initialize(version))
        await self.ask(INITIALIZED, 0)
        return self

    async def next(self):
        return await asyncio.wait_for(self.receive(), PATIENCE_S)

    async def ask(self, body, count=1, headers=None):
        assert not headers
        await self.send(body)
        found = []
        while sum(map(size_of, found)) < count:
            found.append(await self.next())
        fence = b'"fence-%d"' % next(self.fences)
        await self.send(b'{"jsonrpc":"2.0","id":' + fence + b',"method":"ping"}')
        while True:
            message = await self.next()
            if fence in message:
                return found
            found.append(message)


class WebSocket(Channel):
    async def connect(self):
        self.reader, self.writer = await asyncio.open_connection('127.0.0.1', self.node.port, limit=LINE_MAX)
        key = base64.b64encode(os.urandom(16)).decode()
        self.writer.write((f'GET /mcp HTTP/1.1\r\nHost: 127.0.0.1:{self.node.port}\r\nUpgrade: websocket\r\n'
                           f'Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n'
                           'Sec-WebSocket-Protocol: mcp\r\n\r\n').encode())
        head = await self.reader.readuntil(b'\r\n\r\n')
        if b' 101 ' not in head.split(b'\r\n')[0]:
            raise Closed(head.decode('latin-1'))

    async def send(self, data, kind=1):
        size = len(data)
        if size < 126:
            head = bytes([0x80 | kind, 0x80 | size])
        elif size < 1 << 16:
            head = bytes([0x80 | kind, 0xfe]) + struct.pack('>H', size)
        else:
            head = bytes([0x80 | kind, 0xff]) + struct.pack('>Q', size)
        self.writer.write(head + bytes(4) + data)   # a mask of zeros leaves the bytes as they are
        await self.writer.drain()

    async def frame(self):
        first, size = await self.reader.readexactly(2)
        if size == 126:
            size = struct.unpack('>H', await self.reader.readexactly(2))[0]
        elif size == 127:
            size = struct.unpack('>Q', await self.reader.readexactly(8))[0]
        return first & 15, bool(first & 0x80), await self.reader.readexactly(size)

    async def receive(self):
        whole = b''
        while True:
            kind, last, payload = await self.frame()
            if kind == 8:
                raise Closed(f'close code {int.from_bytes(payload[:2], "big")}')
            if kind == 9:
                await self.send(payload, 10)
            elif kind < 3:
                whole += payload
                if last:
                    return whole

    async def close(self):
        await self.send(struct.pack('>H', 1000), 8)
        self.writer.close()


class Stdio(Channel):
    async def connect(self):
        self.child = await asyncio.create_subprocess_exec(
            self.node.program_path, 'stdio', '--url', self.node.url, stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, limit=LINE_MAX)

    async def send(self, data):
        self.child.stdin.write(data + b'\n')
        await self.child.stdin.drain()

    async def receive(self):
        line = await self.child.stdout.readline()
        if not line:
            raise Closed('the program ended')
        return line.rstrip(b'\n')

    async def close(self):
        self.child.stdin.close()
        try:
            await asyncio.wait_for(self.child.wait(), PATIENCE_S)
        except asyncio.TimeoutError:
            self.child.kill()


CLIENTS = {'http': Http, 'websocket': WebSocket, 'stdio': Stdio}
