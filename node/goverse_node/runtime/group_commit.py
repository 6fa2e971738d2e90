"""Group commit: records of many objects and turns become durable with one store commit.

One batch is in progress at a time. Records that arrive during a commit form the next batch, so the batch size follows
the load, and a single record is committed without waiting for others. Where commits are expensive, ``batch_max_s``
makes each batch wait a little for further records. Results are delivered through ``PendingCommit.settle``, in the order
in which the records arrived.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from time import perf_counter
from typing import NamedTuple, Protocol

from goverse.errors import Executed, GoverseError, StoreError, Unavailable, known
from goverse.model.effects import Mark
from goverse.model.frames import Reply
from goverse.model.receipts import number_of
from goverse.model.records import CommitRecord
from goverse.ports.store import Conflict, Store
from goverse_node.runtime.call import Call
from goverse_node.runtime.stats import NodeStats

logger = logging.getLogger("goverse.node.commit")

CommitCallback = Callable[[int, GoverseError | None], None]
_RECORD_OVERHEAD_BYTES = 128

UNCHANGED = "the object is as it was before the call; calls that it made to other objects may have taken effect"
"""The effect of a call whose turn began and did not commit. The router treats such an error as ``Executed.UNKNOWN``."""


class Owner(Protocol):
    """The owner of a pending commit: usually the activation of the object."""

    @property
    def failure(self) -> GoverseError | None:
        """The error with which all queued records of this owner fail, or None."""
        ...

    def fenced(self) -> None:
        """Handle a record that the store refused because of its epoch. ``settled`` is called next."""
        ...

    def settled(self, pending: PendingCommit, commit_seq: int, error: GoverseError | None) -> None:
        """Handle the result of a commit: the record's position, or the error."""
        ...


class PendingCommit:
    """A record that is queued or being committed.

    Attributes:
        size: the record's share of a batch, in bytes.
        waiters: callbacks that receive the position or the error, after the owner has.
        waits: True while it must not be committed, because a record that it refers to is not durable.
    """

    __slots__ = ("call", "owner", "record", "reply", "size", "waiters", "waits")

    def __init__(self, record: CommitRecord, owner: Owner, call: Call | None, reply: Reply) -> None:
        """Commit ``record`` for ``owner``; ``reply`` answers ``call`` once the record is durable."""
        self.record = record
        self.owner = owner
        self.call = call
        self.reply = reply
        size = _RECORD_OVERHEAD_BYTES + len(record.state or b"")
        if record.reply is not None:
            size += len(record.reply.reply)
        if record.effects is not None:
            size += record.effects.size
        self.size = size
        self.waiters: list[CommitCallback] | None = None
        self.waits = False

    def settle(self, commit_seq: int, error: GoverseError | None) -> None:
        """Deliver the result to the owner, then to all waiters. Exceptions in them are logged."""
        try:
            self.owner.settled(self, commit_seq, error)
        except Exception:
            logger.exception("error while handling the result of a commit")
        if self.waiters is not None:
            for waiter in self.waiters:
                try:
                    waiter(commit_seq, error)
                except Exception:
                    logger.exception("error in a waiter for a commit")

    def wait(self, waiter: CommitCallback) -> None:
        """Deliver the result to ``waiter`` as well."""
        if self.waiters is None:
            self.waiters = []
        self.waiters.append(waiter)


class LateMark(NamedTuple):
    """A mark on a call that a queued record sends. The call's number follows from the position of that record.

    Attributes:
        record: the record that sends the call.
        part: the place of the call in that record.
        mark: the mark. Its number is that of the call if ``record`` fails, or 0 if there is no call then.
    """

    record: PendingCommit
    part: int
    mark: Mark


class LateCommit(PendingCommit):
    """A record with late marks. It is committed in a later batch than the records that its marks refer to."""

    __slots__ = ("_unknown", "late_marks")

    def __init__(
        self, record: CommitRecord, owner: Owner, call: Call | None, reply: Reply, late_marks: Sequence[LateMark]
    ) -> None:
        super().__init__(record, owner, call, reply)
        self.late_marks = tuple(late_marks)
        self._unknown = len(self.late_marks)
        self.waits = True
        for late in self.late_marks:
            late.record.wait(self._resolver(late))

    def _resolver(self, late: LateMark) -> CommitCallback:
        """Return the callback that gives a mark its number.

        If the other record is of the same owner and fails, this one fails with it.
        """

        def settled(commit_seq: int, error: GoverseError | None) -> None:
            self._unknown -= 1
            self.waits = self._unknown > 0
            effects = self.record.effects
            mark = late.mark if error is not None else late.mark._replace(number=number_of(commit_seq, late.part))
            if mark.number and effects is not None:
                self.record = replace(self.record, effects=replace(effects, marks=(*effects.marks, mark)))

        return settled


class CommitPipeline:
    """Collects commit records into batches and commits them to the store."""

    def __init__(self, store: Store, stats: NodeStats, *, batch_max_bytes: int, batch_max_s: float = 0.0) -> None:
        """Commit to ``store``. A batch holds at most ``batch_max_bytes``, or one larger record.

        It waits up to ``batch_max_s`` for further records.
        """
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
        self._sent_at = 0.0
        self._stopping = False
        self._idle = asyncio.Event()

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._now = loop.time
        self._task = loop.create_task(self._run(), name="goverse-commit")

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
        """Seconds since the current batch was sent to the store; 0 if no batch is in progress."""
        return self._now() - self._sent_at if self._under_way else 0.0

    def hurry(self) -> None:
        """Commit without waiting for further records from now on, because the node is about to stop."""
        self._batch_max_s = 0.0
        self._full.set()

    async def drain(self) -> None:
        """Wait until no record is queued or being committed."""
        await self._idle.wait()

    async def stop(self, timeout_s: float) -> None:
        """Drain, then stop. Records without an answer after ``timeout_s`` fail; they may or may not be durable."""
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
        try:
            while True:
                if not self._queue:
                    self._idle.set()
                    self._wake = loop.create_future()
                    await self._wake
                if self._batch_max_s:
                    await self._gather()
                await self._commit(self._take())  # not assigned: a name would keep the batch alive until the next one
        finally:  # also if the loop cancels all tasks without ``stop``: no later record has a chance
            self._stopping, self._wake = True, None

    async def _gather(self) -> None:
        """Wait for further records until the batch is full or ``batch_max_s`` has passed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._batch_max_s):
                await self._full.wait()

    def _take(self) -> list[PendingCommit]:
        """Take the next batch off the queue. Records whose owner has failed since are settled with its error."""
        queue, batch, size, left = self._queue, list[PendingCommit](), 0, self._batch_max_bytes
        while queue:
            pending = queue[0]
            if pending.owner.failure is not None:
                self._queued_bytes -= pending.size
                queue.popleft().settle(0, pending.owner.failure)
                continue
            if batch and (pending.size > left or pending.waits):
                break  # the batch is full, or has the record that this one refers to
            batch.append(queue.popleft())
            size += pending.size
            left -= pending.size
        self._queued_bytes -= size
        if self._queued_bytes < self._batch_max_bytes:
            self._full.clear()
        return batch

    async def _commit(self, batch: list[PendingCommit]) -> None:
        if not batch:
            return
        stats, began = self._stats, perf_counter()
        self._under_way, self._sent_at = batch, self._now()
        try:
            outcomes = await self._store.commit([pending.record for pending in batch])
            answers = list(zip(batch, outcomes, strict=True))
        except GoverseError as error:
            logger.error("commit failed", extra={"records": len(batch), "error": error.detail})
            self._fail(batch, _public_error(error))
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
        error = Unavailable(f"another node now serves the object; {UNCHANGED}")
    else:
        error = Unavailable(f"the commit was refused: {conflict.reason}; {UNCHANGED}; try again")
    return known(error, Executed.UNKNOWN)


def _public_error(error: GoverseError) -> GoverseError:
    """Return the error for callers. A ``StoreError``, which an operator must repair, becomes ``Unavailable``."""
    if isinstance(error, StoreError):
        return Unavailable(
            f"the store stopped taking writes, and this call may or may not have taken effect; retry it with an "
            f"idempotency key after the server was restarted ({error.detail})"
        )
    return error
