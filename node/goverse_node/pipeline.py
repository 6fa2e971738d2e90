"""Group commit: records of many objects and many turns become durable together.

One batch is under way at a time; what arrives meanwhile is the next one, so the batch size follows the load and a lone
call never waits for others. Answers leave through ``PendingCommit.settle``, in the order in which records came.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Protocol

from goverse.errors import GoverseError, StoreError, Unavailable
from goverse.model.frames import Reply
from goverse.model.records import CommitRecord
from goverse.ports.store import Conflict, Store
from goverse_node.call import Call
from goverse_node.stats import NodeStats

logger = logging.getLogger("goverse.node.commit")

Waiter = Callable[[int, GoverseError | None], None]
_RECORD_OVERHEAD_BYTES = 128


class Owner(Protocol):
    """Who waits for commits of one object."""

    def settled(self, pending: PendingCommit, commit_seq: int, error: GoverseError | None) -> None:
        """Take note of a record's position, or of what went wrong."""
        ...


class PendingCommit:
    """A record on its way. ``waiters`` are told after the owner, with the position or with what went wrong."""

    __slots__ = ("call", "owner", "record", "reply", "waiters", "withdrawn")

    def __init__(self, record: CommitRecord, owner: Owner, call: Call | None, reply: Reply) -> None:
        """Bind a record to the object that waits for it, and to the call that it answers."""
        self.record = record
        self.owner = owner
        self.call = call
        self.reply = reply
        self.waiters: list[Waiter] | None = None
        self.withdrawn: GoverseError | None = None

    def settle(self, commit_seq: int, error: GoverseError | None) -> None:
        """Tell everybody, once."""
        self.owner.settled(self, commit_seq, error)
        if self.waiters is not None:
            for waiter in self.waiters:
                waiter(commit_seq, error)

    def wait(self, waiter: Waiter) -> None:
        """Have ``waiter`` told as well."""
        if self.waiters is None:
            self.waiters = []
        self.waiters.append(waiter)


class CommitPipeline:
    """Feeds a store with batches."""

    def __init__(self, store: Store, stats: NodeStats, *, batch_max_bytes: int) -> None:
        """Feed ``store``; a batch holds at most ``batch_max_bytes``, or one record."""
        self._store = store
        self._stats = stats
        self._batch_max_bytes = batch_max_bytes
        self._queue: deque[PendingCommit] = deque()
        self._wake: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    def start(self) -> None:
        """Begin to commit."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="goverse-commit")

    def append(self, pending: PendingCommit) -> None:
        """Queue a record for the next batch."""
        self._queue.append(pending)
        if self._wake is not None:
            self._wake.set_result(None)
            self._wake = None
            self._idle.clear()

    def withdraw(self, owner: Owner, error: GoverseError) -> None:
        """Fail what ``owner`` has queued and what is not under way yet."""
        for pending in self._queue:
            if pending.owner is owner:
                pending.withdrawn = error

    async def drain(self) -> None:
        """Wait until nothing is queued or under way."""
        await self._idle.wait()

    async def stop(self) -> None:
        """Drain, then end."""
        await self.drain()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if not self._queue:
                self._idle.set()
                self._wake = loop.create_future()
                await self._wake
            batch = self._take()
            if batch:
                await self._commit(batch)

    def _take(self) -> list[PendingCommit]:
        """Take the next batch off the queue; settle what was withdrawn meanwhile."""
        queue, batch, size = self._queue, list[PendingCommit](), 0
        while queue:
            pending = queue[0]
            if pending.withdrawn is not None:
                queue.popleft().settle(0, pending.withdrawn)
                continue
            record = pending.record
            size += _RECORD_OVERHEAD_BYTES + len(record.state or b"") + (len(record.reply.reply) if record.reply else 0)
            if batch and size > self._batch_max_bytes:
                break
            batch.append(queue.popleft())
        return batch

    async def _commit(self, batch: list[PendingCommit]) -> None:
        stats, began = self._stats, perf_counter()
        try:
            outcomes = await self._store.commit([pending.record for pending in batch])
        except GoverseError as error:
            stats.commit_failures += len(batch)
            logger.error("commit failed", extra={"records": len(batch), "error": error.detail})
            failure = _told_to_callers(error)
            for pending in batch:
                pending.settle(0, failure)
            return
        except Exception:
            stats.commit_failures += len(batch)
            logger.exception("the store raised an unexpected error")
            failure = Unavailable("the store failed in an unexpected way; the call may or may not have taken effect")
            for pending in batch:
                pending.settle(0, failure)
            return
        stats.commit_batches += 1
        stats.commit_records += len(batch)
        stats.commit_seconds += perf_counter() - began
        stats.commit_batch_sizes[min(len(batch).bit_length(), 16) - 1] += 1
        for pending, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Conflict):
                stats.commit_failures += 1
                pending.settle(0, Unavailable(f"the commit was refused: {outcome.reason}; try again"))
            else:
                pending.settle(outcome, None)


def _told_to_callers(error: GoverseError) -> GoverseError:
    """Return the error that callers see: what an operator must mend is, for them, a service that is not available."""
    if isinstance(error, StoreError):
        return Unavailable(
            f"the store stopped taking writes, and this call may or may not have taken effect; retry it with an "
            f"idempotency key once the server was restarted ({error.detail})"
        )
    return error
