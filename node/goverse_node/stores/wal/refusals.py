"""Errors of the embedded store. Their messages name the file, the offset and the remedy."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Final

from goverse.errors import DataDamaged, DataNewer, StoreFailed, Unavailable

FULL_ERRNOS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
DESCRIPTOR_ERRNOS: Final = frozenset({errno.EMFILE, errno.ENFILE})


def temporary_refusal(error: Exception, root: Path) -> Unavailable | None:
    """Return ``Unavailable`` for a temporary error that changed nothing, such as a full disk; None for any other."""
    if not isinstance(error, OSError):
        return None
    if error.errno in FULL_ERRNOS:
        return Unavailable(f"the disk is full: {root} ({error.strerror})")
    return Unavailable(f"too many open files: {root}") if error.errno in DESCRIPTOR_ERRNOS else None


def unusable(what: str, error: OSError, option: str) -> StoreFailed:
    """Return the error for a directory that cannot be read or written. ``option`` is the option that selects it."""
    room = "free space on its disk, or " if error.errno in FULL_ERRNOS else ""
    return StoreFailed(f"{what}: {error.strerror or error}; {room}choose another directory with {option}")


def damaged(path: Path, offset: int, why: str, **extra: str) -> DataDamaged:
    """Return the error for data that is damaged or missing."""
    return DataDamaged(f"{path} is damaged at offset {offset}: {why}", file=str(path), offset=offset, **extra)


def newer(path: Path, found: int, known: int, offset: int = 0) -> DataNewer:
    """Return the error for a file, or a record in a file, whose format is newer than this release knows."""
    return DataNewer(
        f"{path} has format {found} at offset {offset}, this release reads up to {known}; "
        "use the release that wrote it",
        file=str(path),
        offset=offset,
    )
