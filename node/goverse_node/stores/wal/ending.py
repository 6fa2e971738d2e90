"""The end of the log when a process takes over: what was torn is cut, and the next record gets a fresh segment."""

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
    """Make what is about to be served durable, and see the disk's view of it.

    After a failed sync the system may believe pages clean that the disk never got: dropping them shows the
    truth.
    """
    handle = files.open(directory.segment(manifest.segments[-1]), write=True)
    try:
        handle.sync()
        handle.drop_cache()
    finally:
        handle.close()


def take_over(directory: DataDirectory, manifest: Manifest, tail: Tail, files: Files) -> Manifest:
    """Cut off what is behind the last whole record and make an empty last segment; return the manifest then
    valid.

    An empty last segment serves again, so that restarts do not pile up files.
    """
    path = directory.segment(tail.first_seq)
    if tail.torn:
        _log.warning(
            "%s: cut at offset %d (%s); nothing behind it was acknowledged, the log ends with %d",
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
    """Make an empty segment, durably; it counts once a manifest names it."""
    handle = files.open(directory.segment(first_seq), create=True)
    try:
        handle.write_at(encode_header(manifest.origin, first_seq, manifest.created_ms), 0)
        handle.sync()
    finally:
        handle.close()
    files.sync_directory(directory.segments)
