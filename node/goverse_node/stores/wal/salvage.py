"""Reconstruction of a manifest that is damaged, or that names missing files.

Only ``goverse restore`` uses it, to read a damaged directory into a new one. A store that serves calls never guesses.
The reconstructed list of files is only a starting point: the restore verifies all positions and checksums.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from goverse.errors import DataDamaged
from goverse_node.stores.wal import manifest as manifests
from goverse_node.stores.wal.directory import DataDirectory
from goverse_node.stores.wal.files import Files
from goverse_node.stores.wal.manifest import Manifest, SnapshotEntry
from goverse_node.stores.wal.segment import RECORDS_AT, Origin, read_origin
from goverse_node.stores.wal.snapshot import read_entry

_log = logging.getLogger("goverse.store.wal")


def usable_manifest(directory: DataDirectory, files: Files) -> Manifest:
    """Return the manifest. If it is damaged, reconstruct it from the headers of the files in the directory.

    Raises:
        DataDamaged: no segment and no snapshot is readable.
        DataNewer: a newer release wrote the manifest.
    """
    try:
        return directory.read_manifest()
    except DataDamaged as damage:
        _log.warning("%s; continuing with the files that exist", damage.detail)
    try:
        manifest = manifests.decode(directory.manifest.read_bytes(), directory.manifest)
    except (DataDamaged, OSError):
        return _from_files(directory, files)
    return replace(
        manifest,
        segments=tuple(first for first in manifest.segments if directory.segment(first).is_file()),
        snapshots=tuple(entry for entry in manifest.snapshots if directory.snapshot(entry.seq).is_file()),
    )


def _from_files(directory: DataDirectory, files: Files) -> Manifest:
    origins: list[Origin] = []
    segments: list[int] = []
    snapshots: list[SnapshotEntry] = []
    for path in _numbered(directory.segments, ".wal"):
        origin = _origin_of(path, files)
        if origin is not None:
            origins.append(origin)
        segments.append(int(path.stem))
    for path in _numbered(directory.snapshots, ".snap"):
        found = read_entry(path, files)
        if found is not None:
            origins.append(found[0])
            snapshots.append(found[1])
    if not origins:
        raise DataDamaged(
            f"{directory.root} contains no readable segment or snapshot (offset 0)",
            file=str(directory.root),
            offset=0,
        )
    return Manifest(origins[-1], 0, tuple(segments), tuple(snapshots))


def _numbered(folder: Path, suffix: str) -> list[Path]:
    return sorted(path for path in folder.glob(f"*{suffix}") if path.stem.isdigit())


def _origin_of(path: Path, files: Files) -> Origin | None:
    handle = files.open(path)
    try:
        return read_origin(handle.read_at(RECORDS_AT, 0))
    finally:
        handle.close()
