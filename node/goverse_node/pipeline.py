"""Group commit: records of many objects and many turns become durable together.

One batch is under way at a time; what arrives meanwhile is the next one, so the batch size follows the load and a lone
call need not wait for others. An installation whose commits are dear may have each batch wait a little for more all the
same (``batch_max_s``). Answers leave through ``PendingCommit.settle``, in the order in which records came.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Protocol

from goverse.errors import Executed, GoverseError, StoreError, Unavailable, known
from goverse.model.frames import Reply
from goverse.model.records import CommitRecord
from goverse.ports.store import Conflict, Store
from goverse_node.call import Call
from goverse_node.stats import NodeStats

logger = logging.getLogger("goverse.node.commit")

Waiter = Callable[[int, GoverseError | None], None]
_RECORD_OVERHEAD_BYTES = 128

UNCHANGED = "the object is as it was before the call; calls that it made to other objects may have taken effect"
"""What is true of a call whose turn began and did not commit. A router repeats it as ``Executed.UNKNOWN``."""


class Owner(Protocol):
    """Who waits for commits of one object."""

    @property
    def failure(self) -> GoverseError | None:
        """Why nothing of it may be committed any more, or None."""
        ...

    def fenced(self) -> None:
        """Take note that the store refused a record because of its epoch; ``settled`` follows."""
        ...

    def settled(self, pending: PendingCommit, commit_seq: int, error: GoverseError | None) -> None:
        """Take note of a record's position, or of what went wrong."""
        ...


class PendingCommit:
    """A record on its way. ``waiters`` are told after the owner, with the position or with what went wrong.

    ``size`` is what it weighs in a batch, in bytes.
    """

    __slots__ = ("call", "owner", "record", "reply", "size", "waiters")

    def __init__(self, record: CommitRecord, owner: Owner, call: Call | None, reply: Reply) -> None:
        """Bind a record to the object that waits for it, and to the call that it answers."""
        self.record = record
        self.owner = owner
        self.call = call
        self.reply = reply
        self.size = _RECORD_OVERHEAD_BYTES + len(record.state or b"")
        if record.reply is not None:
            self.size += len(record.reply.reply)
        self.waiters: list[Waiter] | None = None

    def settle(self, commit_seq: int, error: GoverseError | None) -> None:
        """Tell everybody, once. Whoever fails to take it in keeps nobody else from hearing it."""
        try:
            self.owner.settled(self, commit_seq, error)
        except Exception:
            logger.exception("a commit could not be taken note of")
        for waiter in self.waiters or ():
            try:
                waiter(commit_seq, error)
            except Exception:
                logger.exception("a waiter could not be told of a commit")

    def wait(self, waiter: Waiter) -> None:
        """Have ``waiter`` told as well."""
        if self.waiters is None:
            self.waiters = []
        self.waiters.append(waiter)


class CommitPipeline:
    """Feeds a store with batches."""

    def __init__(self, store: Store, stats: NodeStats, *, batch_max_bytes: int, batch_max_s: float = 0.0) -> None:
        """Feed ``store``; a batch holds at most ``batch_max_bytes`` or one record, and waits ``batch_max_s``."""
        self._store = store
        self._stats = stats
        self._batch_max_bytes = batch_max_bytes
        self._batch_max_s = batch_max_s
        self._queued_bytes = 0
        self._full = asyncio.Event()
        self._queue: deque[PendingCommit] = deque()
        self._wake: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._under_way: list[PendingCommit] = []
        self._began = 0.0
        self._stopping = False
        self._idle = asyncio.Event()

    def start(self) -> None:
        """Begin to commit."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="goverse-commit")

    def append(self, pending: PendingCommit) -> None:
        """Queue a record for the next batch."""
        if self._stopping:
            self._fail([pending], known(Unavailable(f"the node stopped; {UNCHANGED}"), Executed.UNKNOWN))
            return
        self._queue.append(pending)
        self._queued_bytes += pending.size
        if self._queued_bytes >= self._batch_max_bytes:
            self._full.set()
        if self._wake is not None:
            self._wake.set_result(None)
            self._wake = None
            self._idle.clear()

    @property
    def held_up_s(self) -> float:
        """How long the store has not answered the batch that is under way; 0 where none is."""
        return perf_counter() - self._began if self._under_way else 0.0

    def hurry(self) -> None:
        """Let no batch wait any more: the node is about to stop."""
        self._batch_max_s = 0.0
        self._full.set()

    async def drain(self) -> None:
        """Wait until nothing is queued or under way."""
        await self._idle.wait()

    async def stop(self, timeout_s: float) -> None:
        """Drain, then end. What the store did not answer in time fails: it may or may not be durable."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.drain(), timeout_s)
        self._stopping = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=timeout_s)
            self._task = None
        left = [*self._under_way, *self._queue]
        self._queue.clear()
        self._fail(left, Unavailable("the node stopped before the store answered; retry with an idempotency key"))

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if not self._queue:
                self._idle.set()
                self._wake = loop.create_future()
                await self._wake
            if self._batch_max_s:
                await self._gather()
            await self._commit(self._take())  # no name for the batch: it would be kept until the next one

    async def _gather(self) -> None:
        """Let the batch fill, for its time or until it is full."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._batch_max_s):
                await self._full.wait()

    def _take(self) -> list[PendingCommit]:
        """Take the next batch off the queue; settle what its owner gave up meanwhile."""
        queue, batch, size = self._queue, list[PendingCommit](), 0
        while queue:
            pending = queue[0]
            if pending.owner.failure is not None:
                self._queued_bytes -= pending.size
                queue.popleft().settle(0, pending.owner.failure)
                continue
            size += pending.size
            if batch and size > self._batch_max_bytes:
                break
            self._queued_bytes -= pending.size
            batch.append(queue.popleft())
        if self._queued_bytes < self._batch_max_bytes:
            self._full.clear()
        return batch

    async def _commit(self, batch: list[PendingCommit]) -> None:
        if not batch:
            return
        stats, began = self._stats, perf_counter()
        self._under_way, self._began = batch, began
        try:
            outcomes = await self._store.commit([pending.record for pending in batch])
            answers = list(zip(batch, outcomes, strict=True))
        except GoverseError as error:
            logger.error("commit failed", extra={"records": len(batch), "error": error.detail})
            self._fail(batch, _told_to_callers(error))
            return
        except (Exception, asyncio.CancelledError) as error:
            if self._stopping:
                raise
            logger.error("the store raised an unexpected error", exc_info=error)
            self._fail(
                batch, Unavailable("the store failed in an unexpected way; the call may or may not have taken effect")
            )
            return
        self._under_way = []
        stats.commit_batches += 1
        stats.commit_records += len(batch)
        stats.commit_seconds += perf_counter() - began
        stats.commit_batch_sizes[min(len(batch).bit_length(), 16) - 1] += 1
        for pending, outcome in answers:
            if isinstance(outcome, Conflict):
                stats.commit_failures += 1
                if outcome.fenced:
                    pending.owner.fenced()
                pending.settle(0, _of_conflict(outcome))
            else:
                pending.settle(outcome, None)

    def _fail(self, batch: list[PendingCommit], error: GoverseError) -> None:
        self._under_way = []
        self._stats.commit_failures += len(batch)
        for pending in batch:
            pending.settle(0, error)


def _of_conflict(conflict: Conflict) -> GoverseError:
    if conflict.fenced:
        error = Unavailable(f"another node serves the object by now; {UNCHANGED}")
    else:
        error = Unavailable(f"the commit was refused: {conflict.reason}; {UNCHANGED}; try again")
    return known(error, Executed.UNKNOWN)


def _told_to_callers(error: GoverseError) -> GoverseError:
    """Return the error that callers see: what an operator must mend is, for them, a service that is not available."""
    if isinstance(error, StoreError):
        return Unavailable(
            f"the store stopped taking writes, and this call may or may not have taken effect; retry it with an "
            f"idempotency key once the server was restarted ({error.detail})"
        )
    return error
