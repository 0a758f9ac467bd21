#!/usr/bin/env python3
"""MCP servers whose every message is written down, for tests/points.

    server.py stdio NAME LOG       one, on stdin and stdout
    server.py http LOG             several below one port, which it prints: /web, /moved (sends tools/call elsewhere),
                                   /deep/sse (HTTP+SSE of 2024-11-05); then another port, where /moved sends to

A line of LOG is JSON: who (NAME or path), self (a word of this process), got (the message) or http (a request's head).
"""
import http.server
import itertools
import json
import os
import queue
import subprocess
import sys
import threading
import time
import uuid

SELF = uuid.uuid4().hex
LOG = open(sys.argv[-1], 'a', buffering=1, encoding='utf-8')
# What a result may look like: white space, numbers no double has, escapes, a key twice.
ODD = '{"content": [ {"type":"text","text":"\\u00e9\\/é"} ],  "n":1.50, "big":12345678901234567890123, "n":1}'
LONG = 'long_' * 14
PAGE = 6
SAFE = {'annotations': {'readOnlyHint': True}}


def note(who, **what):
    LOG.write(json.dumps({'who': who, 'self': SELF, **what}) + '\n')


class Mcp:
    """One conversation. send(text) writes a message to the client; drop() is how a tool ends it without an answer."""

    TOOLS = ['abilities', 'ask', 'change', 'die', 'echo', 'forget', 'grow', 'hang', 'late', 'level', 'noise', 'odd',
             'progress', 'self', 'slow', 'spawn', 'task', 'zz_last']

    def __init__(self, who, send):
        self.who, self.send = who, send
        self.tools = [{'name': name, 'inputSchema': {'type': 'object'}, **(SAFE if name == 'self' else {})}
                      for name in self.TOOLS + [LONG]]
        self.tools.sort(key=lambda tool: tool['name'])
        self.abilities, self.level, self.answers = None, None, queue.Queue()
        self.numbers = itertools.count(1)

    def take(self, text):
        message = json.loads(text)
        note(self.who, got=message)
        if isinstance(message, list):
            return
        if 'method' not in message:
            self.answers.put(message)
        elif 'id' in message:
            threading.Thread(target=self.answer, args=(message,), daemon=True).start()

    def answer(self, message):
        result = getattr(self, 'on_' + message['method'].replace('/', '_'), self.unknown)(message)
        if result is not None:
            self.reply(message, result)

    def reply(self, message, result):
        if not isinstance(result, str):
            result = json.dumps(result)
        kind = 'error' if result.startswith('{"code"') else 'result'
        self.send(f'{{"jsonrpc":"2.0","id":{json.dumps(message["id"])},"{kind}":{result}}}')

    def tell(self, method, params=None):
        self.send(json.dumps({'jsonrpc': '2.0', 'method': method, **({'params': params} if params else {})}))

    def unknown(self, message):
        return {'code': -32601, 'message': f'{self.who} has no {message["method"]}'}

    def on_initialize(self, message):
        self.abilities = message['params']['capabilities']
        capabilities = {'tools': {'listChanged': True}, 'resources': {}, 'prompts': {'listChanged': True}, 'logging': {}}
        if self.who == 'two':
            capabilities['tasks'] = {'list': {}, 'cancel': {}, 'requests': {'tools': {'call': {}}}}
        return {'protocolVersion': message['params']['protocolVersion'], 'capabilities': capabilities,
                'serverInfo': {'name': self.who, 'version': '1'}}

    def on_ping(self, _):
        return {}

    def on_logging_setLevel(self, message):
        self.level = message['params']['level']
        return {}

    def on_prompts_list(self, _):
        return {'prompts': []}

    def on_resources_templates_list(self, _):
        return {'resourceTemplates': []}

    def on_resources_list(self, _):
        return {'resources': [{'uri': f'point://{self.who}', 'name': self.who}]}

    def on_resources_read(self, message):
        return {'contents': [{'uri': message['params']['uri'], 'text': f'read from {self.who}'}]}

    def on_tools_list(self, message):
        first = int(message.get('params', {}).get('cursor', 0))
        more = {'nextCursor': str(first + PAGE)} if first + PAGE < len(self.tools) else {}
        return {'tools': self.tools[first:first + PAGE], **more}

    def on_tasks_get(self, message):
        return {'taskId': message['params']['taskId'], 'status': 'completed', 'ttl': 60000,
                'createdAt': '2025-11-25T00:00:00Z', 'lastUpdatedAt': '2025-11-25T00:00:00Z',
                '_meta': {'of': self.who}}

    def on_tools_call(self, message):
        params = message['params']
        name, arguments = params['name'], params.get('arguments', {})
        if name == LONG:
            return self.text('the long one')
        if 'task' in params:
            return {'task': self.on_tasks_get({'params': {'taskId': f'task-{next(self.numbers)}'}})}
        if name not in self.TOOLS:
            return {'code': -32602, 'message': f'no tool {name}'}
        return getattr(self, 'tool_' + name)(message, arguments)

    def text(self, text):
        return {'content': [{'type': 'text', 'text': text}]}

    def token(self, message):
        return message['params'].get('_meta', {}).get('progressToken')

    def progress(self, token, n):
        self.tell('notifications/progress', {'progressToken': token, 'progress': n})

    def tool_echo(self, _, arguments):
        return self.text(arguments['text'])

    def tool_self(self, *_):
        return self.text(SELF)

    def tool_odd(self, *_):
        return ODD

    def tool_slow(self, _, arguments):
        time.sleep(arguments['ms'] / 1000)
        return self.text(arguments['text'])

    def tool_hang(self, *_):
        return None

    def tool_die(self, *_):
        os._exit(9)

    def tool_progress(self, message, arguments):
        for n in range(arguments.get('n', 1)):
            self.progress(self.token(message), n + 1)
            time.sleep(0.05)
        return self.text('done')

    def tool_late(self, message, _):
        self.reply(message, self.text('done'))
        self.progress(self.token(message), 99)

    def tool_ask(self, *_):
        self.send(json.dumps({'jsonrpc': '2.0', 'id': 'q', 'method': 'elicitation/create', 'params': {
            'message': 'Well?', 'requestedSchema': {'type': 'object', 'properties': {}}}}))
        return self.text(json.dumps(self.answers.get(timeout=10)))

    def tool_change(self, *_):
        self.tell('notifications/prompts/list_changed')
        return self.text('told')

    def tool_grow(self, *_):
        self.tools.append({'name': 'zz_grown', 'inputSchema': {'type': 'object'}})
        self.tell('notifications/tools/list_changed')
        return self.text('grown')

    def tool_level(self, *_):
        return self.text(str(self.level))

    def tool_abilities(self, *_):
        return self.text(json.dumps(self.abilities))

    def tool_spawn(self, _, arguments):
        subprocess.Popen(['sleep', arguments['seconds']], start_new_session=True, stdin=subprocess.DEVNULL,
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return self.text('spawned')

    def tool_zz_last(self, *_):
        return self.text('the last one')

    tool_forget = tool_noise = tool_task = tool_zz_last


# --- stdio ------------------------------------------------------------------------------------------------------------

class Stdio(Mcp):
    lock = threading.Lock()

    def __init__(self, name):
        super().__init__(name, self.write)

    def write(self, text):
        with self.lock:
            self.out(text.encode() + b'\n')

    def out(self, data):
        while data:
            data = data[os.write(1, data):]

    def tool_noise(self, message, _):
        answer = json.dumps({'jsonrpc': '2.0', 'id': message['id'], 'result': self.text('größer')}, ensure_ascii=False)
        data = answer.encode() + b'\n'
        cut = data.index('ß'.encode()) + 1
        with self.lock:
            self.out(b'Starting up, one moment ...\n' + data[:cut])
            time.sleep(0.2)
            self.out(data[cut:])

    def serve(self):
        for line in sys.stdin.buffer:
            self.take(line)


# --- HTTP -------------------------------------------------------------------------------------------------------------

class Web(Mcp):
    """In Streamable HTTP a message has one answer, in its response."""

    def __init__(self, who):
        super().__init__(who, None)

    def tool_forget(self, *_):
        for name, mcp in list(Handler.sessions.items()):
            if mcp is self:
                del Handler.sessions[name]
        return self.text('forgotten')


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    sessions = {}
    elsewhere = 0

    def log_message(self, *_):
        pass

    def respond(self, status, body=b'', **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace('_', '-'), value)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_DELETE(self):
        self.respond(200 if self.sessions.pop(self.headers.get('Mcp-Session-Id'), None) else 404)

    def do_GET(self):
        if self.path != '/deep/sse':
            self.respond(405)
            return
        mcp, name = None, uuid.uuid4().hex
        lock = threading.Lock()

        def send(text):
            with lock:
                self.wfile.write(f'data: {text}\n\n'.encode())
                self.wfile.flush()
        mcp = Mcp('old', send)
        self.sessions[name] = mcp
        self.close_connection = True
        self.send_response(200)
        self.send_header('Content-Type', 'text/event-stream')
        self.end_headers()
        self.wfile.write(f'event: endpoint\ndata: message?c={name}\n\n'.encode())
        self.wfile.flush()
        self.connection.recv(1)

    def do_POST(self):
        body = self.rfile.read(int(self.headers['Content-Length']))
        note(self.path.split('?')[0], http=dict(self.headers))
        if self.path.startswith('/deep/message?c='):
            self.sessions[self.path.partition('=')[2]].take(body)
            self.respond(202)
        elif self.path in ('/web', '/moved'):
            self.post(json.loads(body), body)
        else:
            self.respond(404)

    def post(self, message, body):
        name = self.headers.get('Mcp-Session-Id')
        if message.get('method') == 'initialize':
            name = uuid.uuid4().hex
            self.sessions[name] = Web(self.path[1:])
        if name not in self.sessions:
            # a request without a session is of the later revision, which is not spoken here
            self.respond(404 if name else 400)
            return
        tool = message.get('params', {}).get('name') if message.get('method') == 'tools/call' else None
        note(self.path[1:], got=message)
        if tool and self.path == '/moved':
            self.respond(307, Location=f'http://127.0.0.1:{self.elsewhere}/elsewhere')
        elif tool == 'die':
            self.close_connection = True
            self.connection.shutdown(2)
        elif 'id' in message and 'method' in message:
            self.answer(self.sessions[name], message, name)
        else:
            self.respond(202)

    def answer(self, mcp, message, name):
        said = []
        mcp.send = said.append
        mcp.answer(message)
        if message.get('params', {}).get('name') == 'zz_last':
            data = ''.join(f'data: {text}\n\n' for text in said).encode()
            self.respond(200, data, Content_Type='text/event-stream')
        else:
            self.respond(200, said[0].encode(), Content_Type='application/json', Mcp_Session_Id=name)


def serve_http():
    servers = [http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) for _ in range(2)]
    Handler.elsewhere = servers[1].server_address[1]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print(servers[0].server_address[1], flush=True)
    threading.Event().wait()


if sys.argv[1] == 'stdio':
    Stdio(sys.argv[2]).serve()
else:
    serve_http()
