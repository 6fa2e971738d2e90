"""A limit of memory for one process: a real control group where this machine lets us make one, else only its files.

Where the group is real the kernel ends a process that takes more. Where it is not, the process reads the same file
from a folder, and whoever looks compares its peak with the limit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from goverse.telemetry.control_group import MOUNTED


@dataclass(frozen=True)
class Limit:
    """Where a process reads its limit, and the list of members that it joins, if the limit is real."""

    mounted: Path
    members: Path | None

    @property
    def joining(self) -> list[str]:
        """Words before a command that put it into the group."""
        return ["sh", "-c", 'echo $$ >"$0" && exec "$@"', str(self.members)] if self.members else []


@contextmanager
def memory_limit(limit_bytes: int, folder: Path) -> Iterator[Limit]:
    """Limit memory to ``limit_bytes``; what is not real stands in ``folder``."""
    for parent, name in ((MOUNTED / "memory", "memory.limit_in_bytes"), (MOUNTED, "memory.max")):
        group = parent / f"goverse-test-{uuid4().hex[:12]}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / name).write_text(str(limit_bytes))
        except OSError:
            group.rmdir()  # a group without the controller of memory
            continue
        try:
            yield Limit(MOUNTED, group / "cgroup.procs")
        finally:
            group.rmdir()
        return
    (folder / "memory.max").write_text(f"{limit_bytes}\n")
    yield Limit(folder, None)
