"""Python's websockets against a node: websocket.py URL. A line per check; says so and ends well where the library is not
installed."""
import asyncio
import json
import sys

try:
    import websockets
    from websockets.exceptions import ConnectionClosed
except ImportError:
    print('not installed, nothing is checked')
    sys.exit(0)

URL = sys.argv[1]
PATIENCE = 20


def connect(**options):
    return websockets.connect(URL, subprotocols=['mcp'], max_size=None, ping_interval=None, **options)


async def answer(ws, wanted):
    while True:
        message = json.loads(await asyncio.wait_for(ws.recv(), PATIENCE))
        if message.get('id') == wanted and 'method' not in message:
            return message


def request(number, method, **params):
    return json.dumps({'jsonrpc': '2.0', 'id': number, 'method': method, 'params': params}, ensure_ascii=False)


async def initialize(ws):
    await ws.send(request(1, 'initialize', protocolVersion='2025-06-18', capabilities={},
                          clientInfo={'name': 'websockets', 'version': '1'}))
    assert (await answer(ws, 1))['result']['protocolVersion'] == '2025-06-18'
    await ws.send(json.dumps({'jsonrpc': '2.0', 'method': 'notifications/initialized'}))


async def closed_with(ws):
    try:
        while True:
            await asyncio.wait_for(ws.recv(), PATIENCE)
    except ConnectionClosed:
        return ws.close_code


async def talks():
    async with connect() as ws:
        assert ws.subprotocol == 'mcp'
        await initialize(ws)
        await ws.send(request('a', 'tools/call', name='everything__echo', arguments={'message': 'grüße 🚀'}))
        assert (await answer(ws, 'a'))['result']['content'][0]['text'] == 'Echo: grüße 🚀'


async def no_compression():
    async with connect(compression='deflate') as ws:
        await initialize(ws)


async def fragments():
    async with connect() as ws:
        await initialize(ws)
        text = request(2, 'tools/call', name='everything__echo', arguments={'message': 'é' * 5000})
        await ws.send([text[at:at + 100] for at in range(0, len(text), 100)])
        assert (await answer(ws, 2))['result']['content'][0]['text'] == 'Echo: ' + 'é' * 5000


async def pings():
    async with connect() as ws:
        await initialize(ws)
        for number in range(20):
            await asyncio.wait_for(await ws.ping(str(number)), PATIENCE)


async def binary():
    async with connect() as ws:
        await ws.send(b'{}')
        assert await closed_with(ws) == 1003, ws.close_code


async def too_big():
    async with connect() as ws:
        await ws.send(request(1, 'x', y='x' * (5 << 20)))
        assert await closed_with(ws) == 1009, ws.close_code


async def fragments_too_big():
    async with connect() as ws:
        try:
            await ws.send(['x' * 100000 for _ in range(60)])
        except ConnectionClosed:
            pass
        assert await closed_with(ws) == 1009, ws.close_code


async def own_code():
    ws = await connect()
    await initialize(ws)
    await ws.close(code=4001, reason='mine')
    assert ws.close_code == 4001, ws.close_code


async def main():
    failed = 0
    for check in [talks, no_compression, fragments, pings, binary, too_big, fragments_too_big, own_code]:
        try:
            await check()
            print(f'{check.__name__}: ok')
        except Exception as error:  # whatever it is, it is the result of this check
            failed += 1
            print(f'{check.__name__}: FAIL {error!r}')
    sys.exit(1 if failed else 0)


asyncio.run(main())
