"""The embedded store: objects in memory, made durable by a write-ahead log on one machine. See docs/design/wal.md.

The work is divided between three places:

event loop       checks and encodes batches, and owns the table in memory
writer's thread  makes every change to a file (:mod:`goverse_node.stores.wal.log_writer`)
child process    folds the log into a snapshot (:mod:`goverse_node.stores.wal.compactor`)

Reads are answered from memory without waiting, and they only see data that is durable.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from goverse.errors import DataDamaged, GoverseError, StoreFailed, Unavailable
from goverse.limits import TOMBSTONE_RETENTION_S, WAL_SEGMENT_BYTES, WAL_SNAPSHOT_BYTES, WAL_SNAPSHOTS_KEPT
from goverse.model.call_retention import CallRetention, limits_of
from goverse.model.effects import FinishedCall, PendingCall
from goverse.model.keys import ObjectKey
from goverse.model.receipts import Receipt
from goverse.model.records import (
    Change,
    ChangeFilter,
    CommitRecord,
    ObjectPlace,
    ObjectSummary,
    StoredObject,
    StoredReply,
    StoreHealth,
)
from goverse.ports.clock import Clock, SystemClock
from goverse.ports.outbox import CallFilter
from goverse.ports.store import CommitOutcome
from goverse_node.stores.encoding import framed
from goverse_node.stores.hash_ranges import within
from goverse_node.stores.kept import KeptBounds
from goverse_node.stores.outbox_encoding import carrier
from goverse_node.stores.outbox_table import Encoded
from goverse_node.stores.receipt_rounds import Floors
from goverse_node.stores.running_time import RunningTime, resumed_ms
from goverse_node.stores.table import SWEEP_PER_RECORD, Table
from goverse_node.stores.wal.directory import DataDirectory, Lock
from goverse_node.stores.wal.feed import Feed
from goverse_node.stores.wal.files import Files, RealFiles
from goverse_node.stores.wal.log_writer import LogWriter
from goverse_node.stores.wal.manifest import SnapshotEntry
from goverse_node.stores.wal.recovery import Recovered, Recovery, new_origin
from goverse_node.stores.wal.refusals import unusable
from goverse_node.stores.wal.segment import Origin
from goverse_node.stores.wal.stats import BatchWritten, WalStats
from goverse_node.stores.wal.upkeep import Now, Retention, Trimmed, Upkeep

_log = logging.getLogger("goverse.store.wal")


class WalStore:
    """A :class:`goverse.ports.store.Store` in one directory.

    Args:
        directory: the data directory.
        clock: the source of running time, by which replies expire, and of wall-clock time, by which tombstones age.
        files: the file system.
        create: create the directory if it is missing. If False, a missing directory is an error.
        segment_bytes: the size at which the log continues in a new segment.
        snapshot_bytes: the size of the log at which a snapshot starts. With 0, only :meth:`snapshot` makes snapshots.
        snapshots_kept: the number of snapshots to keep. The log after the oldest of them is kept, too.
        tombstone_retention_s: the time for which deleted objects are remembered.
        on_batch: called on the event loop after each durable batch.
        make_origin: creates the identity of a new store.
        kept: limits on the memory of kept replies.
        call_retention: limits on the times for which ends of calls are kept.
        process: the process that the lock names, if stopping this process is not enough to free the directory.
        serves: False for a command that runs no code of the application. It leaves the sign of an unclean end, which
            the next process that serves the directory has to find.
    """

    def __init__(
        self,
        directory: Path,
        *,
        clock: Clock | None = None,
        files: Files | None = None,
        create: bool = True,
        segment_bytes: int = WAL_SEGMENT_BYTES,
        snapshot_bytes: int = WAL_SNAPSHOT_BYTES,
        snapshots_kept: int = WAL_SNAPSHOTS_KEPT,
        tombstone_retention_s: float = TOMBSTONE_RETENTION_S,
        on_batch: Callable[[BatchWritten], None] | None = None,
        make_origin: Callable[[], Origin] = new_origin,
        kept: KeptBounds | None = None,
        call_retention: CallRetention | None = None,
        process: int | None = None,
        serves: bool = True,
    ) -> None:
        """Create the store. The directory is not accessed before :meth:`open`."""
        self._directory = DataDirectory(directory)
        self._clock: Clock = clock or SystemClock()
        self._files: Files = files or RealFiles()
        self._create = create
        self._segment_bytes = segment_bytes
        self._on_batch = on_batch
        self._make_origin = make_origin
        self._kept = kept
        self._call_retention = call_retention
        self._process = process
        self._serves = serves
        self._table = Table()
        self._stats = WalStats()
        self._lock: Lock | None = None
        self._writer: LogWriter | None = None
        self._seq = 0
        self._trouble = "the store is not open"
        self._failure = ""
        self._inflight: asyncio.Future[None] | None = None
        self._freed: asyncio.Future[None] | None = None
        self._batch = (0, 0, 0)
        self._retention = Retention(snapshot_bytes, snapshots_kept, tombstone_retention_s, limits_of(call_retention))
        self._time = RunningTime(self._clock, self._clock.wall_ms())
        floors = self._floors
        self._upkeep = Upkeep(self._directory, self._files, self._stats, self._retention, now=self._now, floors=floors)
        self._feed = Feed(self._directory, self._files, lambda: self._opened().manifest)

    # --- open and close -------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Recover the data and accept commits.

        Raises:
            DataDamaged: acknowledged data cannot be read. The message names the file and the offset.
            DataNewer: a newer release wrote the data.
            StoreLocked: another process uses the directory.
            StoreFailed: the directory cannot be read or written.
        """
        if self._writer is not None:
            return
        started = time.monotonic()
        try:
            recovered = await asyncio.to_thread(self._recover)
        except OSError as error:
            self._unlock()
            what = f"the data directory {self._directory.root} cannot be used"
            raise unusable(what, error, "--data-dir (wal.data_dir)") from error
        except BaseException:
            self._unlock()
            raise
        self._stats.recovery_seconds = time.monotonic() - started
        self._begin(recovered)

    def _recover(self) -> Recovered:
        root = self._directory.root
        if not root.is_dir():
            if not self._create:
                raise DataDamaged(f"the data directory {root} is missing (offset 0)", file=str(root), offset=0)
            root.mkdir(parents=True, mode=0o700)
        self._lock = Lock(self._directory, self._process)
        return Recovery(
            self._directory,
            self._files,
            now_ms=self._clock.wall_ms(),
            make_table=self._make_table,
            make_origin=self._make_origin,
        ).run()

    def _make_table(self) -> Table:
        return Table(
            tombstone_retention_s=self._retention.tombstone_retention_s,
            bulk=True,
            kept=self._kept,
            call_retention=self._call_retention,
        )

    def _begin(self, recovered: Recovered) -> None:
        self._table = recovered.table
        self._seq = recovered.last_seq
        wall_ms, (kept_ms, kept_wall_ms) = self._clock.wall_ms(), recovered.table.latest
        self._time = RunningTime(self._clock, resumed_ms(kept_ms, kept_wall_ms, wall_ms) if kept_ms else wall_ms)
        self._stats.recovered_records = recovered.records
        self._stats.log_bytes = recovered.log_bytes
        self._writer = LogWriter(
            self._directory,
            recovered.manifest,
            self._files,
            segment_bytes=self._segment_bytes,
            done=self._written,
            room=self._has_room,
        )
        self._writer.start(asyncio.get_running_loop())
        self._trouble = self._failure = ""
        self._upkeep.start(self._writer)
        _log.info("%s: recovered %d records, last position %d", self._directory.root, recovered.records, self._seq)

    async def close(self) -> None:
        """Finish the commits that were started, then close the files and release the lock. May be called twice."""
        writer, self._writer = self._writer, None
        self._trouble = self._trouble or "the store is closed"
        if writer is not None:
            await self._upkeep.stop()
            await asyncio.to_thread(writer.stop)
            # The writer's last callbacks are in the loop's queue. One pass of the loop runs them.
            await asyncio.sleep(0)
        self._unlock(served=self._serves and writer is not None)

    def _unlock(self, *, served: bool = False) -> None:
        if self._lock is not None:
            self._lock.release(served=served)
            self._lock = None

    def _floors(self) -> Floors:
        return self._table.outbox.rounds.floors

    @property
    def interrupted(self) -> bool:
        """True if the last process that served this directory ended without closing its store."""
        return self._lock is not None and self._lock.interrupted

    def _now(self) -> Now:
        return Now(self._time.now_ms(), self._clock.wall_ms())

    # --- reads and maintenance ------------------------------------------------------------------------------

    @property
    def generation(self) -> str:
        """The generation of the change feed. A restored store has a new one, which invalidates older cursors."""
        return self._opened().manifest.origin.generation

    @property
    def compactor_pid(self) -> int | None:
        """The process id of the running compactor, or None."""
        return self._upkeep.compactor_pid

    def load(self, key: ObjectKey) -> StoredObject | None:
        """Return the object, a tombstone, or None if it never existed."""
        return self._table.load(key)

    def recall(self, key: ObjectKey, idempotency_key: str) -> StoredReply | None:
        """Return the reply that this object keeps under the key, or None if there is none or it has expired."""
        return self._table.recall(key, idempotency_key, self._time.now_ms())

    async def list(
        self, namespace: str, type_name: str, *, prefix: str, after: str | None, limit: int
    ) -> Sequence[ObjectSummary]:
        """Return up to ``limit`` living objects, sorted by id."""
        return self._table.page(namespace, type_name, prefix=prefix, after=after, limit=limit)

    async def changes(self, after: int, limit: int, *, where: ChangeFilter | None = None) -> Sequence[Change]:
        """Return up to ``limit`` changes after position ``after``, in order; with ``where``, those that it selects.

        Raises:
            CursorExpired: the log after ``after`` was trimmed; ``oldest`` is the oldest valid cursor.
        """
        self._opened()
        return await self._feed.read(after, limit, self._seq, where)

    async def change(self, key: ObjectKey, commit_seq: int) -> Change | None:
        """Return the change of ``key`` at a position, or None if the log no longer has it."""
        self._opened()
        found = await self._feed.at(commit_seq) if 0 < commit_seq <= self._seq else None
        return found if found is not None and found.key == key else None

    def health(self) -> StoreHealth:
        """Return the store's health. It is ready while commits are accepted."""
        trouble = self._trouble or (self._writer.failure if self._writer is not None else "")
        return StoreHealth(not trouble, trouble, self._seq)

    async def living(self) -> Mapping[tuple[str, str], int]:
        """Return the number of objects that exist, by namespace and type."""
        return self._table.living()

    async def within(
        self, first: int, last: int, *, after: ObjectPlace | None = None, limit: int
    ) -> Sequence[ObjectPlace]:
        """Return up to ``limit`` objects whose hash is from ``first`` to ``last``, sorted by hash, after ``after``."""
        return await within(self._table, (first, last), after=after, limit=limit)

    @property
    def counted(self) -> Mapping[tuple[str, str], int]:
        """The same counts as :meth:`living`, for callers that cannot wait."""
        return self._table.living()

    def stats(self) -> WalStats:
        """Return the statistics at this moment."""
        kept, writer = {"kept_replies": self._table.kept_replies, "kept_bytes": self._table.kept_bytes}, self._writer
        if writer is None:
            return replace(self._stats, **kept)
        manifest = writer.manifest
        return replace(self._stats, segments=len(manifest.segments), snapshots=len(manifest.snapshots), **kept)

    async def snapshot(self) -> SnapshotEntry:
        """Make a snapshot of everything committed so far. Commits continue while it is made.

        Raises:
            Unavailable: the snapshot failed. The store continues without it.
        """
        self._opened()
        return await self._upkeep.snapshot()

    async def trim(self, snapshots_kept: int = 1) -> Trimmed:
        """Delete history: keep the newest ``snapshots_kept`` snapshots, and the log after the oldest of them."""
        self._opened()
        return await self._upkeep.trim(snapshots_kept)

    # --- Outbox ---------------------------------------------------------------------------------------------

    async def pending(self, shards: Collection[int], *, after: int = 0, limit: int) -> Sequence[PendingCall]:
        """Return up to ``limit`` pending calls of senders in ``shards`` with numbers above ``after``, in order."""
        self._opened()
        return self._table.outbox.pending(shards, after=after, limit=limit)

    async def pending_where(
        self, where: CallFilter, *, shard: int | None = None, after: tuple[int, int] | None = None, limit: int
    ) -> Sequence[PendingCall]:
        """Return up to ``limit`` pending calls that ``where`` selects, sorted by shard and number."""
        self._opened()
        return await self._table.outbox.pending_where(where, shard=shard, after=after, limit=limit)

    def receipt(self, receiver: ObjectKey, sender: ObjectKey) -> Receipt:
        """Return the receipt of a pair."""
        return self._table.outbox.receipt(receiver, sender)

    async def finished(
        self, where: CallFilter, *, after: tuple[int, str] | None = None, limit: int
    ) -> Sequence[FinishedCall]:
        """Return up to ``limit`` finished calls that ``where`` selects, the newest first."""
        self._opened()
        return await self._table.outbox.finished(where, self._time.now_ms(), after=after, limit=limit)

    async def finished_call(
        self, namespace: str, call_id: str, *, sender: ObjectKey | None = None
    ) -> FinishedCall | None:
        """Return the newest finished call with this id, of ``sender`` if it is known."""
        return self._table.outbox.finished_call(CallFilter(namespace, sender=sender), call_id, self._time.now_ms())

    async def count_finished(self, where: CallFilter, *, limit: int) -> int:
        """Return the number of finished calls that ``where`` selects, ``limit`` if there are more."""
        return len(await self._table.outbox.selected(where, self._time.now_ms(), limit))

    async def forget_finished(self, where: CallFilter, *, limit: int) -> int:
        """Remove up to ``limit`` finished calls that ``where`` selects, the oldest first. Returns their number.

        Raises:
            Unavailable: nothing was removed. The caller may retry it.
            StoreFailed: the outcome is unknown. The store refuses all further commits.
        """
        outbox = self._table.outbox
        places = await outbox.selected(where, self._time.now_ms(), limit)
        while self._inflight is not None:
            await self._free()
        writer, place = self._opened(), (self._seq + 1, self._clock.wall_ms())
        entries = outbox.forgetting(places, place)
        if entries:
            outbox.stage(Encoded(entries))
            await self._write(writer, framed(carrier(entries, place)), 1)
        return len(entries)

    async def forget_receipts(self) -> int:
        """Remove the receipts that have not been needed since the previous call. Returns their number.

        The files keep them until the next snapshot.
        """
        self._opened()
        return self._table.outbox.rounds.complete()

    # --- commits --------------------------------------------------------------------------------------------

    async def commit(self, batch: Sequence[CommitRecord]) -> Sequence[CommitOutcome]:
        """Make the batch durable. Returns one outcome per record, in order.

        Raises:
            Unavailable: nothing of the batch is durable. The caller may retry it.
            StoreFailed: the outcome is unknown. The store refuses all further commits.
        """
        while self._inflight is not None:
            await self._free()
        writer = self._opened()
        try:
            outcomes, pieces = self._table.stage(batch, self._seq + 1, self._time.now_ms())
        except BaseException:
            self._table.discard_staged()
            raise
        if pieces:
            records = len(pieces) >> 1
            self._stats.conflicts += len(batch) - records
            await self._write(writer, b"".join(pieces), records)
        return outcomes

    def _write(self, writer: LogWriter, frames: bytes, records: int) -> asyncio.Future[None]:
        """Write the staged batch. The result is set when it is durable and visible."""
        self._batch = (self._seq + records, records, len(frames))
        inflight = self._inflight = asyncio.get_running_loop().create_future()
        writer.write(frames, self._seq + records)
        return inflight

    async def _free(self) -> None:
        """Wait until the running batch has an outcome. The future outlives the caller that started the batch."""
        if self._freed is None or self._freed.done():
            self._freed = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._freed)

    def _written(self, error: GoverseError | None, seconds: float) -> None:
        inflight, self._inflight = self._inflight, None
        if error is None:
            self._acknowledge(seconds)
        else:
            self._table.discard_staged()
            self._trouble = error.detail
            self._failure = error.detail if isinstance(error, StoreFailed) else ""
            self._stats.full_disk += isinstance(error, Unavailable)
        if inflight is not None and not inflight.done():
            if error is None:
                inflight.set_result(None)
            else:
                inflight.set_exception(error)
        if self._freed is not None and not self._freed.done():
            self._freed.set_result(None)

    def _has_room(self) -> None:
        self._trouble = self._failure

    def _acknowledge(self, seconds: float) -> None:
        self._seq, records, size = self._batch
        self._table.apply_staged()
        self._trouble = ""
        stats = self._stats
        stats.commits += 1
        stats.records += records
        stats.bytes_written += size
        stats.log_bytes += size
        stats.sync_seconds += seconds
        self._table.sweep(self._time.now_ms(), SWEEP_PER_RECORD * records, wall_ms=self._clock.wall_ms())
        self._upkeep.start_if_due()
        if self._on_batch is not None:
            self._on_batch(BatchWritten(records, size, seconds))

    def _opened(self) -> LogWriter:
        if self._failure or self._writer is None:
            raise StoreFailed(self._failure or self._trouble)
        return self._writer
