"""``python -m goverse_cli.backups``: gives finished dumps their names and removes the oldest ones.

The CronJobs of the chart run ``prepare FOLDER``, then `pg_dump` or `etcdctl snapshot save`, which write a partial file
of their Pod's own, then ``keep FOLDER KIND POD KEEP``. Only a dump that was read to its end gets there: that of
PostgreSQL is read by `pg_restore` beside `pg_dump`, that of etcd here. A file with a time in its name is therefore
whole, whoever else writes at the same time, and nothing is removed before the new one is on disk.
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
"""Age at which nobody writes a partial file any more: Jobs of backups are ended after a quarter of that."""

_SHA256 = hashlib.sha256().digest_size
_ETCD_PAGE = 512


def partial_of(folder: Path, kind: str, pod: str) -> Path:
    """Return where a Pod dumps to: two at once never write one file."""
    return folder / f"{kind}.{pod}.partial"


def prepare(folder: Path) -> list[Path]:
    """Make the folder of the release, remove what Pods that are long gone left of their dumps, and return that."""
    folder.mkdir(parents=True, exist_ok=True)
    left = [path for path in folder.glob("*.partial*") if time.time() - path.stat().st_mtime > ABANDONED_S]
    for path in left:
        path.unlink(missing_ok=True)
    return left


def keep(partial: Path, kind: str, count: int, now: datetime) -> tuple[Path, list[Path]]:
    """Name a dump of ``kind``, remove all but the newest ``count`` of its folder; return it and what was removed.

    Raises:
        Failure: there is no dump, it is empty, or it is not whole.
    """
    if not partial.is_file() or not partial.stat().st_size:
        raise Failure(f"{partial} is not there or empty: there is no new backup, and the old ones are kept")
    if count < 1:
        raise Failure("of backups at least one has to be kept", exit_code=ExitCode.USAGE)
    if kind == "etcd" and not _snapshot_whole(partial):
        raise Failure(f"{partial} is damaged or not whole: there is no new backup, and the old ones are kept")
    folder = partial.parent
    _to_disk(partial)
    while (named := folder / f"{kind}-{now:%Y%m%dT%H%M%SZ}").exists():  # of another one in this second
        now += timedelta(seconds=1)
    partial.rename(named)
    _to_disk(folder)
    old = sorted(folder.glob(f"{kind}-*Z"), reverse=True)[count:]
    for path in old:
        path.unlink(missing_ok=True)  # another one removes the same
    return named, old


def _snapshot_whole(path: Path) -> bool:
    """Tell whether a snapshot of etcd ends with the checksum of all that is in front of it."""
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
    """Prepare, or keep, and tell."""
    what, folder, *words = sys.argv[1:]
    try:
        if what == "prepare":
            for path in prepare(Path(folder)):
                sys.stdout.write(f"removed {path.name}, which was never finished\n")
            return ExitCode.OK
        kind, pod, count = words
        named, removed = keep(partial_of(Path(folder), kind, pod), kind, int(count), datetime.now(UTC))
    except (Failure, OSError) as error:
        return tell(error, as_json=False, debug=False)
    sys.stdout.write(f"kept {named.name}, {named.stat().st_size} bytes; removed {len(removed)}\n")
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
