"""An earlier state of one object, from the snapshots and the log of a data directory.

The directory is only read, so a server may use it at the same time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from goverse.errors import RestoreRefused, UnknownType
from goverse.model.keys import ObjectKey
from goverse.model.near_names import near_name
from goverse_node.stores.encoding import COMMIT, EFFECTS, OBJECT, Body, decode
from goverse_node.stores.wal.compact import whole_snapshot
from goverse_node.stores.wal.directory import DataDirectory
from goverse_node.stores.wal.files import Files, RealFiles
from goverse_node.stores.wal.log import Log, Progress
from goverse_node.stores.wal.restore import position_of, time_text

_COMMITS: Final = frozenset({COMMIT, EFFECTS})


@dataclass(frozen=True, slots=True)
class PastObject:
    """An earlier state of an object.

    Attributes:
        commit_seq: the position of that state.
        version: the version of that state.
        state: the state as JSON.
        state_version: its state version.
        creation: the digest of the arguments that the object had been created with. It belongs to the state: if an
            object is deleted and created again, it gets another one.
    """

    commit_seq: int
    version: int
    state: bytes
    state_version: int
    creation: bytes | None


def object_at(
    source: Path,
    key: ObjectKey,
    *,
    to_seq: int | None = None,
    to_time_ms: int | None = None,
    files: Files | None = None,
    progress: Progress | None = None,
) -> PastObject:
    """Return the state of ``key`` at a position, or before the first record that was written after a time.

    Raises:
        UnknownType: the directory has no objects of that type. The message suggests the closest name.
        RestoreRefused: the point in time is no longer covered, or the object did not exist then.
        DataDamaged: a record up to that point does not match its checksum.
    """
    real: Files = files or RealFiles()
    directory = DataDirectory(source)
    manifest = directory.read_manifest()
    seq = position_of(directory, manifest, real, to_seq=to_seq, to_time_ms=to_time_ms)
    base = whole_snapshot(directory, manifest, seq, real)
    after = base.entry.seq if base is not None else 0
    found = _newest(base.bodies(real), key) if base is not None else None
    log = Log(directory, manifest, real, progress)
    found = _newest(log.records(after, seq), key) or found
    if found is None:
        known = _types(base.bodies(real) if base is not None else ()) | _types(log.records(after, None))
        if known and key.type not in known:
            hint = f"did you mean {near!r}?" if (near := near_name(key.type, known)) else ""
            raise UnknownType(
                f"{source} has no objects of type {key.type!r}; {hint or 'it has ' + ', '.join(sorted(known))}"
            )
        when = f"{time_text(to_time_ms)}, which is position {seq}" if to_time_ms is not None else f"position {seq}"
        raise RestoreRefused(f"{key} did not exist at {when}", commit_seq=str(seq))
    if found.state is None:
        raise RestoreRefused(f"{key} was deleted at position {found.seq}", commit_seq=str(found.seq))
    return PastObject(found.seq, found.version, found.state, found.state_version, found.creation)


def _newest(bodies: Iterable[bytes], key: ObjectKey) -> Body | None:
    """Return the last record of an object. All bodies are read, because damage is only noticed then."""
    name, found = "".join(key).encode(), None
    for body in bodies:
        if name in body and body[0] in _COMMITS:
            entry = decode(body)
            if entry.key == key and entry.flags & OBJECT:
                found = entry
    return found


def _types(bodies: Iterable[bytes]) -> set[str]:
    return {entry.type for entry in map(decode, (body for body in bodies if body[0] in _COMMITS))}
