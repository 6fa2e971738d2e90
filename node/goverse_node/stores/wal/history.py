"""One object as it was: found in the snapshots and the log of a data directory. Reads only, also beside a server."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from goverse.errors import RestoreRefused
from goverse.model.keys import ObjectKey
from goverse_node.stores.encoding import COMMIT, OBJECT, Body, decode
from goverse_node.stores.wal.compact import whole_snapshot
from goverse_node.stores.wal.directory import DataDirectory
from goverse_node.stores.wal.files import Files, RealFiles
from goverse_node.stores.wal.log import Log, Progress
from goverse_node.stores.wal.restore import position_of


@dataclass(frozen=True, slots=True)
class PastObject:
    """An object as it was: the position and the version of that state."""

    commit_seq: int
    version: int
    state: bytes
    state_version: int


def object_at(
    source: Path,
    key: ObjectKey,
    *,
    to_seq: int | None = None,
    to_time_ms: int | None = None,
    files: Files | None = None,
    progress: Progress | None = None,
) -> PastObject:
    """Return ``key`` as it was at a position, or before the first record that was written after a time.

    Raises:
        RestoreRefused: the point is not covered any more, or the object did not exist then.
        DataDamaged: a record up to that point does not match its checksum.
    """
    real: Files = files or RealFiles()
    directory = DataDirectory(source)
    manifest = directory.read_manifest()
    seq = position_of(directory, manifest, real, to_seq=to_seq, to_time_ms=to_time_ms)
    base = whole_snapshot(directory, manifest, seq, real)
    after = base.entry.seq if base is not None else 0
    found = _newest(base.bodies(real), key) if base is not None else None
    found = _newest(Log(directory, manifest, real, progress).records(after, seq), key) or found
    if found is None:
        raise RestoreRefused(f"{key} did not exist at position {seq}", commit_seq=str(seq))
    if found.state is None:
        raise RestoreRefused(f"{key} was deleted at position {found.seq}", commit_seq=str(found.seq))
    return PastObject(found.seq, found.version, found.state, found.state_version)


def _newest(bodies: Iterable[bytes], key: ObjectKey) -> Body | None:
    """Return the last record of an object; all bodies are read, because damage shows only then."""
    name, found = "".join(key).encode(), None
    for body in bodies:
        if name in body and body[0] == COMMIT:
            entry = decode(body)
            if entry.key == key and entry.flags & OBJECT:
                found = entry
    return found
