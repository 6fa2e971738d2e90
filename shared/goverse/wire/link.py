"""``GrpcLink``: the link to the node at one address.

    CONNECTING ──handshake──▶ CONNECTED ──ended──▶ CONNECTING ──handshake──▶ CONNECTED
         └──────────────────── failed ──▶ BROKEN ◀──── failed ──┘    (from BROKEN: handshake ──▶ CONNECTED)

While CONNECTING, requests wait for the attempt that is under way. While BROKEN, requests are refused immediately so
that a router can park them or send them elsewhere; attempts continue in the background. When a connection ends,
requests that were sent get ``unavailable`` with ``executed: unknown``, all others ``executed: no``
(``goverse.ports.link``).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from asyncio import Future
from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import Final

import grpc

from goverse.cluster.backoff import Backoff
from goverse.errors import Executed, GoverseError, Timeout, Unavailable, known
from goverse.model.frames import Problem, Reply, Request
from goverse.model.records import ObjectSummary
from goverse.ports.link import Readiness, Waiter
from goverse.tls.credentials import LinkSecurity, explained
from goverse.wire.connection import Connection, ConnectionBroken, reason_of
from goverse.wire.handshake import Hello
from goverse.wire.link_state import LinkPhase, LinkState
from goverse.wire.options import WireOptions
from goverse.wire.outgoing import Budget, Outgoing
from goverse.wire.stats import WireStats

_POLL_S: Final = 0.005

logger = logging.getLogger("goverse.wire")


class GrpcLink:
    """A ``goverse.ports.link.Carrier`` over one stream to ``address``."""

    def __init__(
        self,
        address: str,
        hello: Hello,
        *,
        options: WireOptions | None = None,
        security: LinkSecurity | None = None,
        stats: WireStats | None = None,
        budget: Budget | None = None,
        jitter: Callable[[], float] = random.random,
        name_of: Callable[[str], str] = lambda _: "",
        channel: Callable[..., grpc.aio.Channel] = grpc.aio.insecure_channel,
    ) -> None:
        """Take the node's address and our hello. Without ``security`` the stream is not encrypted.

        ``name_of`` returns the id of the node at an address for log lines, or "". ``channel`` opens a channel that is
        not encrypted; the simulation replaces it.
        """
        self._name_of = name_of
        self._new_channel = channel
        self._stats = stats or WireStats()
        self.address = address
        self._hello = hello
        self._options = options or WireOptions()
        self._security = security
        self._backoff = Backoff(self._options.backoff_s, self._options.backoff_s_max, jitter)
        self._outgoing = Outgoing(
            inflight_max=self._options.inflight_max,
            bytes_max=self._options.requests_bytes_max,
            body_bytes_max=self._options.body_bytes_max,
            budget=budget,
        )
        self._connection: Connection | None = None
        self._watchers: list[Callable[[LinkState], None]] = []
        self._commit_seq = 0
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    # --- life ---------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start to connect; requests may be submitted immediately."""
        self._loop = asyncio.get_running_loop()
        self._create_future: Callable[[], Future[Reply]] = self._loop.create_future
        self._context = copy_context()  # not the context of a request that happens to start the timer
        self.state = LinkState(LinkPhase.CONNECTING, self._loop.time())
        self._stats.under_way[self] = self._outgoing.__len__
        self._task = self._loop.create_task(self._run(), name=f"goverse-wire-link-{self.address}")
        self._tick()

    async def close(self, drain_timeout_s: float = 0.0) -> None:
        """Refuse new requests, wait up to ``drain_timeout_s`` for pending replies, and close the stream."""
        if self._task is None:
            return
        task, self._task = self._task, None
        self._outgoing.draining = "the link is being closed"  # requests that were accepted are still sent
        end = self._loop.time() + drain_timeout_s
        while len(self._outgoing) and self._loop.time() < end:  # noqa: ASYNC110  # only while stopping
            await asyncio.sleep(_POLL_S)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        if self._timer is not None:
            self._timer.cancel()
        self._stats.under_way.pop(self, None)
        self._enter(LinkPhase.CLOSED, "the link was closed")
        self._fail_requests("the link was closed")

    def watch(self, watcher: Callable[[LinkState], None]) -> Callable[[], None]:
        """Call ``watcher`` when the phase, ``draining`` or ``silent`` changes. Returns a function to unsubscribe it."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    # --- Link ---------------------------------------------------------------------------------------------------------

    def carry(self, request: Request, waiter: Waiter) -> None:
        """Send a request; see ``goverse.ports.link.Carrier``."""
        connection = self._connection
        if connection is None and self.state.phase is not LinkPhase.CONNECTING:
            refusal: GoverseError | None = self._unreachable(self.state.reason, Executed.NO)
        else:
            refusal = self._outgoing.add(request, waiter)
        if refusal is not None:
            waiter.set_result(Reply(problem=Problem.of(refusal, request.request_id)))
        elif connection is not None:
            connection.wake_writer()

    def submit(self, request: Request) -> Future[Reply]:
        """Send a request; see ``goverse.ports.link.Link``."""
        future = self._create_future()
        self.carry(request, future)
        return future

    async def list(
        self, namespace: str, type_name: str, *, prefix: str, after: str | None, limit: int
    ) -> Sequence[ObjectSummary]:
        """List objects of the node; see ``goverse.ports.link.Link``.

        Raises:
            Unavailable: the node is unreachable or the connection broke.
            Timeout: the node did not answer in time.
            GoverseError: the node's error.
        """
        try:
            async with asyncio.timeout(self._options.list_timeout_s):
                while self._connection is None and self.state.phase is LinkPhase.CONNECTING:  # noqa: ASYNC110  # seldom
                    await asyncio.sleep(_POLL_S)
                if self._connection is None:
                    raise self._unreachable(self.state.reason, Executed.NO)
                return await self._connection.list(namespace, type_name, prefix=prefix, after=after, limit=limit)
        except TimeoutError:
            raise Timeout(
                f"the node at {self.address} did not list {type_name} in time",
                operation="list",
                object=type_name,
                seconds=self._options.list_timeout_s,
            ) from None

    def readiness(self) -> Readiness:
        """Return the node's last report; not ready without a connection."""
        if self._connection is None:
            reason = f"not connected to the node at {self.address}: {self.state.reason or self.state.phase.value}"
            return Readiness(False, (reason,), self._commit_seq)
        reported, commit_seq = self._connection.readiness, max(self._commit_seq, self._connection.commit_seq)
        if self._outgoing.draining is not None:
            return Readiness(False, (self._outgoing.draining,), commit_seq)
        return reported._replace(commit_seq=commit_seq)

    # --- connecting ---------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            pause_s = self._backoff.next_s()
            if pause_s:  # requests must not wait through a pause
                self._enter_broken(self.state.reason)
            await asyncio.sleep(pause_s)
            reason = await self._attempt()
            if reason is not None:
                self._stats.failed += 1
                self._enter_broken(reason)

    def _name(self) -> str:
        """Return the node's id, from its last hello or from etcd."""
        return self.state.peer.id if self.state.peer is not None else self._name_of(self.address)

    def _enter_broken(self, reason: str) -> None:
        if self.state.phase is not LinkPhase.BROKEN:
            named = {"node": name} if (name := self._name()) else {}
            logger.warning("node unreachable", extra={**named, "address": self.address, "reason": reason})
        self._enter(LinkPhase.BROKEN, reason)
        self._fail_requests(reason)

    async def _attempt(self) -> str | None:
        """Connect and stay connected. Returns the reason if no connection was established."""
        options, channel = self._options, self._open()
        connection = Connection(channel, self._outgoing, options, stats=self._stats, on_goaway=self._received_goaway)
        try:
            async with asyncio.timeout(options.connect_timeout_s):
                await connection.handshake(self._hello)
            await self._run_connection(connection)
        except (grpc.RpcError, asyncio.InvalidStateError) as error:
            reason = reason_of(error)
            if self.state.peer is not None:  # it was connected before, so the TLS settings match
                return reason
            return explained(reason, secure=self._security is not None)
        except TimeoutError:
            return f"no answer within {options.connect_timeout_s:g} s"
        except GoverseError as error:
            return error.detail
        finally:
            connection.close()
            await channel.close()
        return None

    def _open(self) -> grpc.aio.Channel:
        """Return a new channel with the newest certificates."""
        options, security = self._options.channel, self._security
        if security is None:
            return self._new_channel(self.address, options=options)
        return grpc.aio.secure_channel(self.address, security.credentials, options=[*options, *security.channel])

    async def _run_connection(self, connection: Connection) -> None:
        began = self._loop.time()
        self._outgoing.inflight_max = min(self._options.inflight_max, connection.peer.inflight_max)
        self._connection = connection
        self._stats.connections += 1
        self._stats.opened += 1
        self._enter(LinkPhase.CONNECTED, peer=connection.peer)
        reason = "the link was closed"
        try:
            await connection.run()
        except ConnectionBroken as error:
            reason = str(error)
            self._stats.cut += self.state.draining is False
            logger.info("connection ended", extra={"address": self.address, "reason": reason})
        finally:
            self._connection = None
            self._stats.connections -= 1
            self._commit_seq = max(self._commit_seq, connection.commit_seq)
            self._backoff.ended(self._loop.time() - began)
            self._enter(LinkPhase.CONNECTING, reason)
            self._fail_requests(reason)

    def _enter(self, phase: LinkPhase, reason: str = "", peer: Hello | None = None) -> None:
        since = self.state.since if phase is self.state.phase else self._loop.time()
        draining = phase is LinkPhase.CONNECTED and self._outgoing.draining is not None
        self._change(LinkState(phase, since, reason, peer or self.state.peer, draining))

    def _received_goaway(self) -> None:
        self._change(self.state._replace(draining=True))

    def _change(self, state: LinkState) -> None:
        before, self.state = self.state, state
        if (before.phase, before.draining, before.silent) == (state.phase, state.draining, state.silent):
            return  # only the reason changed
        for watcher in tuple(self._watchers):
            try:
                watcher(state)
            except Exception:
                logger.exception("a link watcher failed")

    # --- losing and giving up -----------------------------------------------------------------------------------------

    def _unreachable(self, reason: str, executed: Executed) -> GoverseError:
        fate = "the request was not sent" if executed is Executed.NO else "the request may have been executed"
        return known(Unavailable(f"the connection to the node failed ({reason}); {fate}"), executed)

    def _fail_requests(self, reason: str) -> None:
        for entry, executed in self._outgoing.lose():
            entry.refuse(self._unreachable(reason, executed))

    def _tick(self) -> None:
        """Expire deadlines, send cancels, and check that the peer is alive."""
        self._timer = self._loop.call_later(self._options.tick_s, self._tick, context=self._context)
        now = self._loop.time()
        overdue = self._outgoing.overdue(now)
        for entry, executed in overdue.expired:
            request = entry.request
            operation = request.method or request.operation.name.lower()
            error = Timeout(
                f"{operation} of {request.key} was not answered before its deadline",
                operation=operation,
                object=str(request.key),
            )
            entry.refuse(known(error, executed))
        if self._connection is not None:
            silent = self._connection.tick(now, overdue.cancels)
            if silent != self.state.silent:
                self._change(self.state._replace(silent=silent))
