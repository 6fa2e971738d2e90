"""Processor and memory limits of this process's control group, for control groups version 1 and 2.

Rules:

1. The process's group and all groups around it count: the smallest limit applies.
2. If the group's own folder is not visible, as in a container that sees only its own group, the root of the mounted
   tree is the container's group.
3. A file that is missing, or contains `max`, `-1` or 0 (which would not let anything run), sets no limit. Nothing here
   raises.
4. Used memory is the memory that the kernel counts towards a limit, minus what it reclaims before it kills a process:
   clean file pages, and kernel caches. Shared memory, sockets and the other processes of the group are included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final

MOUNTED: Final = Path("/sys/fs/cgroup")
PROC: Final = Path("/proc")
_UNBOUNDED: Final = float("inf")
_NO_LIMIT_BYTES: Final = 1 << 60  # version 1 expresses "no limit" as the largest number of pages


class ControlGroup:
    """The limits of a process, and the memory that its group uses."""

    def __init__(self, mounted: Path = MOUNTED, proc: Path = PROC) -> None:
        """Find the group of this process in ``proc/self/cgroup``, and its folder below ``mounted``."""
        own = _own_paths(proc)
        self._memory_v1 = _folders(mounted / "memory", own.get("memory", ""))
        self._processors_v1 = _folders(mounted / "cpu", own.get("cpu", ""))
        self._unified = _folders(mounted, own.get("", ""))

    def processors(self) -> float:
        """Return the number of processors it may use, possibly fractional; infinite without a limit."""
        quotas = [_quota(*_read(folder / "cpu.max").partition(" ")[::2]) for folder in self._unified]
        quotas += [
            _quota(_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us"))
            for folder in self._processors_v1
        ]
        return min(quotas, default=_UNBOUNDED)

    def memory_limit_bytes(self) -> float:
        """Return how many bytes it may use before the kernel kills it; infinite without a limit."""
        return min((limit for limit, _ in self._memory()), default=_UNBOUNDED)

    def memory_share(self) -> float:
        """Return the used share of the tightest limit; may exceed 1. 0 without a limit."""
        return max((used() / limit for limit, used in self._memory()), default=0.0)

    def _memory(self) -> Iterator[tuple[float, Callable[[], float]]]:
        """Yield each limit in bytes, with a function that returns the bytes used of it."""
        for folders, limit_name, used in (
            (self._unified, "memory.max", _used_unified),
            (self._memory_v1, "memory.limit_in_bytes", _used_v1),
        ):
            for folder in folders:
                limit = _bytes(_read(folder / limit_name))
                if limit < _UNBOUNDED:
                    yield limit, partial(used, folder)


def _own_paths(proc: Path) -> dict[str, str]:
    """Return the path of the process's group by controller. Version 2 has one group, under the empty name."""
    found: dict[str, str] = {}
    for line in _read(proc / "self" / "cgroup").splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        found |= dict.fromkeys(controllers.split(","), path)
    return found


def _folders(root: Path, path: str) -> list[Path]:
    """Return the folders of the group and of all groups around it; only ``root`` if the group is not visible."""
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
    stat = _stat(folder)  # the "total" figures include inner groups, as the usage does; kernel memory is not separate
    files = stat("total_active_file") + stat("total_inactive_file") - stat("total_dirty") - stat("total_writeback")
    return max(0.0, _count(_read(folder / "memory.usage_in_bytes")) - max(0.0, files))


def _stat(folder: Path) -> Callable[[str], float]:
    """Return a lookup function for the group's memory statistics; missing entries are 0."""
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
    """Return a whole number, or 0 if the text is not one or is too long to be meaningful."""
    number = float(text) if text.isdecimal() else 0.0  # not int(), which raises for thousands of digits
    return number if number < _UNBOUNDED else 0.0


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, ValueError):
        return ""
