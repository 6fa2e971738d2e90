"""What the control group of this process allows it, in version 1 and 2 of control groups: processors and memory.

Rules:

1. The group that the process is in counts, and every group around it: the smallest bound wins.
2. Where the group's own folder is not to be seen, as in a container that sees only its own, the root of what is mounted
   is that of the container.
3. A file that is missing, or says `max`, `-1` or 0 (in which nothing could run), bounds nothing. Nothing here raises.
4. Used is what the kernel counts towards a limit, without what it takes back before it kills: clean pages of files, and
   kernel memory that is a cache. So shared memory counts, and so do sockets, and whoever else is in the group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
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
        return min((limit for limit, _ in self._memory()), default=_UNBOUNDED)

    def memory_share(self) -> float:
        """Return the used share of the limit that is nearest, from 0; it may pass 1. 0 where nothing bounds it."""
        return max((used() / limit for limit, used in self._memory()), default=0.0)

    def _memory(self) -> Iterator[tuple[float, Callable[[], float]]]:
        """Go through the groups that have a limit: its bytes, and what tells the bytes that count towards it."""
        for folders, limit_name, used in (
            (self._unified, "memory.max", _used_unified),
            (self._memory_v1, "memory.limit_in_bytes", _used_v1),
        ):
            for folder in folders:
                limit = _bytes(_read(folder / limit_name))
                if limit < _UNBOUNDED:
                    yield limit, partial(used, folder)


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


def _used_unified(folder: Path) -> float:
    stat = _stat(folder)
    files = stat("active_file") + stat("inactive_file") - stat("file_dirty") - stat("file_writeback")
    return max(0.0, _count(_read(folder / "memory.current")) - max(0.0, files) - stat("slab_reclaimable"))


def _used_v1(folder: Path) -> float:
    stat = _stat(folder)  # "total" counts the groups inside, as the usage does; kernel memory is not told apart
    files = stat("total_active_file") + stat("total_inactive_file") - stat("total_dirty") - stat("total_writeback")
    return max(0.0, _count(_read(folder / "memory.usage_in_bytes")) - max(0.0, files))


def _stat(folder: Path) -> Callable[[str], float]:
    """Return what looks a number of the group's statistics up; 0 for what is not there."""
    lines = (line.partition(" ") for line in _read(folder / "memory.stat").splitlines())
    numbers = {name: value for name, _, value in lines}
    return lambda name: _count(numbers.get(name, ""))


def _quota(quota: str, period: str) -> float:
    time, each = _count(quota), _count(period)
    return time / each if time and each else _UNBOUNDED


def _bytes(text: str) -> float:
    limit = _count(text)
    return limit if 0 < limit < _NO_LIMIT_BYTES else _UNBOUNDED


def _count(text: str) -> float:
    """Return a whole number, or 0 for what is none, or is so long that it means nothing."""
    number = float(text) if text.isdecimal() else 0.0  # not int(): that raises for thousands of digits
    return number if number < _UNBOUNDED else 0.0


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, ValueError):
        return ""
