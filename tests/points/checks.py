"""A test for each point: it gets the node, and raises Wrong. What the servers do is in server.py."""
import base64
import itertools
import json
import os
import signal
import time

from client import INITIALIZED, Session, Wrong, expect, wait_for
from harness import kill, pids_with

unique = (f'{os.getpid()}{n:04d}' for n in itertools.count(1))


def texts(stream):
    return b'\n'.join(data for _, data in stream.events)


def got(node, who, method):
    """What the server who was sent."""
    return [line['got'] for line in node.heard() if line['who'] == who and 'got' in line
            and isinstance(line['got'], dict) and line['got'].get('method') == method]


def ids_come_back(node):
    with Session(node.port) as session:
        for raw in (b'9007199254740993', b'-0', b'"a\\u0062\\/c"'):
            stream = session.send(b'{"jsonrpc":"2.0","id":%s,"method":"ping"}' % raw).done()
            expect(b'"id":%s,' % raw in texts(stream), f'id {raw} came back as {texts(stream)}')
        stream = session.send(b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}').done()
        expect(stream.find(error=None), f'a fractional id: {texts(stream)}')
        mark = next(unique)
        stream = session.send(b'{"jsonrpc":"2.0","id":9007199254740993,"method":"tools/call","params":'
                              b'{"name":"one__echo","arguments":{"text":"%s"}}}' % mark.encode())
        expect('result' in stream.answer(), 'no answer')
        own = [m['id'] for m in got(node, 'one', 'tools/call') if m['params'].get('arguments') == {'text': mark}]
        expect(own and all(isinstance(i, int) and 0 < i < 2 ** 53 for i in own), f'towards the server: {own}')


def same_id_twice(node):
    with Session(node.port) as session:
        session.call('one__echo', {'text': 'warm'})
        slow = session.start('one__slow', {'ms': 600, 'text': 'slow'}, id=1)
        time.sleep(0.1)
        fast = session.start('one__slow', {'ms': 0, 'text': 'fast'}, id=1)
        for stream, text in ((fast, 'fast'), (slow, 'slow')):
            answer = stream.answer(3)
            expect(answer['id'] == 1 and answer['result']['content'][0]['text'] == text, f'{text}: {answer}')


def bytes_stay(node):
    odd = '{"content": [ {"type":"text","text":"\\u00e9\\/é"} ],  "n":1.50, "big":12345678901234567890123, "n":1}'
    with Session(node.port) as session:
        stream = session.start('one__odd').done()
        expect(odd.encode() in texts(stream), f'it came as {texts(stream)}')


def noise_is_skipped(node):
    with Session(node.port) as session:
        expect(session.call('one__noise') == 'größer', 'another text')


def token_comes_back(node):
    with Session(node.port) as session:
        for token in ('tok-1', 7, '7'):
            stream = session.start('one__progress', {'n': 2}, {'progressToken': token}).done()
            tokens = [m['params']['progressToken'] for m in stream.find(method='notifications/progress')]
            expect(tokens == [token, token] and type(tokens[0]) is type(token), f'{token!r} came back as {tokens}')
        stream = session.start('one__echo', {'text': 'no token'}).done()
        sent = got(node, 'one', 'tools/call')[-1]
        expect('progressToken' not in sent['params'].get('_meta', {}), f'a token nobody gave: {sent}')


def no_late_progress(node):
    with Session(node.port) as session:
        stream = session.listen()
        answer = session.start('one__late', meta={'progressToken': 'tok'}).done()
        session.call('one__echo', {'text': 'afterwards'})
        time.sleep(0.3)
        late = stream.find(method='notifications/progress') + answer.find(method='notifications/progress')
        expect(not late, f'progress after the answer: {late}')


def cancel_finds_its_call(node):
    mark = next(unique)
    with Session(node.port) as session:
        arguments = {'ms': 1000, 'text': mark}
        stream = session.start('one__slow', arguments, id='mine')
        of_mark = lambda: [m for m in got(node, 'one', 'tools/call') if m['params']['arguments'] == arguments]
        sent = wait_for(of_mark, 8, 'the call at the server')[0]
        session.send({'jsonrpc': '2.0', 'method': 'notifications/cancelled', 'params': {
            'requestId': 'mine', 'reason': mark}}).done()
        of_reason = lambda: [m for m in got(node, 'one', 'notifications/cancelled') if m['params'].get('reason') == mark]
        cancelled = wait_for(of_reason, 8, 'notifications/cancelled at the server')[0]
        expect(cancelled['params']['requestId'] == sent['id'],
               f"request {sent['id']} is cancelled as {cancelled['params']['requestId']}")
        time.sleep(1)
        session.call('one__echo', {'text': 'afterwards'})
        expect(not stream.find(id='mine'), f'an answer after it was cancelled: {stream.events}')


def nothing_runs_twice(node):
    mark = next(unique)
    with Session(node.port) as session:
        session.call('web__echo', {'text': 'a connection that is kept'})
        answer = session.start('web__die', {'mark': mark}).answer()
        runs = [m for m in got(node, 'web', 'tools/call') if m['params']['arguments'] == {'mark': mark}]
        expect(len(runs) == 1, f'it ran {len(runs)} times')
        expect(answer.get('error', {}).get('data', {}).get('executed') == 'unknown', f'the client was told {answer}')


def forgotten_session(node):
    with Session(node.port) as session:
        session.result('logging/setLevel', {'level': 'error'})
        wait_for(lambda: session.call('web__level') == 'error', 8, 'the log level at the server')
        session.call('web__forget')
        before = len(got(node, 'web', 'initialize'))
        expect(session.call('web__self'), 'no answer')
        expect(len(got(node, 'web', 'initialize')) == before + 1, 'initialize was not sent once')
        expect(session.call('web__level') == 'error', 'the log level was not restored')


def unknown_session(node):
    with Session(node.port) as session:
        known, session.id = session.id, 'A' * 36
        stream = session.request('ping').done()
        expect(stream.status == 404 and stream.find(error=None), f'HTTP {stream.status} {stream.events}')
        expect(session.listen().done().status == 404, 'a GET of an unknown session')
        with Session(node.port, stale='A' * 36) as fresh:
            expect(fresh.id != 'A' * 36, 'initialize took the stale id over')
        session.id = known


def two_get_streams(node):
    with Session(node.port) as session:
        first, second = session.listen(), session.listen()
        time.sleep(0.3)
        expect(not first.ended and not second.ended, 'a GET stream was ended')
        session.call('one__change')
        told = lambda: [s for s in (first, second) if s.find(method='notifications/prompts/list_changed')]
        wait_for(told, 8, 'the notification')
        time.sleep(0.2)
        expect(len(told()) == 1, 'it came on both')


def early_message_waits(node):
    with Session(node.port) as session:
        session.call('one__change')
        time.sleep(0.2)
        session.listen().wait(3, method='notifications/prompts/list_changed')


def replay_of_one_stream(node):
    with Session(node.port) as session:
        streams = [session.start('one__progress', {'n': 3}, {'progressToken': name}) for name in ('a', 'b')]
        for stream in streams:
            stream.done()
        again = session.listen(Last_Event_ID=streams[0].events[0][0]).done()
        expect(again.events == streams[0].events[1:], f'{streams[0].events[1:]} became {again.events}'[:900])


def delete_ends_all(node):
    seconds = f'300.{next(unique)}'
    session = Session(node.port)
    session.call('one__spawn', {'seconds': seconds})
    try:
        expect(200 <= session.send(None, 'DELETE').done().status < 300, 'DELETE is refused')
        status = session.request('ping').done().status
        expect(status == 404, f'after DELETE a request is answered with HTTP {status}')
        wait_for(lambda: not pids_with(seconds), 8, 'the end of its processes')
    finally:
        for pid in pids_with(seconds):
            kill(pid, signal.SIGKILL)


def ids_are_random(node):
    found = []
    for _ in range(4):
        with Session(node.port) as session:
            found.append(base64.urlsafe_b64decode(session.id)[:16])
    for a, b in itertools.combinations(found, 2):
        differing = sum((x ^ y).bit_count() for x, y in zip(a, b))
        expect(differing > 24, f'of the first 128 bits of two ids, {differing} differ')


def grandchildren_end(node):
    seconds = f'300.{next(unique)}'
    try:
        with Session(node.port) as session:
            session.call('one__spawn', {'seconds': seconds})
            expect(pids_with(seconds), 'nothing was started')
        wait_for(lambda: not pids_with(seconds), 5, 'the end of what the server started')
    finally:
        for pid in pids_with(seconds):
            kill(pid, signal.SIGKILL)


def own_process(node):
    with Session(node.port) as first, Session(node.port) as second:
        expect(first.call('two__self') != second.call('two__self'), 'two sessions speak with one process')
        expect(first.call('two__self') == first.call('two__self'), 'one session speaks with several')


def death_is_told(node):
    with Session(node.port) as session:
        before = session.call('one__self')
        answer = session.start('one__die').answer(4)
        expect(answer.get('error', {}).get('data', {}).get('reason') == 'server_died', f'its call was told {answer}')
        expect(session.call('one__self') != before, 'the same process goes on')


def list_without_one(node):
    with Session(node.port) as session:
        names = session.tools()
        expect('one__echo' in names and 'web__echo' in names, f'{len(names)} tools')
        expect(not [name for name in names if name.startswith('down__')], 'tools of a server that is down')


def all_pages(node):
    with Session(node.port) as session:
        expect('one__zz_last' in session.tools(), 'the last page is missing')
        answer = session.request('tools/list', {'cursor': 'none of ours'}).answer()
        expect(answer.get('error', {}).get('code') == -32602, f'an invalid cursor: {answer}'[:300])


def long_name(node):
    with Session(node.port) as session:
        names = [name for name in session.tools() if name.startswith('one__long_')]
        expect(len(names) == 1 and len(names[0]) <= 64, f'{names}')
        expect(session.call(names[0]) == 'the long one', 'another tool')


def uri_has_an_owner(node):
    with Session(node.port) as session:
        for name in ('one', 'two', 'web'):
            text = session.result('resources/read', {'uri': f'point://{name}'})['contents'][0]['text']
            expect(text == f'read from {name}', f'{name}: {text}')


def own_abilities(node):
    for abilities in ({}, {'sampling': {}}, {'elicitation': {'form': {}}, 'roots': {'listChanged': True}}):
        with Session(node.port, abilities) as session:
            told = json.loads(session.call('one__abilities'))
            expect(told == abilities, f'of {abilities} the server was told {told}')


def changed_list(node):
    with Session(node.port) as session:
        session.tools()
        stream = session.listen()
        session.call('one__grow')
        stream.wait(3, method='notifications/tools/list_changed')
        expect('one__zz_grown' in session.tools(), 'the new tool is not in the list')
        expect(len(stream.find(method='notifications/tools/list_changed')) == 1, 'told more than once')


def level_is_remembered(node):
    with Session(node.port) as session:
        session.result('logging/setLevel', {'level': 'warning'})
        level = session.call('one__level')
        expect(level == 'warning', f'the server was told {level}')


def question_on_its_stream(node):
    with Session(node.port, {'elicitation': {'form': {}}}) as session:
        listening, stream = session.listen(), session.start('one__ask')
        wait_for(lambda: stream.find(method='elicitation/create') or listening.find(method='elicitation/create'), 8,
                 'the question')
        time.sleep(0.2)
        expect(not listening.find(method='elicitation/create'), 'it is asked on the stream of the GET')
        question = stream.wait(3, method='elicitation/create')
        session.send({'jsonrpc': '2.0', 'id': question['id'], 'result': {'action': 'decline'}}).done()
        text = json.loads(stream.answer()['result']['content'][0]['text'])
        expect(text.get('result') == {'action': 'decline'}, f'the server got {text}')


def foreign_origin(node):
    with Session(node.port) as session:
        for name, value in (('Host', 'evil.example'), ('Origin', 'http://evil.example')):
            stream = session.send({'jsonrpc': '2.0', 'id': 1, 'method': 'ping'}, **{name: value}).done()
            expect(stream.status == 403, f'{name}: {value} is answered with HTTP {stream.status}')
        expect(session.result('ping') == {}, 'the own host')


def both_media_types(node):
    with Session(node.port) as session:
        expect(session.call('web__echo', {'text': 'as JSON'}) == 'as JSON', 'the answer as JSON')
        expect(session.call('web__zz_last') == 'the last one', 'the answer as an event stream')
        accept = [line['http']['Accept'] for line in node.heard() if line['who'] == '/web' and 'http' in line][-1]
        for kind in ('application/json', 'text/event-stream'):
            expect(kind in accept, f'Accept: {accept}')
        status = session.send(INITIALIZED).done().status
        expect(status == 202, f'a notification is answered with HTTP {status}')


def quiet_stream_lives(node):
    with Session(node.port) as session:
        stream = session.listen()
        expect(stream.headers.get('x-accel-buffering') == 'no', f'{stream.headers}')
        wait_for(lambda: stream.comments > 1, 3, 'two comments')


def relative_endpoint(node):
    with Session(node.port) as session:
        expect(session.call('old__echo', {'text': 'there'}) == 'there', 'another text')


def redirect_elsewhere(node):
    with Session(node.port) as session:
        answer = session.start('moved__echo', {'text': 'where'}).answer()
        expect('error' in answer, f'it was answered: {answer}')
        there = [line['http'] for line in node.heard() if line['who'] == '/elsewhere']
        expect(not there, f'the other origin was sent {there}'[:300])


def batch_is_split(node):
    with Session(node.port, version='2025-03-26') as session:
        batch = [{'jsonrpc': '2.0', 'id': n, 'method': 'tools/call', 'params': {
            'name': 'one__echo', 'arguments': {'text': n}}} for n in ('a', 'b')]
        stream = session.send(batch + [{'jsonrpc': '2.0', 'id': 'c', 'method': 'ping'}]).done()
        expect(sorted(m.get('id') or '' for m in stream.find(result=None)) == ['a', 'b', 'c'], f'{stream.events}')
        expect(not [line for line in node.heard() if isinstance(line.get('got'), list)], 'a server was sent a batch')
    with Session(node.port) as session:
        expect(session.send(batch).done().find(error=None), 'a batch in 2025-11-25')


def task_has_an_owner(node):
    with Session(node.port) as session:
        params = {'name': 'two__task', 'arguments': {}, 'task': {'ttl': 60000}}
        task = session.result('tools/call', params)['task']['taskId']
        result = session.result('tasks/get', {'taskId': task})
        expect(result['taskId'] == task and result['_meta'] == {'of': 'two'}, f'{result}')
        with Session(node.port) as other:
            answer = other.request('tasks/get', {'taskId': task}).answer()
            expect('error' in answer, 'another session has the task')
