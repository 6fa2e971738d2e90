"""gRPC streams between simulated processes: the transport below ``goverse.wire``, which runs unchanged on top.

``Network.channel`` stands in for ``grpc.aio.insecure_channel`` and ``Network.server`` for ``grpc.aio.server``; they
have the methods that a link and a link server use. A stream is a pair of pipes. Like TCP, a pipe delivers bytes in
order or not at all: a cut holds them up, and a broken stream ends both sides, each at its own time. Different streams
overtake each other.
"""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn, cast

import grpc

from goverse.wire.connection import METHOD
from goverse.wire.server import SERVICE
from tests.simulation.loop import NOWHERE, Process
from tests.simulation.messages import describe
from tests.simulation.world import World

RESEND_S = 0.2
WINDOW_BYTES = 256 * 1024  # bytes that may be unread before the writer waits


class End(NamedTuple):
    """The end of a pipe: the status of the stream."""

    code: grpc.StatusCode
    details: str


class Finished(Exception):
    """The handler of a stream ended it with ``context.abort``."""


def broken(details: str) -> End:
    """Return the end of a stream whose connection broke."""
    return End(grpc.StatusCode.UNAVAILABLE, details)


class Pipe:
    """One direction of a stream.

    Attributes:
        end: the status with which the pipe ended at its reader, or None.
    """

    def __init__(self, world: World, source: str, target: str, ended: Callable[[], None]) -> None:
        """Carry bytes from ``source`` to ``target``; ``ended`` is called when the end arrives."""
        self.end: End | None = None
        self._world, self._source, self._target = world, source, target
        self._names = f"{source} → {target}"
        self._ended = ended
        self._way: deque[bytes | End] = deque()
        self._last_at = 0.0
        self._inbox: deque[bytes] = deque()
        self._unread = 0
        self._reader: Future[None] | None = None
        self._writer: Future[None] | None = None

    def send(self, item: bytes | End) -> None:
        """Send bytes, or the end."""
        world = self._world
        self._way.append(item)
        self._unread += len(item) if isinstance(item, bytes) else 0
        self._last_at = max(self._last_at, world.now + world.delay_s(self._source, self._target))
        world.loop.call_at(self._last_at, self._arrive, context=NOWHERE)

    async def write(self, data: bytes) -> None:
        """Send bytes, and wait while the reader is far behind."""
        self.send(data)
        while self._unread > WINDOW_BYTES and self.end is None:
            self._writer = self._world.loop.create_future()
            await self._writer

    async def read(self) -> bytes | None:
        """Return the next bytes, or None at the end."""
        while not self._inbox:
            if self.end is not None:
                return None
            self._reader = self._world.loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        data = self._inbox.popleft()
        self._unread -= len(data)
        _ring(self._writer)
        return data

    def reset(self, end: End) -> None:
        """Break the pipe: its reader notices after a while, and nothing that is under way arrives any more."""
        delay_s = self._world.delay_s(self._source, self._target)
        self._world.loop.call_later(delay_s, self._break, end, context=NOWHERE)

    def _break(self, end: End) -> None:
        if self.end is not None:
            return
        if not self._world.reaches(self._source, self._target):
            self._world.loop.call_later(RESEND_S, self._break, end, context=NOWHERE)
            return
        self._world.note(self._names, f"broken stream: {end.details}")
        self.drop(end)

    def drop(self, end: End) -> None:
        """End the pipe now."""
        if self.end is None:
            self._way.clear()
            self._inbox.clear()
            self._close(end)

    def _close(self, end: End) -> None:
        self.end = end
        _ring(self._reader)
        _ring(self._writer)
        self._ended()

    def _arrive(self) -> None:
        if not self._way or self.end is not None:
            return
        if not self._world.reaches(self._source, self._target):
            self._world.loop.call_later(RESEND_S, self._arrive, context=NOWHERE)
            return
        item = self._way.popleft()
        if isinstance(item, End):
            self._world.note(self._names, f"end of stream: {item.details or item.code.name}")
            self._close(item)
            return
        self._world.note(self._names, lambda: describe(item), item)
        self._inbox.append(item)
        _ring(self._reader)


def _ring(waiting: Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)


class Stream:
    """A stream from a client to a server."""

    def __init__(self, network: Network, client: Process, address: str) -> None:
        self.client = client
        self.server: Process | None = None
        self.handler: asyncio.Task[None] | None = None
        self._network, self._world, self._address = network, network.world, address
        self.up = Pipe(self._world, client.name, address, self._reset_handler)
        self.down = Pipe(self._world, address, client.name, lambda: None)
        self._connect()

    def _connect(self) -> None:
        world = self._world
        delay_s = world.delay_s(self.client.name, self._address)
        world.loop.call_later(delay_s, self._knock, context=NOWHERE)

    def _knock(self) -> None:
        """Reach the server's host, which accepts or refuses the connection."""
        world, name, address = self._world, self.client.name, self._address
        if self.down.end is not None:
            return
        if not world.reaches(name, address) or not world.reaches(address, name):
            world.loop.call_later(RESEND_S, self._knock, context=NOWHERE)
            return
        server = self._network.servers.get(address)
        if server is None or server.process.crashed:
            if server is None or not server.process.host_down:
                self.down.send(broken("connection refused"))
            return
        self.server = server.process
        server.accept(self)

    def ends_at(self, process: Process) -> bool:
        """True if the process is one of the two ends and the stream is open."""
        return process in (self.client, self.server) and not (self.up.end and self.down.end)

    def reset(self, reason: str, *, by: Process | None = None) -> None:
        """Break the stream. Both sides notice, except the process ``by`` that is gone."""
        if by is not self.client:
            self.down.reset(broken(reason))
        if self.server is not None and by is not self.server:
            self.up.reset(broken(reason))

    def cancel(self) -> None:
        """Give up the stream on the client's side."""
        self.down.drop(End(grpc.StatusCode.CANCELLED, "cancelled"))
        if self.server is None:
            self._network.forget(self)
        elif self.up.end is None:
            self.up.send(End(grpc.StatusCode.CANCELLED, "cancelled by the client"))

    def _reset_handler(self) -> None:
        """Cancel the handler, as gRPC does when the peer cancels or the connection breaks."""
        if self.handler is not None and self.server is not None:
            self.server.call(self.handler.cancel)


class Call:
    """The client's side of a stream, with the methods of ``grpc.aio.StreamStreamCall``."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    async def write(self, data: bytes) -> None:
        if self._stream.down.end is not None:
            raise asyncio.InvalidStateError("the stream has ended")
        await self._stream.up.write(data)

    async def read(self) -> Any:
        pipe = self._stream.down
        data = await pipe.read()
        if data is not None:
            return data
        assert pipe.end is not None
        if pipe.end.code is not grpc.StatusCode.OK:
            none = grpc.aio.Metadata()
            raise grpc.aio.AioRpcError(pipe.end.code, none, none, pipe.end.details)
        return grpc.aio.EOF

    async def code(self) -> grpc.StatusCode:
        assert self._stream.down.end is not None
        return self._stream.down.end.code

    async def details(self) -> str:
        assert self._stream.down.end is not None
        return self._stream.down.end.details

    def cancel(self) -> None:
        self._stream.cancel()


class Context:
    """The server's side of a stream, with the methods of ``grpc.aio.ServicerContext``."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def peer(self) -> str:
        return self._stream.client.name

    async def read(self) -> Any:
        data = await self._stream.up.read()
        return grpc.aio.EOF if data is None else data

    async def write(self, data: bytes) -> None:
        if self._stream.up.end is not None:
            raise asyncio.InvalidStateError("the stream has ended")
        await self._stream.down.write(data)

    async def send_initial_metadata(self, _metadata: object) -> None:
        """Send nothing: the simulation has no metadata."""

    async def abort(self, code: grpc.StatusCode, details: str = "") -> NoReturn:
        self._stream.down.send(End(code, details))
        raise Finished


class Channel:
    """A ``grpc.aio.Channel`` to one address."""

    def __init__(self, network: Network, client: Process, address: str) -> None:
        self._network, self._client, self._address = network, client, address

    def stream_stream(self, method: str) -> Callable[[], Call]:
        assert method == METHOD
        return lambda: Call(self._network.open(self._client, self._address))

    async def close(self) -> None:
        """Do nothing: the connection has cancelled its stream already."""


class Server:
    """A ``grpc.aio.Server``."""

    def __init__(self, network: Network, process: Process) -> None:
        self.process = process
        self._network = network
        self._handlers: list[Any] = []
        self._address = ""
        self._streams: dict[Stream, None] = {}

    def add_generic_rpc_handlers(self, handlers: tuple[Any, ...]) -> None:
        self._handlers.extend(handlers)

    def add_registered_method_handlers(self, _service: str, _handlers: object) -> None:
        """Ignore the health service: no simulated process asks for it."""

    def add_insecure_port(self, address: str) -> int:
        self._address = address
        return 1

    async def start(self) -> None:
        self._network.servers[self._address] = self

    async def stop(self, grace_s: float | None) -> None:
        if self._network.servers.get(self._address) is self:
            del self._network.servers[self._address]
        if handlers := [stream.handler for stream in self._streams if stream.handler is not None]:
            await asyncio.wait(handlers, timeout=grace_s)
            for handler in handlers:
                handler.cancel()
            await asyncio.wait(handlers)

    def accept(self, stream: Stream) -> None:
        """Serve a stream in a task of the process."""
        self._streams[stream] = None
        stream.handler = self.process.spawn(self._serve(stream))

    async def _serve(self, stream: Stream) -> None:
        end = End(grpc.StatusCode.OK, "")
        try:
            await self._method()(None, Context(stream))
        except Finished:
            return  # `abort` has sent the status
        except asyncio.CancelledError:
            end = broken("the server cancelled the stream")
        finally:
            self._streams.pop(stream, None)
            self._network.forget(stream)
        stream.down.send(end)

    def _method(self) -> Callable[[object, Context], Any]:
        class Details(NamedTuple):
            method: str
            invocation_metadata: tuple[()] = ()

        for handler in self._handlers:
            found = handler.service(Details(f"/{SERVICE}/Connect"))
            if found is not None:
                return cast("Callable[[object, Context], Any]", found.stream_stream)
        raise AssertionError("the server has no handler for the wire's stream")


class Network:
    """All servers and streams.

    Attributes:
        servers: the listening servers, by address.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.servers: dict[str, Server] = {}
        self._streams: dict[Stream, None] = {}

    def channel(self, process: Process) -> Callable[..., grpc.aio.Channel]:
        """Return the process's stand-in for ``grpc.aio.insecure_channel``."""
        return lambda address, options=None: cast("grpc.aio.Channel", Channel(self, process, address))

    def server(self, process: Process) -> Callable[..., grpc.aio.Server]:
        """Return the process's stand-in for ``grpc.aio.server``."""
        return lambda options=None: cast("grpc.aio.Server", Server(self, process))

    def open(self, client: Process, address: str) -> Stream:
        """Open a stream."""
        stream = Stream(self, client, address)
        self._streams[stream] = None
        return stream

    def forget(self, stream: Stream) -> None:
        """Forget a stream that has ended."""
        self._streams.pop(stream, None)

    def crashed(self, process: Process) -> None:
        """Tell the peers of a process that was killed. If its machine went down too, call this when it is up again."""
        for stream in self.streams(process):
            stream.reset("connection reset by peer", by=process)

    def streams(self, process: Process) -> list[Stream]:
        """Return the open streams of a process."""
        return [stream for stream in self._streams if stream.ends_at(process)]
