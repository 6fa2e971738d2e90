"""The answering side of one running stream: reads requests, passes them to the link, writes replies.

One task reads and one task writes. A request needs no task, timer or future of its own: the link delivers the reply to
a ``PendingReply``, and all replies that are ready when the writer runs leave in one message.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import Future
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

import grpc

from goverse.errors import AccessDenied, GoverseError, PeerError, Unavailable
from goverse.limits import REQUEST_ID_BYTES_MAX
from goverse.model.frames import Problem, Reply, Request
from goverse.ports.link import Carrier, Readiness
from goverse.wire import codec
from goverse.wire.handshake import CANCEL, LIST, READINESS, Agreement, Hello
from goverse.wire.incoming import Incoming, Occupancy
from goverse.wire.liveness import Liveness, Verdict
from goverse.wire.options import WireOptions
from goverse.wire.peer_role import PeerRole
from goverse.wire.portions import divide
from goverse.wire.problems import write_problem
from goverse.wire.stats import WireStats
from goverse.wire.v1 import wire_pb2 as messages
from goverse.wire.wake import Wake

LISTINGS_MAX: Final = 64
"""Limit of concurrent listings of one peer."""

logger = logging.getLogger("goverse.wire")

Context = grpc.aio.ServicerContext[bytes, bytes]


class PendingReply:
    """The waiter of one request from a peer (``goverse.ports.link.Waiter``)."""

    __slots__ = ("_number", "_peer")

    def __init__(self, peer: Peer, number: int) -> None:
        """Wait for the reply to request ``number``, which ``incoming`` holds."""
        self._peer = peer
        self._number = number

    def done(self) -> bool:
        """True once the peer was answered or cancelled the request."""
        return not self._peer.incoming.holds(self._number)

    def set_result(self, reply: Reply, /) -> None:
        self._peer.answer(self._number, reply)


class Peer:
    """One stream of one peer, after the handshake."""

    def __init__(
        self,
        hello: Hello,
        agreement: Agreement,
        *,
        link: Carrier,
        options: WireOptions,
        occupancy: Occupancy,
        stats: WireStats,
        role: PeerRole = PeerRole.NODE,
    ) -> None:
        """Serve ``link`` to the peer; nothing is read or written before ``run``."""
        self.hello = hello
        self.incoming = Incoming(options, occupancy)
        self._agreement = agreement
        self._link = link
        self._options, self._stats = options, stats
        self._loop = asyncio.get_running_loop()
        self._reader = codec.RequestReader(options.call_timeout_s_max, role=role)
        self._warned = False
        now = self._loop.time()
        self._liveness = Liveness(now, keepalive_s=options.keepalive_s, silence_s_max=options.silence_s_max)
        self._extra: messages.Envelope | None = None
        self._wake = Wake()
        self._room = Wake()
        self._writing_since: float | None = None
        self._reported: Readiness | None = None
        self._listings: dict[asyncio.Task[None], None] = {}
        self._pings = 0
        self._goaway_ping = 0
        self._ended: Future[str | None] = self._loop.create_future()

    # --- life ---------------------------------------------------------------------------------------------------------

    async def run(self, context: Context, first: messages.Envelope) -> None:
        """Serve until the peer closes the stream, violates the protocol, or ``end`` is called.

        Raises:
            PeerError: the peer violated the protocol.
        """
        self._extra = first
        self.report_readiness(self._link.readiness())
        write = cast("Callable[[bytes], Awaitable[None]]", context.write)
        tasks = [
            self._loop.create_task(self._read(context), name="goverse-wire-read"),
            self._loop.create_task(self._write(write), name="goverse-wire-write"),
        ]
        try:
            events: list[Future[Any]] = [*tasks, self._ended]
            await asyncio.wait(events, return_when=asyncio.FIRST_COMPLETED)
            logger.info("stream ended", extra={"peer": str(self.hello), "reason": self._end_reason(tasks)})
        finally:
            self._ended.cancel()
            for task in (*tasks, *self._listings):
                task.cancel()
            self.incoming.release_all()
            await asyncio.gather(*tasks, *self._listings, return_exceptions=True)

    def end(self, reason: str | None = None) -> None:
        """End the stream, normally or with a reason."""
        if not self._ended.done():
            self._ended.set_result(reason)

    def _end_reason(self, tasks: list[asyncio.Task[None]]) -> str:
        """Return the reason for the end of the stream.

        Raises:
            PeerError: the peer violated the protocol.
        """
        if self._ended.done():
            return self._ended.result() or "closed by this process"
        for task in tasks:
            error = task.exception() if task.done() and not task.cancelled() else None
            if isinstance(error, PeerError):
                raise error
            if error is not None and not isinstance(error, grpc.RpcError | asyncio.InvalidStateError):
                raise error
        return "closed by the peer"

    def go_away(self, reason: str) -> None:
        """Ask the peer to send no more work. Everything that it sent before it reads this precedes its pong."""
        envelope = self._envelope()
        envelope.goaway.reason = reason
        self._pings += 1
        envelope.ping = self._goaway_ping = self._pings

    @property
    def owes(self) -> bool:
        """True while the peer waits for something, or may have sent something that was not read yet."""
        unwritten = self._extra is not None or self._writing_since is not None
        return bool(self.incoming.owes or self._listings or unwritten or self._goaway_ping)

    def tick(self, now: float, readiness: Readiness) -> None:
        """Check silence, stalls and readiness; called every ``tick_s``."""
        self.report_readiness(readiness)
        stalled_s = 0.0 if self._writing_since is None else now - self._writing_since
        if stalled_s >= self._options.write_stall_timeout_s:
            self.end(f"the peer read nothing for {stalled_s:.0f} s")
        if self._room.is_waited_for:  # reading is paused, so silence proves nothing; a stall ends the stream instead
            self._liveness.received(now)
        verdict = self._liveness.check(now)
        if verdict is Verdict.PING:
            self._pings += 1
            self._envelope().ping = self._pings
        elif verdict is Verdict.GIVE_UP:
            self.end("the peer does not respond to pings")

    def report_readiness(self, readiness: Readiness) -> None:
        """Report the readiness to the peer if it changed."""
        if readiness != self._reported and READINESS in self._agreement.features:
            self._reported = readiness
            message = self._envelope().readiness
            message.Clear()
            codec.write_readiness(readiness, message)

    # --- reading ------------------------------------------------------------------------------------------------------

    async def _read(self, context: Context) -> None:
        incoming, read = self.incoming, cast("Callable[[], Awaitable[Any]]", context.read)
        while True:
            data = await read()
            if data is grpc.aio.EOF:
                return
            now = self._loop.time()
            self._liveness.received(now)
            self._stats.message_bytes_in += len(data)
            self._take(codec.parse(data), now)
            if incoming.is_full:
                await self._room_for_replies()

    def _take(self, envelope: messages.Envelope, now: float) -> None:
        self._stats.count_requests(len(envelope.requests))
        for message in envelope.requests:
            number = message.id
            try:
                request = self._reader.read(message, now)
            except GoverseError as error:
                self.incoming.check_number(number)
                if isinstance(error, AccessDenied):
                    self._warn(error)
                self._refuse(number, error, message.request_id[:REQUEST_ID_BYTES_MAX])
                continue
            self._submit(number, request)
        if envelope.cancels:
            self._cancel(envelope.cancels)
        for listing in envelope.list_requests:
            self._list(listing)
        if envelope.ping:
            self._envelope().pong = envelope.ping
        if envelope.pong == self._goaway_ping:
            self._goaway_ping = 0

    def _submit(self, number: int, request: Request) -> None:
        incoming = self.incoming
        refusal = incoming.refusal(number, request)
        if refusal is not None:
            self._refuse(number, refusal, request.request_id)
            return
        incoming.hold(number, len(request.body))
        self._link.carry(request, PendingReply(self, number))

    def _warn(self, error: AccessDenied) -> None:
        """Log the first request of this peer that only a node may send: a wrong certificate, or an attack."""
        if not self._warned:
            self._warned = True
            logger.warning("request refused", extra={"peer": str(self.hello), "reason": error.detail})

    def _cancel(self, numbers: Any) -> None:
        if CANCEL not in self._agreement.features:
            raise PeerError("the peer cancels requests without the cancel feature")
        for number in numbers:
            self.incoming.release(number)

    async def _room_for_replies(self) -> None:
        while self.incoming.is_full:
            await self._room.wait()

    # --- answering ----------------------------------------------------------------------------------------------------

    def answer(self, number: int, reply: Reply) -> None:
        """Queue the reply to a request, unless the peer no longer waits for it."""
        if not self.incoming.release(number):
            return
        self.incoming.answer(number, reply)
        if self._wake.is_waited_for:
            self._wake.ring()
        elif self.incoming.overflows:
            self.end("the peer does not read its replies")

    def _refuse(self, number: int, error: GoverseError, request_id: str) -> None:
        self.incoming.answer(number, Reply(problem=Problem.of(error, request_id)))
        self._wake.ring()

    def _list(self, message: messages.ListRequest) -> None:
        if LIST not in self._agreement.features:
            raise PeerError("the peer lists objects without the list feature")
        if len(self._listings) >= LISTINGS_MAX:
            busy = Unavailable(f"{LISTINGS_MAX} listings are already in progress", retry_after_s=1)
            reply = self._envelope().list_replies.add(id=message.id)
            write_problem(Problem.of(busy), reply.problem)
            return
        task = self._loop.create_task(self._listed(message), name="goverse-wire-list")
        self._listings[task] = None
        task.add_done_callback(self._listings.pop)

    async def _listed(self, message: messages.ListRequest) -> None:
        reply = messages.ListReply(id=message.id)
        try:
            codec.check_listing(message)
            async with asyncio.timeout(self._options.list_timeout_s):
                items = await self._link.list(
                    message.namespace,
                    message.type,
                    prefix=message.prefix,
                    after=message.after if message.HasField("after") else None,
                    limit=message.limit,
                )
            codec.write_items(items, reply)
        except GoverseError as error:
            write_problem(Problem.of(error), reply.problem)
        except Exception as error:
            logger.error("listing failed", exc_info=error)
            write_problem(Problem.of(Unavailable("the listing failed")), reply.problem)
        self._envelope().list_replies.append(reply)

    # --- writing ------------------------------------------------------------------------------------------------------

    def _envelope(self) -> messages.Envelope:
        """Return the envelope for everything but replies that leaves with the next message."""
        if self._extra is None:
            self._extra = messages.Envelope()
        self._wake.ring()
        return self._extra

    async def _write(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        incoming, stats = self.incoming, self._stats
        while True:
            if not incoming.has_replies and self._extra is None:
                self._writing_since = None
                await self._wake.wait()
            self._writing_since = self._loop.time()
            envelope, self._extra = self._extra or messages.Envelope(), None
            codec.write_replies(incoming.take_replies(), envelope)
            stats.count_replies(len(envelope.replies))
            if not incoming.is_full:
                self._room.ring()
            data = envelope.SerializeToString()
            if len(data) > self._options.message_bytes_max:
                for part in divide(envelope, self._options.message_bytes_max).messages:
                    stats.message_bytes_out += len(part)
                    await write(part)
                continue
            stats.message_bytes_out += len(data)
            await write(data)
