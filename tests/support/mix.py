"""A mix of clients, each of which verifies every answer it gets: a new connection per request; kept connections with a
pause of 0 to 4 ms, so that a request may meet the end of its connection; pipelined POSTs; slow chunked uploads; answers
that come as event streams; requests of 2026-07-28; event streams with numbered messages; streams of subscriptions;
WebSockets.

A dropped request is one whose connection is refused, reset or ended before the whole answer, or whose answer is wrong, an
error, or not there in time. An event is lost, repeated or out of order when its number is not the next one.
"""
import asyncio
import collections
import itertools
import json
import random
import time

from mcp import Closed, Connection, Session
from raw_clients import WebSocket

MODERN = '2026-07-28'
PATIENCE_S = 30.0
PIPELINED = 4


class Tally:
    def __init__(self):
        self.done, self.faults, self.notes = collections.Counter(), [], collections.Counter()
        self.results = set()       # keys whose execution was answered
        self.slowest_ms = 0.0

    def fault(self, kind, what):
        self.faults.append(f'{kind}: {what}')

    def good(self, kind, key, began):
        self.done[kind] += 1
        self.results.add(key)
        self.slowest_ms = max(self.slowest_ms, (time.monotonic() - began) * 1000)


class Client:
    """One client of the mix; run() goes on until the mix ends."""
    numbers = itertools.count(1)

    def __init__(self, mix):
        self.mix, self.tally, self.name = mix, mix.tally, f'{type(self).__name__.lower()}{next(self.numbers)}'
        self.keys, self.ids, self.session = itertools.count(1), itertools.count(1), None
        self.connection = None

    async def open(self):
        self.session = await Session(self.mix.url).open()
        self.session.close()

    def call(self, tool='count', **arguments):
        """Bytes of a POST, the id and the key of the call in it."""
        number, key = next(self.ids), f'{self.name}-{next(self.keys)}'
        arguments.setdefault('key', key)
        body = json.dumps({'jsonrpc': '2.0', 'id': number, 'method': 'tools/call',
                           'params': {'name': tool, 'arguments': arguments}}).encode()
        return self.session.head('POST', {}, len(body)) + body, number, key

    def verify(self, response, number, key):
        """'' or what is wrong with an answer."""
        if response.status != 200:
            return f'HTTP {response.status} {response.body[:200]!r}'
        answers = [m for m in response.messages() if m.get('id') == number and 'method' not in m]
        if len(answers) != 1:
            return f'{len(answers)} answers for id {number}: {response.body[:200]!r}'
        said = (answers[0].get('result') or {}).get('content') or [{}]
        return '' if said[0].get('text') == f'counted {key}' else f'wrong answer for {key}: {answers[0]}'

    async def connect(self):
        if self.connection is None or not self.connection.usable:
            self.connection = await Connection.open(self.session.host, self.session.port)
        elif self.connection.reader.at_eof():
            self.tally.notes['closed while idle'] += 1
            self.connection.close()
            self.connection = await Connection.open(self.session.host, self.session.port)
        return self.connection

    async def one(self, kind, parts=None, **arguments):
        data, number, key = self.call(**arguments)
        began = time.monotonic()
        try:
            connection = await self.connect()
            for piece in (parts(data) if parts else [data]):
                await connection.send(piece)
                if parts:
                    await asyncio.sleep(0.05)
            response = await asyncio.wait_for(connection.read_response(), PATIENCE_S)
            wrong = self.verify(response, number, key)
        except (Closed, asyncio.TimeoutError, ValueError) as error:
            wrong = f'{type(error).__name__} {error} after {time.monotonic() - began:.3f} s'
            if self.connection:
                self.connection.close()
        if wrong:
            self.tally.fault(kind, f'{key}: {wrong}')
            await asyncio.sleep(0.02)
        else:
            self.tally.good(kind, key, began)

    async def run(self):
        while self.mix.running:
            await self.step()

    def close(self):
        if self.connection:
            self.connection.close()


class Fresh(Client):
    async def step(self):
        await self.one('new connection')
        if self.connection:
            self.connection.close()
        self.connection = None
        await asyncio.sleep(self.mix.pause())


class Kept(Client):
    async def step(self):
        await self.one('kept connection')
        await asyncio.sleep(random.random() * 0.004 + self.mix.pause())


class Modern(Client):
    """As Kept, of the revision without sessions."""

    async def open(self):
        self.session = Session(self.mix.url)

    def call(self, tool='count', **arguments):
        number, key = next(self.ids), f'{self.name}-{next(self.keys)}'
        arguments.setdefault('key', key)
        meta = {'io.modelcontextprotocol/protocolVersion': MODERN, 'io.modelcontextprotocol/clientCapabilities': {}}
        body = json.dumps({'jsonrpc': '2.0', 'id': number, 'method': 'tools/call',
                           'params': {'name': tool, 'arguments': arguments, '_meta': meta}}).encode()
        headers = {'MCP-Protocol-Version': MODERN, 'Mcp-Method': 'tools/call', 'Mcp-Name': tool}
        return self.session.head('POST', headers, len(body)) + body, number, key

    async def step(self):
        await self.one('without session')
        await asyncio.sleep(random.random() * 0.004 + self.mix.pause())


class Slow(Client):
    """Calls that take longer than an answer may take before it becomes an event stream."""

    async def step(self):
        await self.one('answered as stream', delay_ms=random.choice((250, 400, 900)))


class Pipelined(Client):
    async def step(self):
        calls = [self.call() for _ in range(PIPELINED)]
        began, left = time.monotonic(), list(calls)
        try:
            connection = await self.connect()
            await connection.send(b''.join(data for data, _, _ in calls))
            while left and connection.usable:
                response = await asyncio.wait_for(connection.read_response(), PATIENCE_S)
                _, number, key = left.pop(0)
                wrong = self.verify(response, number, key)
                if wrong:
                    self.tally.fault('pipelined', f'{key}: {wrong}')
                else:
                    self.tally.good('pipelined', key, began)
        except (Closed, asyncio.TimeoutError, ValueError) as error:
            self.tally.fault('pipelined', f'{len(left)} of {PIPELINED} unanswered: {error}')
            if self.connection:
                self.connection.close()
            left = []
        # Connection: close before the last answer: they were not begun (RFC 9112, 9.6), and yet this client wanted them
        for _, _, key in left:
            self.tally.fault('pipelined', f'{key}: the connection ended before its turn')
        await asyncio.sleep(self.mix.pause())


class Upload(Client):
    """A chunked body at 50 KB/s."""

    async def step(self):
        text = 'x' * self.mix.upload

        def parts(data):
            head, _, body = data.partition(b'\r\n\r\n')
            lines = [line for line in head.split(b'\r\n') if not line.startswith(b'Content-Length')]
            yield b'\r\n'.join(lines + [b'Transfer-Encoding: chunked', b'', b''])
            for at in range(0, len(body), 2500):
                piece = body[at:at + 2500]
                yield b'%x\r\n%s\r\n' % (len(piece), piece)
            yield b'0\r\n\r\n'

        await self.one('slow upload', parts=parts, padding=text)


class EventStream(Client):
    """Listens with GET, and comes back with Last-Event-ID when the stream ends."""
    every_ms = 20

    async def open(self):
        await super().open()
        self.seen, self.last, self.retry = 0, None, 1.0

    async def listen(self):
        headers = {'Accept': 'text/event-stream', 'Content-Length': None}
        if self.last:
            headers['Last-Event-ID'] = self.last
        connection = await Connection.open(self.session.host, self.session.port)
        await connection.send(self.session.head('GET', headers, 0))
        head = await connection.reader.readuntil(b'\r\n\r\n')
        if b' 200 ' not in head.split(b'\r\n')[0]:
            raise Closed(head.decode('latin-1').split('\r\n', maxsplit=1)[0])
        return connection

    def take(self, lines):
        """One event."""
        number, data = None, ''
        for line in lines:
            name, _, value = line.partition(':')
            value = value.removeprefix(' ')
            if name == 'id':
                number = value
            elif name == 'data':
                data += value
            elif name == 'retry':
                self.retry = int(value) / 1000
        if number is not None:
            if self.last and int(number.split('-')[2]) <= int(self.last.split('-')[2]):
                self.tally.fault('event stream', f'{self.name}: id {number} after {self.last}')
            self.last = number
        tick = (json.loads(data).get('params', {}).get('data', {}) if data else {}).get('tick')
        if tick is None:
            return
        if tick != self.seen + 1:
            self.tally.fault('event stream', f'{self.name}: {tick} after {self.seen}')
        self.seen = tick
        self.tally.done['event'] += 1

    async def read(self, connection):
        """Events until the stream ends."""
        waiting = ''
        try:
            while self.mix.running or self.seen < self.mix.ticks:
                size = int((await asyncio.wait_for(connection.reader.readline(), PATIENCE_S)).strip() or b'0', 16)
                waiting += (await connection.reader.readexactly(size)).decode()
                await connection.reader.readexactly(2)
                *events, waiting = waiting.split('\n\n')
                for event in events:
                    self.take(event.split('\n'))
                if size == 0:
                    self.tally.notes[f'{type(self).__name__} ended'] += 1
                    return
        except (asyncio.IncompleteReadError, OSError):
            self.tally.notes[f'{type(self).__name__} broken'] += 1

    async def run(self):
        data, _, _ = self.call('ticks', count=10 ** 9, every_ms=self.every_ms)
        connection = await Connection.open(self.session.host, self.session.port)
        await connection.send(data)
        await connection.read_response()
        connection.close()
        while self.mix.running:
            try:
                connection = await self.listen()
                await self.read_while_running(connection)
                connection.close()
            except (Closed, OSError, asyncio.IncompleteReadError) as error:
                self.tally.fault('event stream', f'{self.name}: {error}')
            if self.mix.running:
                await asyncio.sleep(self.retry)

    async def read_while_running(self, connection):
        reading = asyncio.create_task(self.read(connection))
        while self.mix.running and not reading.done():
            await asyncio.wait([reading], timeout=0.1)
        reading.cancel()
        try:
            await reading
        except asyncio.CancelledError:
            pass


KINDS = [Fresh, Kept, Kept, Modern, Slow, Pipelined, Upload, EventStream]


class Mix:
    """Clients of all kinds against a node's url. weight: how many of each; rate_limit: a pause between requests."""

    def __init__(self, url, weight=1, pause_ms=0.0, upload=100_000, kinds=None):
        self.url, self.tally, self.running, self.upload = url, Tally(), True, upload
        self.pause_ms, self.ticks = pause_ms, 0
        self.clients = [kind(self) for kind in (kinds or KINDS) for _ in range(weight)]

    def pause(self):
        return self.pause_ms / 1000

    async def start(self):
        for client in self.clients:
            await client.open()
        self.tasks = [asyncio.create_task(client.run()) for client in self.clients]

    async def stop(self):
        self.running = False
        for done in await asyncio.gather(*self.tasks, return_exceptions=True):
            if isinstance(done, BaseException):
                self.tally.fault('client', repr(done))
        for client in self.clients:
            client.close()

    @property
    def requests(self):
        return sum(n for kind, n in self.tally.done.items() if kind != 'event')
