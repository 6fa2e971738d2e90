"""Recovery: read a data directory into a table in memory, and prepare an empty segment for new records.

Recovery loads the newest undamaged snapshot and replays the log after it. If a snapshot is damaged, the next older one
is used, with more of the log. Acknowledged records that cannot be read raise ``DataDamaged``; they are never skipped.
A torn write at the end of the log was never acknowledged and is cut off. New records go into a new segment, never
after a torn write.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goverse.errors import DataDamaged
from goverse_node.stores.table import Table
from goverse_node.stores.wal import manifest as manifests
from goverse_node.stores.wal.directory import DataDirectory
from goverse_node.stores.wal.ending import create_segment, settle_pages, take_over
from goverse_node.stores.wal.files import Files
from goverse_node.stores.wal.log import Log
from goverse_node.stores.wal.manifest import Manifest, SnapshotEntry
from goverse_node.stores.wal.refusals import damaged
from goverse_node.stores.wal.segment import RECORDS_AT, Origin
from goverse_node.stores.wal.snapshot import SnapshotReader

PROGRESS_S: Final = 2.0

_log = logging.getLogger("goverse.store.wal")


def new_origin() -> Origin:
    """Return the identity of a new store."""
    return Origin(secrets.token_hex(16), secrets.token_hex(8))


@dataclass(slots=True)
class Recovered:
    """The result of a recovery.

    Attributes:
        table: the objects and replies.
        manifest: the files of the store. The last segment is empty and takes the new records.
        last_seq: the last position in the log.
        log_bytes: the size of the log after the newest snapshot.
        records: the number of records that were read.
    """

    table: Table
    manifest: Manifest
    last_seq: int
    log_bytes: int
    records: int


class Recovery:
    """One recovery of one directory. It blocks, so run it in a thread."""

    def __init__(
        self,
        directory: DataDirectory,
        files: Files,
        *,
        now_ms: int,
        make_table: Callable[[], Table],
        make_origin: Callable[[], Origin] = new_origin,
    ) -> None:
        """Create a recovery. The directory is not accessed before :meth:`run`."""
        self._directory = directory
        self._files = files
        self._now_ms = now_ms
        self._make_table = make_table
        self._make_origin = make_origin
        self._progress_at = time.monotonic() + PROGRESS_S

    def run(self) -> Recovered:
        """Recover the store, or create an empty one if the directory contains no data.

        Raises:
            DataDamaged: acknowledged data cannot be read.
            DataNewer: a newer release wrote the data.
        """
        if not self._directory.manifest.exists() and not self._directory.holds_data():
            return self._begin()
        found = manifest = self._directory.read_manifest()
        self._directory.create(self._files)
        self._remove_strays(manifest)
        settle_pages(self._directory, manifest, self._files)
        table, manifest, entry = self._load_snapshot(manifest)
        log = Log(self._directory, manifest, self._files, self._report)
        base = entry.seq if entry is not None else 0
        records = entry.objects + entry.replies if entry is not None else 0
        records += self._replay(table, log.blocks(base), self._directory.segments)
        table.settle()
        tail = log.tail
        if tail is None:
            raise damaged(self._directory.manifest, 0, "the manifest contains no segment")
        usable = take_over(self._directory, manifest, tail, self._files)
        if usable == manifest != found:
            manifests.write(manifest, self._directory.manifest, self._files)
        return Recovered(table, usable, tail.last_seq, self._log_bytes(manifest, base), records)

    def _begin(self) -> Recovered:
        self._directory.create(self._files)
        manifest = Manifest(self._make_origin(), self._now_ms, (1,))
        create_segment(self._directory, manifest, 1, self._files)
        manifests.write(manifest, self._directory.manifest, self._files)
        table = self._make_table()
        table.settle()
        return Recovered(table, manifest, 0, 0, 0)

    def _load_snapshot(self, manifest: Manifest) -> tuple[Table, Manifest, SnapshotEntry | None]:
        trouble: DataDamaged | None = None
        for entry in reversed(manifest.snapshots):
            path = self._directory.snapshot(entry.seq)
            table = self._make_table()
            try:
                self._replay(table, SnapshotReader(path, manifest.origin, entry).blocks(self._files), path)
            except DataDamaged as damage:
                _log.warning("snapshot skipped, trying the previous one: %s", damage.detail)
                trouble = trouble or damage
                manifest = manifest.without_snapshot(entry.seq)
            else:
                return table, manifest, entry
        if trouble is not None and (not manifest.segments or manifest.segments[0] != 1):
            way_out = "all older snapshots are damaged too, and the log does not go back to the start; restore a backup"
            raise damaged(Path(trouble.extra["file"]), trouble.extra["offset"], f"{way_out} ({trouble.detail})")
        return self._make_table(), manifest, None

    def _replay(self, table: Table, blocks: Iterator[list[bytes]], source: Path) -> int:
        count = 0
        try:
            for bodies in blocks:
                table.replay(bodies)
                count += len(bodies)
        except ValueError as error:
            raise damaged(source, 0, f"a record has a valid checksum but is malformed: {error}") from error
        return count

    def _remove_strays(self, manifest: Manifest) -> None:
        """Remove the files that the manifest does not name. A crash can leave them before or after a switch."""
        named = {self._directory.segment(first) for first in manifest.segments}
        named |= {self._directory.snapshot(entry.seq) for entry in manifest.snapshots}
        for folder in (self._directory.segments, self._directory.snapshots):
            for path in sorted(folder.iterdir()):
                if path not in named:
                    self._remove_stray(path, manifest)

    def _remove_stray(self, path: Path, manifest: Manifest) -> None:
        later = path.suffix == ".wal" and path.stem.isdigit() and int(path.stem) > manifest.segments[0]
        if later and path.stat().st_size > RECORDS_AT:
            why = f"{self._directory.manifest.name} does not name it, but it has records newer than the manifest"
            raise damaged(path, 0, why)
        if path.suffix in {".wal", ".snap", ".tmp"}:
            _log.info("removing %s, which is not part of the store", path)
            self._files.unlink(path)

    def _log_bytes(self, manifest: Manifest, base: int) -> int:
        ends = (*manifest.segments[1:], None)
        sizes = 0
        for first, end in zip(manifest.segments, ends, strict=True):
            if end is None or end > base + 1:
                sizes += max(0, self._directory.segment(first).stat().st_size - RECORDS_AT)
        return sizes

    def _report(self, name: str, done: int, total: int) -> None:
        if time.monotonic() >= self._progress_at:
            self._progress_at = time.monotonic() + PROGRESS_S
            _log.info("recovering %s: %d of %d MB", name, done >> 20, total >> 20)
