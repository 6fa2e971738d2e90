"""CPU time of a process with all its threads. On a shared machine it is more stable than calls per second."""

from __future__ import annotations

from pathlib import Path


def processor_s(pid: int) -> float:
    """Return the CPU time of a process in seconds, or 0 if it does not exist."""
    total = 0
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            total += int((task / "schedstat").read_text(encoding="ascii").split()[0])
        except OSError:
            continue  # the thread has ended
    return total / 1e9
