"""``python -m goverse_cli.backups``: names finished backups and deletes the oldest ones.

The CronJobs of the chart run three steps:

1. ``prepare FOLDER`` creates the folder and deletes abandoned partial files.
2. `pg_dump` or `etcdctl snapshot save` writes a partial file whose name contains the Pod's name.
3. ``keep FOLDER KIND POD KEEP`` verifies and renames the partial file, and deletes all but the newest KEEP backups.

Step 3 is reached only by a backup that was read to its end: `pg_restore` reads the dump of PostgreSQL beside `pg_dump`,
and this module reads the snapshot of etcd. So a file with a time in its name is complete even if several Pods write
backups at the same time, and an old backup is deleted only after the new one is on disk.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from goverse_cli.failure import ExitCode, Failure, tell

ABANDONED_S = 24 * 3600
"""Age after which a partial file is abandoned. Backup Jobs are ended after a quarter of that time."""

_SHA256 = hashlib.sha256().digest_size
_ETCD_PAGE = 512


def partial_of(folder: Path, kind: str, pod: str) -> Path:
    """Return the partial file of a Pod. It contains the Pod's name, so concurrent Pods write different files."""
    return folder / f"{kind}.{pod}.partial"


def prepare(folder: Path) -> list[Path]:
    """Create the backup folder, delete abandoned partial files and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    left = [path for path in folder.glob("*.partial*") if time.time() - path.stat().st_mtime > ABANDONED_S]
    for path in left:
        path.unlink(missing_ok=True)
    return left


def keep(partial: Path, kind: str, count: int, now: datetime) -> tuple[Path, list[Path]]:
    """Rename a complete partial file to its final name and delete all but the newest ``count`` backups of its kind.

    Returns:
        The new backup, and the backups that were deleted.

    Raises:
        Failure: the partial file is missing, empty or incomplete, or ``count`` is less than 1.
    """
    if not partial.is_file() or not partial.stat().st_size:
        raise Failure(f"no new backup: {partial} is missing or empty; all old backups are kept")
    if count < 1:
        raise Failure(f"the number of backups to keep is {count}; it must be at least 1", exit_code=ExitCode.USAGE)
    if kind == "etcd" and not _snapshot_whole(partial):
        raise Failure(f"no new backup: {partial} is damaged or incomplete; all old backups are kept")
    folder = partial.parent
    _to_disk(partial)
    while (named := folder / f"{kind}-{now:%Y%m%dT%H%M%SZ}").exists():  # another Pod finished in the same second
        now += timedelta(seconds=1)
    partial.rename(named)
    _to_disk(folder)
    old = sorted(folder.glob(f"{kind}-*Z"), reverse=True)[count:]
    for path in old:
        path.unlink(missing_ok=True)  # another Pod may delete the same file
    return named, old


def _snapshot_whole(path: Path) -> bool:
    """Return True if a snapshot of etcd ends with the SHA-256 checksum of everything before it."""
    left = path.stat().st_size - _SHA256
    if left <= 0 or left % _ETCD_PAGE:
        return False
    checksum = hashlib.sha256()
    with path.open("rb") as file:
        while left:
            piece = file.read(min(left, 1 << 20))
            checksum.update(piece)
            left -= len(piece)
        return file.read() == checksum.digest()


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def main() -> int:
    """Run ``prepare`` or ``keep`` and print the result."""
    what, folder, *words = sys.argv[1:]
    try:
        if what == "prepare":
            for path in prepare(Path(folder)):
                sys.stdout.write(f"deleted the unfinished backup {path.name}\n")
            return ExitCode.OK
        kind, pod, count = words
        named, removed = keep(partial_of(Path(folder), kind, pod), kind, int(count), datetime.now(UTC))
    except (Failure, OSError) as error:
        return tell(error, as_json=False, debug=False)
    sys.stdout.write(f"created {named.name}, {named.stat().st_size} bytes; deleted {len(removed)} old backups\n")
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
