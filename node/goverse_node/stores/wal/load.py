"""Load a dump into a new data directory.

All lines are checked first. Then they are written as the first snapshot of a new store. The directory gets its name
when it is complete. Objects keep their versions and positions. The store and its change feed have a new identity, and
new positions are higher than all positions in the dump.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from goverse.errors import RestoreRefused
from goverse.model.effects import Mark, PendingCall
from goverse.model.receipts import place_of
from goverse_node.stores.dump_calls import DumpedCall, DumpedReceipt
from goverse_node.stores.dump_lines import Contents, Dumped, DumpedFloor, DumpedObject, DumpedReply, check, read
from goverse_node.stores.encoding import COMMIT, FULL, REPLY, encode_floor, object_flags, object_head
from goverse_node.stores.outbox_encoding import (
    finished_entry,
    mark_entry,
    outcome_entry,
    pending_entry,
    receipt_entries,
)
from goverse_node.stores.wal import manifest as manifests
from goverse_node.stores.wal.directory import DataDirectory
from goverse_node.stores.wal.ending import create_segment
from goverse_node.stores.wal.files import Files, RealFiles
from goverse_node.stores.wal.fold import Fold
from goverse_node.stores.wal.manifest import Manifest
from goverse_node.stores.wal.recovery import new_origin
from goverse_node.stores.wal.refusals import unusable
from goverse_node.stores.wal.snapshot import write_snapshot

Lines = Callable[[str], Iterable[bytes]]
"""Opens the dump for another pass. The argument names the pass in the progress bar."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The result of a load.

    Attributes:
        directory: the new data directory.
        next_seq: the first position that the store will assign.
        contents: counts of what was loaded.
    """

    directory: Path
    next_seq: int
    contents: Contents


def load(lines: Lines, into: Path, *, now_ms: int, files: Files | None = None) -> Loaded:
    """Load a dump into the new directory ``into``, without the replies that have expired.

    Raises:
        RestoreRefused: the directory is not empty.
        DataDamaged: lines of the dump are invalid.
    """
    if into.is_symlink() or (into.exists() and (not into.is_dir() or any(into.iterdir()))):
        raise RestoreRefused(f"{into} is not empty; name a new directory", into=str(into))
    real: Files = files or RealFiles()
    contents = check(lines("checking"))
    building = into.absolute().parent / f".{into.name}.{secrets.token_hex(4)}.loading"
    try:
        _build(building, read(lines("loading")), contents, now_ms, real)
        os.replace(building, into)  # noqa: PTH105 - over an empty directory, which Path.rename leaves open
        real.sync_directory(into.absolute().parent)
    except OSError as error:
        raise unusable(f"nothing was loaded into {into}", error, "--into") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return Loaded(into, max(contents.last_seq, 1 if contents.floors else 0) + 1, contents)


def _build(building: Path, dumped: Iterator[Dumped], contents: Contents, now_ms: int, files: Files) -> None:
    target = DataDirectory(building)
    last = max(contents.last_seq, 1 if contents.floors else 0)
    target.create(files)
    manifest = Manifest(new_origin(), now_ms, (last + 1,))
    if last:
        floors: list[bytes] = []
        fold = Fold(target.snapshots, files)
        try:
            fold.add(_bodies(dumped, floors, now_ms))
            entry = write_snapshot(
                target.snapshot(last),
                fold.merged(iter(floors), now_ms=now_ms, tombstones_before_ms=0),
                origin=manifest.origin,
                seq=last,
                last_ms=contents.last_ms,
                files=files,
            )
        finally:
            fold.close()
        manifest = manifest.with_snapshot(entry)
    create_segment(target, manifest, last + 1, files)
    manifests.write(manifest, target.manifest, files)


def _bodies(dumped: Iterator[Dumped], floors: list[bytes], now_ms: int) -> Iterator[bytes]:
    """Yield the records, and append floors, of which there are few, to ``floors``.

    The time at which the replies were kept is set to ``now_ms``.
    """
    for each in dumped:
        if isinstance(each, DumpedFloor):
            floors.append(encode_floor(each.namespace, each.type, each.version))
            continue
        if not isinstance(each, DumpedObject | DumpedReply):
            yield from _entries(each, now_ms)
            continue
        names = [part.encode() for part in each.key]
        lengths = tuple(map(len, names))
        if isinstance(each, DumpedObject):
            flags, head = object_head(object_flags(each.state, each.creation), 0, each.generation, each.creation)
            state = head + (each.state or b"")
            core = (each.version, each.commit_seq, each.modified_ms, each.state_version, flags)
            yield FULL.pack(COMMIT, *lengths, 0, len(state), 0, *core) + state + b"".join(names)
        else:
            key, kept = each.idempotency_key.encode(), each.reply
            times = (kept.expires_ms, now_ms, kept.commit_seq)
            reply = REPLY.pack(*times, len(kept.fingerprint)) + kept.fingerprint + kept.reply
            head = FULL.pack(COMMIT, *lengths, len(key), 0, len(reply), 0, kept.commit_seq, now_ms, 0, 0)
            yield head + reply + b"".join(names) + key


def _entries(each: DumpedCall, now_ms: int) -> Iterator[bytes]:
    """Yield the entries of a pending call, a receipt or a finished call."""
    if isinstance(each, PendingCall):
        place = (place_of(each.number)[0], now_ms)
        yield pending_entry(each, place)
        if each.attempts or each.void:
            yield mark_entry(each.sender, Mark(each.number, each.attempts, each.void), place)
    elif isinstance(each, DumpedReceipt):
        place = (place_of(each.receipt.last)[0], now_ms)
        yield from receipt_entries(each.receiver, each.sender, each.receipt, place)
        for number, outcome in each.receipt.outcomes.items():
            yield outcome_entry(each.receiver, each.sender, number, outcome, place)
    else:
        yield finished_entry(each, (1, now_ms), now_ms)
