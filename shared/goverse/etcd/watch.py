"""A watch as it runs: over streams that break, members that freeze, and history that is gone.

One stream per watch. A member that is silent is asked for a sign of life, and another one takes its place when none
comes. Nothing is queued here: whoever reads slowly is waited for by etcd.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final

import grpc

from goverse import limits
from goverse.errors import CoordinatorError, Unavailable
from goverse.etcd.client import Client
from goverse.etcd.connections import Connection, Stream
from goverse.etcd.cursor import WatchStep, WatchCursor
from goverse.etcd.failures import COMPACTED, FUTURE, Failure, Meaning
from goverse.etcd.methods import RANGE, WATCH
from goverse.etcd.ranges import Range
from goverse.etcd.v3 import etcd_pb2 as messages
from goverse.ports.coordinator import Changed, Reloaded, Snapshot
from goverse.wire.backoff import Backoff

DENIALS_MAX: Final = 3
"""Refusals in a row, each with a fresh token, that mean it."""

ASK: Final = messages.WatchRequest(progress_request=messages.WatchProgressRequest())

WatchStream = Stream[messages.WatchRequest, messages.WatchResponse]
ReadAsOf = Callable[[int], Awaitable[tuple[Snapshot, int]]]
"""Reads the watched keys as of a revision (0: the newest), values only of the newest; returns the cluster's id, too."""

logger = logging.getLogger("goverse.etcd")


class Watch:
    """One watch."""

    def __init__(self, client: Client, keys: Range, cursor: WatchCursor, read: ReadAsOf) -> None:
        """Follow ``keys`` from where ``cursor`` is; ``read`` gives them as of a revision."""
        self._client = client
        self._keys = keys
        self._cursor = cursor
        self._read = read
        self._token = ""
        self._opened = False
        self._replaced = False  # once seen it stays, until the reload that tells it: new writes may hide it by then
        self._denials = 0
        self._backoff = Backoff(limits.ETCD_BACKOFF_S, limits.ETCD_BACKOFF_S_MAX, client.random)

    async def changes(self) -> AsyncGenerator[Changed | Reloaded]:
        """Yield changes until the client is closed.

        Raises:
            CoordinatorError: etcd refuses the watch.
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
        """Yield what comes over one stream, until it breaks.

        Raises:
            Unavailable: something else was needed of etcd, and could not be had.
            CoordinatorError: etcd refuses.
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
            raise Failure(grpc.StatusCode.DEADLINE_EXCEEDED, "the member takes nothing") from error

    async def _receive(self, stream: WatchStream) -> messages.WatchResponse:
        """Return the next answer.

        Raises:
            Failure: the stream broke, or its member is silent although it was asked.
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
                    raise Failure(grpc.StatusCode.DEADLINE_EXCEEDED, "the member gives no sign of life")
                await self._send(stream, ASK)
        finally:
            if not reading.done():
                reading.cancel()
                await asyncio.wait([reading])

    async def _compare(self) -> WatchStep:
        """Compare the history that a watch finds when it is opened again with the one that it followed."""
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
        """Tell whether the cluster as a whole knows less than was seen, not this one member."""
        request = messages.RangeRequest(key=self._keys.first, range_end=self._keys.end, limit=1)
        return (await self._client.call(RANGE, request)).header.revision < self._cursor.after

    async def _reload(self) -> Reloaded:
        snapshot, cluster_id = await self._read(0)
        new_history = self._replaced or not self._cursor.continues(snapshot, cluster_id)
        self._replaced = False
        logger.warning(
            "etcd was emptied, replaced or restored; all keys were read"
            if new_history
            else "etcd compacted changes that were not seen; all keys were read",
            extra={"revision": snapshot.revision, "seen": self._cursor.after},
        )
        self._cursor.reloaded(snapshot, cluster_id)
        return Reloaded(snapshot, new_history)

    # --- what went wrong ----------------------------------------------------------------------------------------------

    def _warn(self, error: Unavailable) -> None:
        if not self._client.connections.closed:
            logger.warning("a watch waits for etcd", extra={"reason": error.detail})

    def _raise_unless_retryable(self, connection: Connection, failure: Failure) -> None:
        """Return where the watch may be opened again.

        Raises:
            CoordinatorError: it will never be.
        """
        if self._client.connections.closed:
            return
        if failure.meaning is Meaning.NEW_TOKEN:
            self._cursor.reason = failure.words
            self._denied()
        elif failure.meaning is Meaning.REFUSED:
            raise CoordinatorError(f"etcd refuses the watch: {failure}", words=failure.words) from failure
        logger.info("a watch goes on elsewhere", extra={"member": str(connection.endpoint), "reason": str(failure)})

    def _denied(self) -> None:
        """Try another token.

        Raises:
            CoordinatorError: that is of no use.
        """
        self._denials += 1
        self._client.forget(self._token)
        if not self._token or self._denials >= DENIALS_MAX:
            raise CoordinatorError(f"etcd refuses the watch: {self._cursor.reason}", words=self._cursor.reason)
