"""What the control group of this process allows it, in version 1 and 2 of control groups: processors and memory.

Rules:

1. The group that the process is in counts, and every group around it: the smallest bound wins.
2. Where the group's own folder is not to be seen, as in a container that sees only its own, the root of what is mounted
   is that of the container.
3. A file that is missing, or says `max` or `-1`, bounds nothing. Nothing here raises.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

MOUNTED: Final = Path("/sys/fs/cgroup")
PROC: Final = Path("/proc")
_UNBOUNDED: Final = float("inf")
_NO_LIMIT_BYTES: Final = 1 << 60  # version 1 writes "no limit" as the largest number of pages


class ControlGroup:
    """The bounds of a process, and what its group uses."""

    def __init__(self, mounted: Path = MOUNTED, proc: Path = PROC) -> None:
        """Find the group of this process below ``mounted``; read ``proc/self/cgroup`` for it."""
        own = _own_paths(proc)
        self._memory_v1 = _folders(mounted / "memory", own.get("memory", ""))
        self._processors_v1 = _folders(mounted / "cpu", own.get("cpu", ""))
        self._unified = _folders(mounted, own.get("", ""))

    def processors(self) -> float:
        """Return how many processors' worth of time it may use; infinite where nothing bounds it."""
        quotas = [_quota(*_read(folder / "cpu.max").partition(" ")[::2]) for folder in self._unified]
        quotas += [
            _quota(_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us"))
            for folder in self._processors_v1
        ]
        return min(quotas, default=_UNBOUNDED)

    def memory_limit_bytes(self) -> float:
        """Return how many bytes it may use before the kernel ends it; infinite where nothing bounds it."""
        limits = [_bytes(_read(folder / "memory.max")) for folder in self._unified]
        limits += [_bytes(_read(folder / "memory.limit_in_bytes")) for folder in self._memory_v1]
        return min(limits, default=_UNBOUNDED)

    def memory_used_bytes(self) -> int:
        """Return the bytes of all its processes that the kernel cannot take back; 0 where it does not tell.

        The page cache counts towards the limit as well, and goes before anything is killed.
        """
        for folder, name in ((self._unified[0], "anon"), (self._memory_v1[0], "total_rss")):
            for line in _read(folder / "memory.stat").splitlines():
                key, _, value = line.partition(" ")
                if key == name and value.isdecimal():
                    return int(value)
        return 0


def _own_paths(proc: Path) -> dict[str, str]:
    """Return the path of the process's group by controller; version 2 has one for all, named by nothing."""
    found: dict[str, str] = {}
    for line in _read(proc / "self" / "cgroup").splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        found |= dict.fromkeys(controllers.split(","), path)
    return found


def _folders(root: Path, path: str) -> list[Path]:
    """Return the folder of the group and of those around it; that of ``root`` alone where it is not to be seen."""
    inner = PurePosixPath(path.lstrip("/"))
    if ".." in inner.parts or not (root / inner).is_dir():
        return [root]
    return list(_upwards(root, inner))


def _upwards(root: Path, inner: PurePosixPath) -> Iterator[Path]:
    yield root / inner
    for outer in inner.parents:
        yield root / outer


def _quota(quota: str, period: str) -> float:
    if not (quota.isdecimal() and period.isdecimal() and int(quota) and int(period)):
        return _UNBOUNDED
    return int(quota) / int(period)


def _bytes(text: str) -> float:
    return float(text) if text.isdecimal() and int(text) < _NO_LIMIT_BYTES else _UNBOUNDED


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, ValueError):
        return ""
