"""The end of the log at a start: a torn write is cut off, and new records go into an empty segment."""

from __future__ import annotations

import logging

from goverse_node.stores.wal import manifest as manifests
from goverse_node.stores.wal.directory import DataDirectory
from goverse_node.stores.wal.files import Files
from goverse_node.stores.wal.log import Tail
from goverse_node.stores.wal.manifest import Manifest
from goverse_node.stores.wal.segment import encode_header

_log = logging.getLogger("goverse.store.wal")


def settle_pages(directory: DataDirectory, manifest: Manifest, files: Files) -> None:
    """Sync the last segment and drop it from the page cache, so that recovery reads what is on the disk.

    After a failed sync the operating system can hold pages that it considers clean but that never reached the disk.
    """
    handle = files.open(directory.segment(manifest.segments[-1]), write=True)
    try:
        handle.sync()
        handle.drop_cache()
    finally:
        handle.close()


def take_over(directory: DataDirectory, manifest: Manifest, tail: Tail, files: Files) -> Manifest:
    """Cut the log off after its last whole record and add an empty segment. Returns the new manifest.

    If the last segment is empty it is reused, so that restarts do not accumulate files.
    """
    path = directory.segment(tail.first_seq)
    if tail.torn:
        _log.warning(
            "%s: cut at offset %d (%s); nothing after it was acknowledged, the last position is %d",
            path,
            tail.end,
            tail.torn,
            tail.last_seq,
        )
    first = tail.last_seq + 1
    handle = files.open(path, write=True)
    try:
        if first == tail.first_seq:
            handle.write_at(encode_header(manifest.origin, first, manifest.created_ms), 0)
        handle.truncate(tail.end)
        handle.sync()
    finally:
        handle.close()
    if first != tail.first_seq:
        create_segment(directory, manifest, first, files)
        manifest = manifest.with_segment(first)
        manifests.write(manifest, directory.manifest, files)
    return manifest


def create_segment(directory: DataDirectory, manifest: Manifest, first_seq: int, files: Files) -> None:
    """Create an empty segment, durably. It belongs to the store as soon as a manifest names it."""
    handle = files.open(directory.segment(first_seq), create=True)
    try:
        handle.write_at(encode_header(manifest.origin, first_seq, manifest.created_ms), 0)
        handle.sync()
    finally:
        handle.close()
    files.sync_directory(directory.segments)
