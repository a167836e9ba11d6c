"""A TCP proxy that a test can cut, stall, slow down and delay.

    with TcpProxy(7070) as proxy:         # listens on 127.0.0.1:{proxy.port}
        proxy.slow(20_000)                # bytes a second, all connections of a direction together
        proxy.delay(0.2)                  # seconds, each way
        proxy.stall()                     # connections stay open, nothing comes through: a lost route
        proxy.cut()                       # connections are reset, new ones too: a dead host
        proxy.heal()

What is said holds at once for the connections that there are and for new ones. All connections run on one thread of the
proxy's own; every method may be called from any thread.
"""
import asyncio
import socket
import struct
import threading

CHUNK = 16 * 1024
ON_THE_WAY = 64  # chunks that a direction of a connection holds; the sender waits beyond that


class _Direction:
    """The line one way, which all connections share: who sends next, and when it is free again."""

    def __init__(self):
        self.free_at = 0.0
        self.bytes = 0

    async def pass_through(self, size, rate):
        now = asyncio.get_running_loop().time()
        self.bytes += size
        if rate is not None:
            self.free_at = max(now, self.free_at) + size / rate
            await asyncio.sleep(self.free_at - now)


class TcpProxy:
    def __init__(self, target_port, host="127.0.0.1"):
        self._target = (host, target_port)
        self._cut = False
        self._rate = None
        self._delay = 0.0
        self._writers = set()
        self._up, self._down = _Direction(), _Direction()
        self.connections = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="tcp proxy", daemon=True)
        self._thread.start()
        self.port = self._call(self._listen())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def bytes(self):
        """(towards the server, back): what came through so far."""
        return self._up.bytes, self._down.bytes

    def slow(self, bytes_per_second):
        self._call(self._set(rate=bytes_per_second))

    def delay(self, seconds):
        self._call(self._set(delay=seconds))

    def stall(self):
        self._call(self._set(stalled=True))

    def cut(self):
        self._call(self._set(cut=True))

    def heal(self):
        self._call(self._set())

    def close(self):
        if self._thread.is_alive():
            self._call(self._end())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _run(self):
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _listen(self):
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=CHUNK)
        return self._server.sockets[0].getsockname()[1]

    async def _end(self):
        self._server.close()
        await self._set(cut=True)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _set(self, cut=False, stalled=False, rate=None, delay=0.0):
        self._cut, self._rate, self._delay = cut, rate, delay
        if stalled:
            self._flowing.clear()
        else:
            self._flowing.set()
        if cut:
            for writer in list(self._writers):
                _reset(writer)

    async def _connected(self, reader, writer):
        self.connections += 1
        self._writers.add(writer)
        far_writer = None
        try:
            if self._cut:
                raise ConnectionError
            await self._flowing.wait()
            far_reader, far_writer = await asyncio.open_connection(*self._target, limit=CHUNK)
            self._writers.add(far_writer)
            async with asyncio.TaskGroup() as both_ways:  # one fails: all end
                for source, sink, direction in ((reader, far_writer, self._up), (far_reader, writer, self._down)):
                    on_the_way = asyncio.Queue(ON_THE_WAY)
                    both_ways.create_task(self._receive(source, on_the_way))
                    both_ways.create_task(self._send(on_the_way, sink, direction))
        except* OSError:
            pass  # one side is gone: so is the other
        finally:
            for end in (writer, far_writer):
                if end is not None:
                    self._writers.discard(end)
                    _reset(end)

    async def _receive(self, reader, on_the_way):
        """What is read waits its delay in a queue, so that a delay is no limit of speed."""
        data = b"first"
        while data:
            data = await reader.read(CHUNK)
            await on_the_way.put((self._loop.time() + self._delay, data))

    async def _send(self, on_the_way, writer, direction):
        data = b"first"
        while data:
            due, data = await on_the_way.get()
            await asyncio.sleep(max(0.0, due - self._loop.time()))
            await self._flowing.wait()
            await direction.pass_through(len(data), self._rate)
            if data:
                writer.write(data)
                await writer.drain()
        writer.write_eof()


def _reset(writer):
    """Ends a connection as a dead host does: with a reset, whatever was on the way."""
    raw = writer.get_extra_info("socket")
    if raw is not None and raw.fileno() >= 0:
        try:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass
    writer.transport.abort()
