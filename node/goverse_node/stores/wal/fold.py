"""Folding: merge a snapshot and the log after it into the records of a new snapshot.

This is an external merge sort. The log is sorted in runs of at most ``RUN_BYTES_MAX``, which are written to temporary
files, so the memory does not grow with the log or with the number of objects. The runs and the old snapshot are then
merged by name. Of several records with the same name, the newest one is kept.

Expired replies and tombstones past their retention are left out. The highest version of the tombstones that are left
out becomes the floor of their type. Calls that were removed from their outboxes are left out with their marks, and
receipts that no delivery can need (``goverse_node.stores.receipt_rounds``).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from goverse.limits import MIB
from goverse.model.call_retention import NO_LIMITS
from goverse.model.effects import CallState
from goverse_node.stores.encoding import (
    ALIVE,
    EFFECTS,
    FLOOR,
    FULL,
    OBJECT,
    STATE_AT,
    U64,
    at_ms_of,
    decode,
    encode_floor,
    framed,
    seq_of,
    without_trail,
)
from goverse_node.stores.outbox_encoding import parted
from goverse_node.stores.outbox_fold import Kept, entry_name
from goverse_node.stores.receipt_rounds import Floors
from goverse_node.stores.wal.files import Files
from goverse_node.stores.wal.scan import BLOCK, Scan

RUN_BYTES_MAX: Final = 48 * MIB
_NO_FLOORS: Final = Floors()

_Keyed = tuple[bytes, int, bytes]
"""Name, negative position and body. In this order the newest record of a name comes first."""


def split(body: bytes) -> list[bytes]:
    """Split a commit record into one record for the object, one for the reply and its effects, as far as it has them.

    The trail is left out: a snapshot has no earlier changes that it could lead to.
    """
    if body[0] > FLOOR:
        if body[0] != EFFECTS:
            return [body]
        commit, entries = parted(body)
        return split(commit) + entries
    body = without_trail(body)
    what, namespace_len, type_len, id_len, idem_len, state_len, reply_len, *core, flags = FULL.unpack_from(body)
    if not reply_len:
        return [body] if flags & OBJECT else []
    if not flags & OBJECT:
        return [body]
    reply_at = STATE_AT + state_len
    names_at = reply_at + reply_len
    names_end = len(body) - idem_len
    lengths = (what, namespace_len, type_len, id_len)
    return [
        FULL.pack(*lengths, 0, state_len, 0, *core, flags) + body[STATE_AT:reply_at] + body[names_at:names_end],
        FULL.pack(*lengths, idem_len, 0, reply_len, *core, 0) + body[reply_at:],
    ]


def name_of(body: bytes) -> bytes:
    """Return the sort key of a record: namespace, type, id and idempotency key, or sub-name.

    The lengths of these names and a byte for the kind of record follow, which makes the sort key unique.
    """
    if body[0] > FLOOR:
        return entry_name(body)
    _, namespace_len, type_len, id_len, _, state_len, reply_len, *_ = FULL.unpack_from(body)
    at = STATE_AT + state_len + reply_len
    type_at = at + namespace_len
    id_at = type_at + type_len
    key_at = id_at + id_len
    part = b"\1" if reply_len else b"\0"
    return b"\0".join((body[at:type_at], body[type_at:id_at], body[id_at:key_at], body[key_at:], body[1:6] + part))


class Fold:
    """One folding. Add the log with :meth:`add`, then read the result from :meth:`merged`.

    Attributes:
        last_ms: the time of the newest record that was added.
    """

    def __init__(self, folder: Path, files: Files, *, run_bytes_max: int = RUN_BYTES_MAX) -> None:
        """Create a folding. It keeps its runs in ``folder`` until :meth:`close`."""
        self.last_ms = 0
        self._folder = folder
        self._files = files
        self._run_bytes_max = run_bytes_max
        self._newest: dict[bytes, bytes] = {}
        self._held = 0
        self._runs: list[Path] = []

    def add(self, records: Iterable[bytes]) -> None:
        """Add records of the log, in order."""
        for record in records:
            self.last_ms = max(self.last_ms, at_ms_of(record))
            for body in split(record):
                self._newest[name_of(body)] = body
                self._held += len(body)
            if self._held >= self._run_bytes_max:
                self._spill()

    def merged(
        self,
        base: Iterable[bytes],
        *,
        now_ms: int,
        tombstones_before_ms: int,
        floors: Floors = _NO_FLOORS,
        calls_most_ms: Mapping[CallState, int] = NO_LIMITS,
    ) -> Iterator[bytes]:
        """Yield the records of the new snapshot: ``base``, the old snapshot, merged with the added records.

        ``floors`` are those of receipts, ``calls_most_ms`` the limits on the times of finished calls.
        """
        versions: dict[tuple[str, str], int] = {}
        previous = b""
        kept = Kept(now_ms, floors, calls_most_ms)
        with ExitStack() as opened:
            sources = [_keyed(_without_floors(base, versions)), self._sorted()]
            sources += [_keyed(self._run(path, opened)) for path in self._runs]
            for name, _, body in heapq.merge(*sources):
                if name == previous:
                    continue
                previous = name
                if body[0] > FLOOR:
                    if kept.keeps(body):
                        yield body
                    continue
                if _expired(body, now_ms):
                    continue
                if _forgotten(body, tombstones_before_ms):
                    entry = decode(body)
                    key = (entry.namespace, entry.type)
                    versions[key] = max(versions.get(key, 0), entry.version)
                else:
                    yield body
        for (namespace, type_name), version in sorted(versions.items()):
            yield encode_floor(namespace, type_name, version)

    def close(self) -> None:
        """Remove the runs."""
        for path in self._runs:
            self._files.unlink(path)
        self._runs.clear()

    def _sorted(self) -> Iterator[_Keyed]:
        return ((name, -seq_of(body), body) for name, body in sorted(self._newest.items()))

    def _spill(self) -> None:
        path = self._folder / f"run-{len(self._runs)}.tmp"
        handle = self._files.open(path, create=True)
        self._runs.append(path)
        try:
            offset = 0
            pending = bytearray()
            for _, _, body in self._sorted():
                pending += framed(body)
                if len(pending) >= BLOCK:
                    handle.write_at(bytes(pending), offset)
                    offset += len(pending)
                    pending.clear()
            handle.write_at(bytes(pending), offset)
        finally:
            handle.close()
        self._newest.clear()
        self._held = 0

    def _run(self, path: Path, opened: ExitStack) -> Iterator[bytes]:
        handle = self._files.open(path)
        opened.callback(handle.close)
        size = handle.size()
        scan = Scan(handle, offset=0, size=size)
        yield from scan
        if scan.end != size:
            raise OSError(f"reading back {path} failed: {scan.stopped}")


def _keyed(bodies: Iterable[bytes]) -> Iterator[_Keyed]:
    return ((name_of(body), -seq_of(body), body) for body in bodies)


def _without_floors(base: Iterable[bytes], floors: dict[tuple[str, str], int]) -> Iterator[bytes]:
    for body in base:
        if body[0] == FLOOR:
            entry = decode(body)
            key = (entry.namespace, entry.type)
            floors[key] = max(floors.get(key, 0), entry.version)
        else:
            yield body


def _expired(body: bytes, now_ms: int) -> bool:
    flags = body[FULL.size - 1]
    return not flags & OBJECT and U64.unpack_from(body, STATE_AT)[0] <= now_ms


def _forgotten(body: bytes, before_ms: int) -> bool:
    flags = body[FULL.size - 1]
    return bool(flags & OBJECT) and not flags & ALIVE and decode(body).at_ms < before_ms
