"""An MCP client for fault tests: asyncio, standard library only, one request per pooled connection.

Every outcome of a call is kept apart: a result, an error the other side sent, an HTTP status, a connection that was
closed, no answer in time. Nothing is retried.
"""
import asyncio
import itertools
import json
import time

MAX_BODY = 16 * 1024 * 1024
LEGACY = '2025-11-25'
ACCEPT = 'application/json, text/event-stream'


class Closed(Exception):
    """The connection ended before the answer did."""


class Response:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def messages(self):
        """The JSON messages of the body, whether it is JSON or an event stream."""
        text = self.body.decode('utf-8', 'replace')
        if 'text/event-stream' not in self.headers.get('content-type', ''):
            texts = [text] if text.strip() else []
        else:
            texts = [line[5:].strip() for line in text.splitlines() if line.startswith('data:')]
        return [json.loads(t) for t in texts if t]


class Connection:
    """One kept-alive HTTP/1.1 connection."""

    def __init__(self, reader, writer):
        self.reader, self.writer, self.usable = reader, writer, True

    @classmethod
    async def open(cls, host, port):
        try:
            reader, writer = await asyncio.open_connection(host, port, limit=MAX_BODY)
        except OSError as error:
            raise Closed(f'connect: {error}') from error
        return cls(reader, writer)

    def close(self):
        self.usable = False
        self.writer.close()

    async def send(self, data):
        try:
            self.writer.write(data)
            await self.writer.drain()
        except OSError as error:
            raise Closed(f'send: {error}') from error

    async def read_response(self):
        try:
            head = await self.reader.readuntil(b'\r\n\r\n')
            lines = head.decode('latin-1').split('\r\n')
            status = int(lines[0].split(' ')[1])
            headers = {k.strip().lower(): v.strip() for k, _, v in
                       (line.partition(':') for line in lines[1:] if line)}
            body = await self._read_body(status, headers)
        except (asyncio.IncompleteReadError, OSError) as error:
            self.usable = False
            raise Closed(f'read: {error}') from error
        if headers.get('connection', '').lower() == 'close':
            self.close()
        return Response(status, headers, body)

    async def _read_body(self, status, headers):
        if status in (204, 304) or status < 200:
            return b''
        if 'chunked' in headers.get('transfer-encoding', ''):
            parts = []
            while True:
                size = int((await self.reader.readline()).split(b';')[0] or b'0', 16)
                parts.append(await self.reader.readexactly(size))
                await self.reader.readexactly(2)
                if size == 0:
                    return b''.join(parts)
        if 'content-length' in headers:
            return await self.reader.readexactly(int(headers['content-length']))
        return await self.reader.read(MAX_BODY)


class Outcome:
    """kind: result, error, http, closed, timeout."""

    def __init__(self, kind, started, value=None, executed=None):
        self.kind, self.value, self.executed = kind, value, executed
        self.started, self.ended = started, time.monotonic()
        self.ms = (self.ended - started) * 1000

    def __repr__(self):
        return f'{self.kind} after {self.ms:.0f} ms: {str(self.value)[:200]}'


class Session:
    """A session of the legacy era; calls run side by side, each on a connection of its own."""

    def __init__(self, url, version=LEGACY):
        rest = url.split('://', 1)[1]
        address, _, path = rest.partition('/')
        self.host, _, port = address.partition(':')
        self.port, self.path, self.version = int(port), '/' + path, version
        self.id, self.idle, self.ids = None, [], itertools.count(1)
        self.last_init = None

    def head(self, method, headers, length):
        fields = {'Host': f'{self.host}:{self.port}', 'Accept': ACCEPT, 'Content-Type': 'application/json',
                  'Content-Length': str(length)}
        if self.id:
            fields['Mcp-Session-Id'] = self.id
            fields['MCP-Protocol-Version'] = self.version
        fields.update(headers)
        lines = [f'{method} {self.path} HTTP/1.1'] + [f'{k}: {v}' for k, v in fields.items() if v is not None]
        return ('\r\n'.join(lines) + '\r\n\r\n').encode('latin-1')

    async def request(self, body, method='POST', headers=None, fresh=False):
        """body: bytes or something for json. fresh: on a new connection."""
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        connection = None
        while self.idle and not fresh and connection is None:
            candidate = self.idle.pop()
            if candidate.usable and not candidate.reader.at_eof():
                connection = candidate
        connection = connection or await Connection.open(self.host, self.port)
        try:
            await connection.send(self.head(method, headers or {}, len(body)) + body)
            response = await connection.read_response()
        except BaseException:
            connection.close()
            raise
        if connection.usable:
            self.idle.append(connection)
        return response

    async def open(self, capabilities=None):
        self.id = None
        response = await self.request({
            'jsonrpc': '2.0', 'id': 0, 'method': 'initialize',
            'params': {'protocolVersion': self.version, 'capabilities': capabilities or {},
                       'clientInfo': {'name': 'fault-test', 'version': '1'}}})
        if response.status != 200:
            raise RuntimeError(f'initialize: HTTP {response.status} {response.body[:300]!r}')
        self.last_init = response.messages()[-1]
        self.id = response.headers.get('mcp-session-id')
        response = await self.request({'jsonrpc': '2.0', 'method': 'notifications/initialized'})
        if response.status != 202:
            raise RuntimeError(f'initialized: HTTP {response.status} {response.body[:300]!r}')
        return self

    async def call(self, tool, arguments, timeout=10.0, fresh=False):
        return await self.ask('tools/call', {'name': tool, 'arguments': arguments}, timeout, fresh)

    async def ask(self, method, params, timeout=10.0, fresh=False):
        started, number = time.monotonic(), next(self.ids)
        body = {'jsonrpc': '2.0', 'id': number, 'method': method, 'params': params}
        try:
            response = await asyncio.wait_for(self.request(body, fresh=fresh), timeout)
            messages = response.messages()
        except asyncio.TimeoutError:
            return Outcome('timeout', started)
        except Closed as error:
            return Outcome('closed', started, str(error))
        except ValueError as error:
            return Outcome('http', started, f'not JSON: {error}')
        for message in messages:
            if message.get('id') != number or 'method' in message:
                continue
            if 'result' in message:
                return Outcome('result', started, message['result'])
            error = message.get('error') or {}
            data = error.get('data')
            executed = data.get('executed') if isinstance(data, dict) else None
            return Outcome('error', started, error, executed)
        return Outcome('http', started, f'{response.status} {response.body[:200]!r}')

    async def delete(self):
        return (await self.request(b'', method='DELETE')).status

    def close(self):
        for connection in self.idle:
            connection.close()
        self.idle = []
