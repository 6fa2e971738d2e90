"""Processor and memory limits of this process, and its use of them. A control group's limits take precedence over the
machine's."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from math import ceil, inf
from pathlib import Path

from goverse.telemetry.control_group import MOUNTED, PROC, ControlGroup


@dataclass(frozen=True, slots=True)
class Allowance:
    """The resources that a process may use: whole ``processors`` and ``memory_bytes``.

    ``memory_bounded`` is True if a control group sets the memory limit. Otherwise the limit is the machine's memory,
    which other processes use as well.
    """

    processors: int
    memory_bytes: int
    memory_bounded: bool

    @classmethod
    def read(cls, mounted: Path = MOUNTED, proc: Path = PROC) -> Allowance:
        """Read the limits; a fraction of a processor counts as one."""
        group = ControlGroup(mounted, proc)
        quota, limit, machine = group.processors(), group.memory_limit_bytes(), _machine_memory(proc)
        own = len(os.sched_getaffinity(0))
        memory = min(limit, machine)
        return cls(min(own, ceil(quota)) if quota < inf else own, int(memory) if memory < inf else 0, limit < machine)


class Resources:
    """Used shares of processor and memory, 0 to 1.

    One event loop uses at most one processor, so further processors do not make a node less busy.
    """

    def __init__(self, mounted: Path = MOUNTED, proc: Path = PROC) -> None:
        """Read the limits once; they are those of the container."""
        self._statm = proc / "self" / "statm"
        self._page_bytes = os.sysconf("SC_PAGE_SIZE")
        self._group = ControlGroup(mounted, proc)
        self.processors = min(1.0, self._group.processors(), float(len(os.sched_getaffinity(0))))
        self.memory_bytes = min(self._group.memory_limit_bytes(), _machine_memory(proc))
        self._used_s = time.process_time()
        self._at = time.monotonic()

    def processor(self) -> float:
        """Return the share used since the last call."""
        used_s, now = time.process_time(), time.monotonic()
        elapsed_s = max(now - self._at, 1e-3)
        share = (used_s - self._used_s) / elapsed_s / self.processors
        self._used_s, self._at = used_s, now
        return min(1.0, max(0.0, share))

    def memory(self) -> float:
        """Return the share used now: by this process or, if higher, by one of its control groups."""
        return min(1.0, max(self._resident_bytes() / self.memory_bytes, self._group.memory_share()))

    def _resident_bytes(self) -> int:
        return int(self._statm.read_text().split()[1]) * self._page_bytes


def _machine_memory(proc: Path) -> float:
    try:
        lines = (proc / "meminfo").read_text().splitlines()
    except OSError:
        return inf
    for line in lines:
        if line.startswith("MemTotal:"):
            return float(line.split()[1]) * 1024
    return inf
