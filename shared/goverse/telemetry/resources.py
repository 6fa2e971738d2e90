"""What this process may use of processor and memory, and what it uses: limits of its control group count before the
machine's."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

_GROUP: Final = Path("/sys/fs/cgroup")
_PROC: Final = Path("/proc")


class Resources:
    """Shares of processor and memory, 0 to 1.

    One event loop uses one processor, however many there are, so more than one does not make a node less busy.
    """

    def __init__(self, group: Path = _GROUP, proc: Path = _PROC) -> None:
        """Read the limits once; they are those of the container."""
        self._statm = proc / "self" / "statm"
        self._page_bytes = os.sysconf("SC_PAGE_SIZE")
        self.processors = min(1.0, _processor_quota(group), float(len(os.sched_getaffinity(0))))
        self.memory_bytes = min(_memory_limit(group), _machine_memory(proc))
        self._used_s = time.process_time()
        self._at = time.monotonic()

    def processor(self) -> float:
        """Return the share that was used since the last time."""
        used_s, now = time.process_time(), time.monotonic()
        elapsed_s = max(now - self._at, 1e-3)
        share = (used_s - self._used_s) / elapsed_s / self.processors
        self._used_s, self._at = used_s, now
        return min(1.0, max(0.0, share))

    def memory(self) -> float:
        """Return the share that is used now."""
        resident = int(self._statm.read_text().split()[1]) * self._page_bytes
        return min(1.0, resident / self.memory_bytes)


def _processor_quota(group: Path) -> float:
    quota, _, period = _read(group / "cpu.max").partition(" ")
    if not quota:  # version 1 of control groups
        quota, period = _read(group / "cpu" / "cpu.cfs_quota_us"), _read(group / "cpu" / "cpu.cfs_period_us")
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() and int(quota) else float("inf")


def _memory_limit(group: Path) -> float:
    limit = _read(group / "memory.max") or _read(group / "memory" / "memory.limit_in_bytes")
    return float(limit) if limit.isdecimal() and int(limit) else float("inf")


def _machine_memory(proc: Path) -> float:
    for line in _read(proc / "meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return float(line.split()[1]) * 1024
    return float("inf")


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
