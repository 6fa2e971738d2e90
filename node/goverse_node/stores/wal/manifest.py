"""``manifest.json``: the list of files that make up the store. Files that it does not name are not part of the store.

The manifest is replaced as a whole: written under another name, synced, renamed, and the directory synced. A reader
therefore sees either the old or the new manifest.

The checksum is computed over the file with the digits of the checksum replaced by zeros. It is verified before any
other field is read, in this format and in all later ones.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from goverse_node.stores.wal.files import Files
from goverse_node.stores.wal.refusals import damaged, newer
from goverse_node.stores.wal.segment import Origin

FORMAT: Final = 1
_CHECKSUM: Final = re.compile(rb'^  "checksum": "([0-9a-f]{8})"', re.MULTILINE)
_ZEROS: Final = b"00000000"


@dataclass(frozen=True, slots=True)
class SnapshotEntry:
    """A snapshot of everything up to position ``seq``. Its newest record was written at ``last_ms``."""

    seq: int
    size: int
    checksum: int
    objects: int
    replies: int
    last_ms: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of a store, oldest first.

    Attributes:
        origin: the store's id and the generation of its change feed.
        created_ms: the time at which this generation was created.
        segments: the first position of each segment. New records go into the last one.
        snapshots: the snapshots.
    """

    origin: Origin
    created_ms: int
    segments: tuple[int, ...]
    snapshots: tuple[SnapshotEntry, ...] = ()

    def with_segment(self, first_seq: int) -> Manifest:
        """Return a manifest with one more segment."""
        return replace(self, segments=(*self.segments, first_seq))

    def with_snapshot(self, entry: SnapshotEntry, *, base_seq: int = 0) -> Manifest:
        """Return a manifest with one more snapshot, which was made from the one at ``base_seq``.

        Snapshots between the two were skipped because they are damaged. They are left out.
        """
        others = tuple(old for old in self.snapshots if old.seq <= base_seq or old.seq > entry.seq)
        return replace(self, snapshots=tuple(sorted((*others, entry), key=lambda one: one.seq)))

    def without_snapshot(self, seq: int) -> Manifest:
        """Return a manifest without the snapshot at ``seq``."""
        return replace(self, snapshots=tuple(entry for entry in self.snapshots if entry.seq != seq))

    def trimmed(self, snapshots_kept: int) -> Manifest:
        """Return a manifest with the newest ``snapshots_kept`` snapshots and the segments after the oldest of them.

        With fewer snapshots than that, the manifest is returned unchanged: the whole log is kept in case a snapshot is
        damaged.
        """
        if len(self.snapshots) < snapshots_kept:
            return self
        snapshots = self.snapshots[-snapshots_kept:]
        oldest = snapshots[0].seq
        ends = (*self.segments[1:], None)
        segments = tuple(
            first for first, end in zip(self.segments, ends, strict=True) if end is None or end > oldest + 1
        )
        return replace(self, snapshots=snapshots, segments=segments)

    def trimmed_to(self, verified: set[int]) -> Manifest:
        """Return a manifest trimmed to the oldest of its snapshots whose position is in ``verified``."""
        for at, entry in enumerate(self.snapshots):
            if entry.seq in verified:
                return self.trimmed(len(self.snapshots) - at)
        return self


def encode(manifest: Manifest) -> bytes:
    """Encode a manifest as the content of its file."""
    document: dict[str, Any] = {
        "format": FORMAT,
        "checksum": _ZEROS.decode(),
        "store_id": manifest.origin.store_id,
        "generation": manifest.origin.generation,
        "created_ms": manifest.created_ms,
        "snapshots": [
            {
                "seq": entry.seq,
                "size": entry.size,
                "checksum": f"{entry.checksum:08x}",
                "objects": entry.objects,
                "replies": entry.replies,
                "last_ms": entry.last_ms,
            }
            for entry in manifest.snapshots
        ],
        "segments": list(manifest.segments),
    }
    return seal(json.dumps(document, indent=2).encode() + b"\n")


def seal(content: bytes) -> bytes:
    """Replace the zeros in ``content`` by its checksum."""
    return content.replace(b'"checksum": "00000000"', b'"checksum": "%08x"' % crc32(content), 1)


def decode(content: bytes, path: Path) -> Manifest:
    """Decode the content of a manifest file.

    Raises:
        DataDamaged: the checksum does not match.
        DataNewer: a newer release wrote it.
    """
    match = _CHECKSUM.search(content)
    at = match.start(1) if match is not None else 0
    zeroed = content[:at] + _ZEROS + content[at + len(_ZEROS) :]
    if match is None or int(match[1], 16) != crc32(zeroed):
        why = "the checksum does not match; the records are untouched, and 'goverse restore' can read them"
        raise damaged(path, at, why)
    document: dict[str, Any] = json.loads(content)
    if document["format"] > FORMAT:
        raise newer(path, document["format"], FORMAT)
    return Manifest(
        Origin(document["store_id"], document["generation"]),
        document["created_ms"],
        tuple(document["segments"]),
        tuple(SnapshotEntry(**{**entry, "checksum": int(entry["checksum"], 16)}) for entry in document["snapshots"]),
    )


def write(manifest: Manifest, path: Path, files: Files) -> None:
    """Replace the manifest, durably."""
    install(manifest, path, files)
    files.sync_directory(path.parent)


def install(manifest: Manifest, path: Path, files: Files) -> None:
    """Replace the manifest. The change becomes durable when the directory is synced.

    Raises:
        OSError: the manifest was not replaced.
    """
    aside = path.with_suffix(".json.tmp")
    handle = files.open(aside, create=True)
    try:
        handle.write_at(encode(manifest), 0)
        handle.sync()
    finally:
        handle.close()
    files.replace(aside, path)
