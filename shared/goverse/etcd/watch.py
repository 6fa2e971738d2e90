"""A running watch: it survives broken streams, frozen members and lost history.

Each watch has one stream. A silent member is pinged, and another member is used if it does not answer. Nothing is
queued here: if the consumer reads slowly, etcd waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final

import grpc

from goverse import limits
from goverse.cluster.backoff import Backoff
from goverse.errors import CoordinatorError, Unavailable
from goverse.etcd.client import Client
from goverse.etcd.connections import Connection, Stream
from goverse.etcd.cursor import WatchCursor, WatchStep
from goverse.etcd.failures import COMPACTED, FUTURE, Failure, Meaning
from goverse.etcd.methods import RANGE, WATCH
from goverse.etcd.ranges import Range
from goverse.etcd.v3 import etcd_pb2 as messages
from goverse.ports.coordinator import Changed, Reloaded, Snapshot

DENIALS_MAX: Final = 3
"""Consecutive refusals, each with a new token, after which the watch fails."""

ASK: Final = messages.WatchRequest(progress_request=messages.WatchProgressRequest())

WatchStream = Stream[messages.WatchRequest, messages.WatchResponse]
ReadAsOf = Callable[[int], Awaitable[tuple[Snapshot, int]]]
"""Reads the watched keys as of a revision without values (0: now, with values); also returns the cluster's id."""

logger = logging.getLogger("goverse.etcd")


class Watch:
    """One watch."""

    def __init__(self, client: Client, keys: Range, cursor: WatchCursor, read: ReadAsOf) -> None:
        """Follow ``keys`` from the position of ``cursor``; ``read`` reads them as of a revision."""
        self._client = client
        self._keys = keys
        self._cursor = cursor
        self._read = read
        self._token = ""
        self._opened = False
        self._replaced = False  # stays True until the reload that reports it: new writes may hide the change by then
        self._denials = 0
        self._backoff = Backoff(limits.ETCD_BACKOFF_S, limits.ETCD_BACKOFF_S_MAX, client.random)

    async def changes(self) -> AsyncGenerator[Changed | Reloaded]:
        """Yield changes until the client is closed.

        Raises:
            CoordinatorError: etcd refused the watch.
        """
        loop = asyncio.get_running_loop()
        while not self._client.connections.closed:
            begun = loop.time()
            try:
                connection = await self._client.connections.usable(begun + self._client.options.operation_timeout_s)
                async with aclosing(self._over(connection)) as stream:
                    async for news in stream:
                        yield news
            except Unavailable as error:
                self._warn(error)
            self._backoff.ended(loop.time() - begun)
            await asyncio.sleep(self._backoff.next_s())

    async def _over(self, connection: Connection) -> AsyncGenerator[Changed | Reloaded]:
        """Yield the changes of one stream until it breaks.

        Raises:
            Unavailable: another request that the watch needed had no answer.
            CoordinatorError: etcd refused.
        """
        deadline = asyncio.get_running_loop().time() + self._client.options.operation_timeout_s
        self._token = await self._client.token(deadline)
        self._cursor.reopened()
        try:
            with connection.open(WATCH, self._client.metadata(self._token)) as stream:
                await self._send(stream, self._request())
                step: Changed | WatchStep = await self._compare()
                while step is WatchStep.WAIT or isinstance(step, Changed):
                    step = self._cursor.take(await self._receive(stream))
                    if step is WatchStep.COMPARE:
                        self._replaced |= await self._is_other_history()
                        step = WatchStep.RELOAD if self._replaced else WatchStep.WAIT
                    elif isinstance(step, Changed):
                        self._denials = 0
                        yield step
        except Failure as failure:
            self._client.connections.blame(connection)
            self._raise_unless_retryable(connection, failure)
            return
        if step is WatchStep.RELOAD:
            yield await self._reload()
        elif step is WatchStep.DENIED:
            self._denied()

    def _request(self) -> messages.WatchRequest:
        return messages.WatchRequest(
            create_request=messages.WatchCreateRequest(
                key=self._keys.first, range_end=self._keys.end, start_revision=self._cursor.after + 1, fragment=True
            )
        )

    async def _send(self, stream: WatchStream, request: messages.WatchRequest) -> None:
        try:
            async with asyncio.timeout(self._client.options.ask_s):
                await stream.send(request)
        except TimeoutError as error:
            raise Failure(grpc.StatusCode.DEADLINE_EXCEEDED, "the member reads nothing") from error

    async def _receive(self, stream: WatchStream) -> messages.WatchResponse:
        """Return the next answer.

        Raises:
            Failure: the stream broke, or the member did not respond to pings.
        """
        options, silent_s = self._client.options, 0.0
        reading = asyncio.ensure_future(stream.receive())
        try:
            while True:
                await asyncio.wait([reading], timeout=options.ask_s)
                if reading.done():
                    return reading.result()
                silent_s += options.ask_s
                if silent_s >= options.silence_s_max:
                    raise Failure(grpc.StatusCode.DEADLINE_EXCEEDED, "the member does not respond to pings")
                await self._send(stream, ASK)
        finally:
            if not reading.done():
                reading.cancel()
                await asyncio.wait([reading])

    async def _compare(self) -> WatchStep:
        """After a reconnect, compare etcd's history with the one that the watch followed."""
        opened, self._opened = self._opened, True
        if not opened:
            return WatchStep.WAIT
        try:
            snapshot, _ = await self._read(self._cursor.after)
        except CoordinatorError as error:
            words = error.extra.get("words")
            if words not in (COMPACTED, FUTURE):
                raise
            self._replaced |= words == FUTURE
            return WatchStep.RELOAD
        self._replaced |= not self._cursor.matches(snapshot)
        return WatchStep.RELOAD if self._replaced else WatchStep.WAIT

    async def _is_other_history(self) -> bool:
        """True if the whole cluster, not only this member, is older than what the watch has seen."""
        request = messages.RangeRequest(key=self._keys.first, range_end=self._keys.end, limit=1)
        return (await self._client.call(RANGE, request)).header.revision < self._cursor.after

    async def _reload(self) -> Reloaded:
        snapshot, cluster_id = await self._read(0)
        new_history = self._replaced or not self._cursor.continues(snapshot, cluster_id)
        self._replaced = False
        logger.warning(
            "etcd was emptied, replaced or restored; all keys were read again"
            if new_history
            else "etcd compacted changes that were not seen; all keys were read again",
            extra={"revision": snapshot.revision, "seen": self._cursor.after},
        )
        self._cursor.reloaded(snapshot, cluster_id)
        return Reloaded(snapshot, new_history)

    # --- what went wrong ----------------------------------------------------------------------------------------------

    def _warn(self, error: Unavailable) -> None:
        if not self._client.connections.closed:
            logger.warning("a watch is waiting for etcd", extra={"reason": error.detail})

    def _raise_unless_retryable(self, connection: Connection, failure: Failure) -> None:
        """Return if the watch may be opened again, otherwise raise.

        Raises:
            CoordinatorError: etcd refused the watch.
        """
        if self._client.connections.closed:
            return
        if failure.meaning is Meaning.NEW_TOKEN:
            self._cursor.reason = failure.words
            self._denied()
        elif failure.meaning is Meaning.REFUSED:
            raise CoordinatorError(f"etcd refused the watch: {failure}", words=failure.words) from failure
        fields = {"member": str(connection.endpoint), "reason": str(failure)}
        logger.info("a watch continues on another member", extra=fields)

    def _denied(self) -> None:
        """Try another token.

        Raises:
            CoordinatorError: several tokens in a row were refused, or authentication is off.
        """
        self._denials += 1
        self._client.forget(self._token)
        if not self._token or self._denials >= DENIALS_MAX:
            raise CoordinatorError(f"etcd refused the watch: {self._cursor.reason}", words=self._cursor.reason)
