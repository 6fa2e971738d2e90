"""How the embedded store refuses: always with the file, the offset and what can be done."""

from __future__ import annotations

from pathlib import Path

from goverse.errors import DataDamaged, DataNewer


def damaged(path: Path, offset: int, why: str, **extra: str) -> DataDamaged:
    """Return the error for data that is damaged or missing."""
    return DataDamaged(f"{path} is damaged at offset {offset}: {why}", file=str(path), offset=offset, **extra)


def newer(path: Path, found: int, known: int, offset: int = 0) -> DataNewer:
    """Return the error for a file, or a record in a file, of a later format."""
    return DataNewer(
        f"{path} has format {found} at offset {offset}, this release reads up to {known}; "
        "use the release that wrote it",
        file=str(path),
        offset=offset,
    )
