"""A client that sees every byte: one HTTP connection for each request, and what came on it, in order."""
import http.client
import json
import threading
import time
import uuid

ACCEPT = {'POST': 'application/json, text/event-stream', 'GET': 'text/event-stream', 'DELETE': 'application/json'}
INITIALIZED = {'jsonrpc': '2.0', 'method': 'notifications/initialized'}


class Wrong(Exception):
    """The node did not do what the point demands."""


def expect(truth, what):
    if not truth:
        raise Wrong(what)


class Patience:
    """How many times as long as said is waited for what must come; what must not come is not waited for so long."""
    factor = 4


def wait_for(probe, seconds, what):
    end = time.monotonic() + seconds * Patience.factor
    while not (value := probe()):
        expect(time.monotonic() < end, f'not within {seconds} s: {what}')
        time.sleep(0.02)
    return value


class Stream:
    """A request and what it brings: status, headers, events [(id, data)], comments; read by a thread of its own."""

    def __init__(self, port, method, headers, body):
        self.status, self.headers, self.events, self.comments, self.ended = None, {}, [], 0, False
        self.connection = http.client.HTTPConnection('127.0.0.1', port, timeout=60)
        self.thread = threading.Thread(target=self.run, args=(method, headers, body), daemon=True)
        self.thread.start()

    def run(self, method, headers, body):
        try:
            self.connection.request(method, '/mcp', body=body, headers=headers)
            response = self.connection.getresponse()
            self.headers = {name.lower(): value for name, value in response.getheaders()}
            self.status = response.status
            if 'event-stream' in self.headers.get('content-type', ''):
                self.read_events(response)
            elif data := response.read():
                self.events.append(('', data))
        except (OSError, http.client.HTTPException, ValueError, AttributeError):
            pass
        self.ended = True

    def read_events(self, response):
        name = ''
        while line := response.readline():
            if line.startswith(b':'):
                self.comments += 1
            elif line.startswith(b'id:'):
                name = line[3:].strip().decode()
            elif line.startswith(b'data:') and line[5:].strip():
                self.events.append((name, line[5:].strip()))

    def messages(self):
        found = [json.loads(data) for _, data in self.events]
        return [message for part in found for message in (part if isinstance(part, list) else [part])]

    def find(self, **members):
        """The messages with these members; None: it has it, whatever it is."""
        return [m for m in self.messages() if all(k in m and v in (None, m[k]) for k, v in members.items())]

    def wait(self, seconds=8, **members):
        wait_for(lambda: self.find(**members) or self.ended, seconds, f'a message with {members}')
        expect(self.find(**members), f'HTTP {self.status} without a message with {members}: {self.events}'[:600])
        return self.find(**members)[0]

    def answer(self, seconds=8):
        """The reply of the one request that was sent."""
        wait_for(lambda: self.find(result=None) or self.find(error=None) or self.ended, seconds, 'an answer')
        found = self.find(result=None) + self.find(error=None)
        expect(found, f'HTTP {self.status} without an answer: {self.events}'[:600])
        return found[0]

    def done(self, seconds=8):
        wait_for(lambda: self.ended, seconds, 'the end of the response')
        return self

    def close(self):
        if self.connection.sock:
            self.connection.sock.shutdown(2)
        self.thread.join(5)


class Session:
    """A session of the legacy era, of a kind of client not seen before: its lists are asked for anew."""

    def __init__(self, port, capabilities=None, version='2025-11-25', stale=None):
        self.port, self.version, self.id, self.streams, self.n = port, version, stale, [], 0
        first = self.send({'jsonrpc': '2.0', 'id': 0, 'method': 'initialize', 'params': {
            'protocolVersion': version, 'capabilities': capabilities or {},
            'clientInfo': {'name': 'points', 'version': uuid.uuid4().hex}}}).done()
        expect(first.status == 200, f'initialize: HTTP {first.status} {first.events}')
        self.id = first.headers['mcp-session-id']
        self.send(INITIALIZED).done()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.send(None, 'DELETE').done()
        for stream in self.streams:
            stream.close()

    def send(self, message, method='POST', **headers):
        """message: bytes, or what becomes JSON."""
        body = message if message is None or isinstance(message, bytes) else json.dumps(message).encode()
        fields = {'Accept': ACCEPT[method], 'Content-Type': 'application/json'}
        if self.id:
            fields |= {'Mcp-Session-Id': self.id, 'MCP-Protocol-Version': self.version}
        fields |= {name.replace('_', '-'): value for name, value in headers.items()}
        stream = Stream(self.port, method, fields, body)
        self.streams.append(stream)
        return stream

    def listen(self, **headers):
        stream = self.send(None, 'GET', **headers)
        wait_for(lambda: stream.status or stream.ended, 8, 'the head of a GET')
        return stream

    def request(self, method, params=None, **members):
        self.n += 1
        return self.send({'jsonrpc': '2.0', 'id': self.n, 'method': method, 'params': params or {}} | members)

    def start(self, tool, arguments=None, meta=None, **members):
        params = {'name': tool, 'arguments': arguments or {}} | ({'_meta': meta} if meta else {})
        return self.request('tools/call', params, **members)

    def result(self, method, params=None):
        answer = self.request(method, params).answer()
        expect('result' in answer, f'{method}: {answer}')
        return answer['result']

    def call(self, tool, arguments=None):
        """The text a tool gives."""
        answer = self.start(tool, arguments).answer()
        expect('result' in answer, f'{tool}: {answer}'[:500])
        return answer['result']['content'][0]['text']

    def tools(self):
        return [tool['name'] for tool in self.result('tools/list')['tools']]
