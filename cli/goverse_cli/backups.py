"""``python -m goverse_cli.backups FOLDER KIND KEEP``: gives a finished dump its name and removes the oldest ones.

The CronJobs of the chart run it after `pg_dump` and `etcdctl snapshot save`, which write ``KIND.partial``. A file with
a time in its name is therefore whole, and nothing is removed before the new one is on disk.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from goverse_cli.failure import ExitCode, Failure, tell


def keep(folder: Path, kind: str, count: int, now: datetime) -> tuple[Path, list[Path]]:
    """Name the dump of ``kind`` that is there, remove all but the newest ``count``; return it and what was removed.

    Raises:
        Failure: there is no dump, or it is empty.
    """
    partial = folder / f"{kind}.partial"
    if not partial.is_file() or not partial.stat().st_size:
        raise Failure(f"{partial} is not there or empty: there is no new backup, and the old ones are kept")
    if count < 1:
        raise Failure("of backups at least one has to be kept", exit_code=ExitCode.USAGE)
    named = folder / f"{kind}-{now:%Y%m%dT%H%M%SZ}"
    for path in (partial, folder):
        if path is folder:
            partial.rename(named)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    old = sorted(folder.glob(f"{kind}-*Z"), reverse=True)[count:]
    for path in old:
        path.unlink()
    return named, old


def main() -> int:
    """Keep and tell."""
    folder, kind, count = sys.argv[1:]
    try:
        named, removed = keep(Path(folder), kind, int(count), datetime.now(UTC))
    except (Failure, OSError) as error:
        return tell(error, as_json=False, debug=False)
    sys.stdout.write(f"kept {named.name}, {named.stat().st_size} bytes; removed {len(removed)}\n")
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
