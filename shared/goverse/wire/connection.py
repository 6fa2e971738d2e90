"""One connection to one peer, from the handshake to its end. The link opens a new one after a failure.

One task reads and one task writes. All frames queued in one turn of the event loop leave in one message. Frames queued
while a message is being written form the next message.
"""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Callable
from typing import Any, Final, cast

import grpc

from goverse.errors import Executed, GoverseError, PeerError, Unavailable, known
from goverse.model.frames import Problem, Reply
from goverse.model.problems import error_of
from goverse.model.records import ObjectSummary
from goverse.ports.link import Readiness
from goverse.wire import codec
from goverse.wire.handshake import CANCEL, DELIVERIES, LIST, READINESS, Hello, agree
from goverse.wire.liveness import Liveness, Verdict
from goverse.wire.options import WireOptions
from goverse.wire.outgoing import Outgoing
from goverse.wire.portions import divide, unsendable
from goverse.wire.problems import read_problem
from goverse.wire.stats import WireStats
from goverse.wire.v1 import wire_pb2 as messages
from goverse.wire.wake import Wake

METHOD: Final = "/goverse.wire.v1.Link/Connect"

_ENDED_BY_PEER: Final = "Internal error from Core"
"""gRPC's text if a message is written while the peer ends the stream. The peer's own reason is lost then."""


class ConnectionBroken(Exception):
    """The connection ended; the message says why."""


class Connection:
    """A stream to one peer.

    Attributes:
        peer: the peer's hello, set by ``handshake``.
        readiness: the last readiness that the peer reported.
        commit_seq: the highest position that the peer reported, in replies or readiness.
        on_goaway: called when the peer announces that it will close.
    """

    peer: Hello

    def __init__(
        self,
        channel: grpc.aio.Channel,
        outgoing: Outgoing,
        options: WireOptions,
        *,
        stats: WireStats,
        on_goaway: Callable[[], None],
    ) -> None:
        """Send the requests of ``outgoing`` over ``channel``; count them in ``stats``."""
        self._stats = stats
        self._loop = asyncio.get_running_loop()
        self._outgoing = outgoing
        self._options = options
        self._call = cast("Any", channel).stream_stream(METHOD)()
        self._liveness = Liveness(
            self._loop.time(), keepalive_s=options.keepalive_s, silence_s_max=options.silence_s_max
        )
        self._extra: messages.Envelope | None = None
        self._wake = Wake()
        self._writing_since: float | None = None
        self._ended: Future[str] = self._loop.create_future()
        self._features: frozenset[str] = frozenset()
        self._listings: dict[int, Future[list[ObjectSummary]]] = {}
        self._listings_begun = 0
        self._pings = 0
        self._on_goaway = on_goaway
        self.readiness = Readiness(True, (), 0)
        self.commit_seq = 0

    # --- life ---------------------------------------------------------------------------------------------------------

    async def handshake(self, hello: Hello) -> None:
        """Perform the handshake.

        Raises:
            PeerError: the peer's hello is invalid, or no protocol version is shared.
            grpc.RpcError: the connection failed.
        """
        first = messages.Envelope()
        codec.write_hello(hello, first.hello)
        await self._call.write(first.SerializeToString())
        data = await self._call.read()
        if data is grpc.aio.EOF:
            raise PeerError("the peer closed the stream before the handshake")
        envelope = codec.parse(data)
        self.peer = codec.read_hello(envelope)
        self._features = agree(hello, self.peer).features
        if READINESS in self._features:
            self.readiness = Readiness(False, ("the node has not reported its readiness yet",), 0)
        self._liveness.received(self._loop.time())
        self._take(envelope)

    async def run(self) -> None:
        """Carry requests and replies until the connection ends.

        Raises:
            ConnectionBroken: the connection ended, for any reason.
        """
        tasks = [
            self._loop.create_task(self._read(), name="goverse-wire-read"),
            self._loop.create_task(self._write(), name="goverse-wire-write"),
        ]
        try:
            events: list[Future[Any]] = [*tasks, self._ended]
            await asyncio.wait(events, return_when=asyncio.FIRST_COMPLETED)
            if self._ended.done():
                raise ConnectionBroken(self._ended.result())
            for task in tasks:  # the reader's error is checked first: it names the cause more precisely
                if task.done() and not task.cancelled():
                    task.result()
            raise ConnectionBroken("the stream was cancelled")
        except (grpc.RpcError, asyncio.InvalidStateError) as error:
            raise ConnectionBroken(reason_of(error)) from error
        except GoverseError as error:
            raise ConnectionBroken(error.detail) from error
        finally:
            self._ended.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def close(self) -> None:
        self._call.cancel()
        for future in self._listings.values():
            if not future.done():
                future.set_exception(Unavailable("the connection to the node broke"))
        self._listings.clear()

    def tick(self, now: float, cancels: list[int]) -> bool:
        """Send cancels, check for stalls and silence. Returns True while a ping is overdue."""
        if cancels and CANCEL in self._features:
            self._envelope().cancels.extend(cancels)
        stalled_s = 0.0 if self._writing_since is None else now - self._writing_since
        if stalled_s >= self._options.write_stall_timeout_s:
            self._end(f"the peer read nothing for {stalled_s:.0f} s")
        verdict = self._liveness.check(now)
        if verdict is Verdict.PING:
            self._pings += 1
            self._envelope().ping = self._pings
        elif verdict is Verdict.GIVE_UP:
            self._end("the peer does not respond to pings")
        return self._liveness.silent(now)

    def _end(self, reason: str) -> None:
        if not self._ended.done():
            self._ended.set_result(reason)

    # --- listing ------------------------------------------------------------------------------------------------------

    async def list(
        self, namespace: str, type_name: str, *, prefix: str, after: str | None, limit: int
    ) -> list[ObjectSummary]:
        """List objects.

        Raises:
            GoverseError: the peer's error; ``Unavailable`` if it does not support listings.
        """
        if LIST not in self._features:
            raise Unavailable(f"{self.peer} does not support listings")
        self._listings_begun += 1
        number = self._listings_begun
        future: Future[list[ObjectSummary]] = self._loop.create_future()
        self._listings[number] = future
        try:
            message = codec.write_listing(number, (namespace, type_name), prefix=prefix, after=after, limit=limit)
            self._envelope().list_requests.append(message)
            return await future
        finally:
            self._listings.pop(number, None)

    # --- reading ------------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        read = self._call.read
        while True:
            data = await read()
            if data is grpc.aio.EOF:
                code = await self._call.code()
                said = await self._call.details() or ("closed" if code is grpc.StatusCode.OK else code.name)
                raise ConnectionBroken(f"the peer ended the stream: {said}")
            self._liveness.received(self._loop.time())
            self._stats.message_bytes_in += len(data)
            envelope = codec.parse(data)
            self._stats.count_replies(len(envelope.replies))
            self._take(envelope)

    def _take(self, envelope: messages.Envelope) -> None:
        answered, read_reply, commit_seq = self._outgoing.answered, codec.read_reply, self.commit_seq
        for message in envelope.replies:
            try:
                reply = read_reply(message)
            except PeerError as error:  # one invalid problem must not fail all other calls
                reply = Reply(problem=Problem.of(known(error, Executed.UNKNOWN)))
            commit_seq = max(commit_seq, reply.commit_seq)
            entry = answered(message.id)
            if entry is not None and not entry.waiter.done():
                entry.waiter.set_result(reply)
        self.commit_seq = commit_seq
        for listing in envelope.list_replies:
            self._listed(listing)
        if envelope.ping:
            self._envelope().pong = envelope.ping
        if envelope.HasField("readiness"):
            self.readiness = codec.read_readiness(envelope.readiness)
            self.commit_seq = max(self.commit_seq, self.readiness.commit_seq)
        if envelope.HasField("goaway"):
            self._outgoing.drain(envelope.goaway.reason or "the node is shutting down")
            self._on_goaway()

    def _listed(self, message: messages.ListReply) -> None:
        future = self._listings.get(message.id)
        if future is None or future.done():
            return
        if message.HasField("problem"):
            future.set_exception(_refusal(message.problem))
        else:
            future.set_result(codec.read_items(message))

    # --- writing ------------------------------------------------------------------------------------------------------

    def wake_writer(self) -> None:
        """Wake the writing task."""
        self._wake.ring()

    def _envelope(self) -> messages.Envelope:
        """Return the envelope for everything but requests that leaves with the next message."""
        if self._extra is None:
            self._extra = messages.Envelope()
        self.wake_writer()
        return self._extra

    async def _write(self) -> None:
        outgoing, call, target, stats = self._outgoing, self._call, self._options.message_bytes, self._stats
        takes_deliveries = DELIVERIES in self._features
        while True:
            if not outgoing.unsent and self._extra is None:
                self._writing_since = None
                await self._wake.wait()
            now = self._loop.time()
            envelope, self._extra = self._extra or messages.Envelope(), None
            frames = outgoing.take(target)
            for number, error in codec.write_requests(frames, now, envelope, takes_deliveries=takes_deliveries):
                entry = outgoing.answered(number)
                if entry is not None:
                    entry.refuse(error)
            self._writing_since = now
            stats.count_requests(len(envelope.requests))
            data = envelope.SerializeToString()
            if len(data) > self._options.message_bytes_max:
                await self._write_portions(envelope)
                continue
            stats.message_bytes_out += len(data)
            await call.write(data)

    async def _write_portions(self, envelope: messages.Envelope) -> None:
        """Split an envelope that is too large for one message; refuse frames that fit into no message."""
        bytes_max = self._options.message_bytes_max
        portions = divide(envelope, bytes_max)
        for number in portions.requests:
            entry = self._outgoing.answered(number)
            if entry is not None:
                entry.refuse(unsendable(bytes_max))
        for number in portions.listings:
            listing = self._listings.get(number)
            if listing is not None and not listing.done():
                listing.set_exception(unsendable(bytes_max))
        for part in portions.messages:
            self._stats.message_bytes_out += len(part)
            await self._call.write(part)


def _refusal(message: messages.Problem) -> GoverseError:
    try:
        return error_of(read_problem(message))
    except PeerError as error:
        return error


def reason_of(error: BaseException) -> str:
    """Return a readable reason for a broken stream."""
    if isinstance(error, grpc.aio.AioRpcError):
        details = error.details()
        if details == _ENDED_BY_PEER:
            return "the node ended the stream without a reason"
        return details or error.code().name
    return str(error) or type(error).__name__
