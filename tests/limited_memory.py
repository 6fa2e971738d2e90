"""A memory limit for one process: a real control group where the machine allows it, otherwise only its files.

In a real group the kernel kills a process that exceeds the limit. Otherwise the process reads the same limit file from
a folder, and the test compares the peak of its memory with the limit.
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
    """A memory limit.

    Attributes:
        mounted: the folder from which a process reads its limit.
        members: the member list of the real control group, or None.
    """

    mounted: Path
    members: Path | None

    @property
    def joining(self) -> list[str]:
        """The words to put before a command so that it runs in the group."""
        return ["sh", "-c", 'echo $$ >"$0" && exec "$@"', str(self.members)] if self.members else []


@contextmanager
def memory_limit(limit_bytes: int, folder: Path) -> Iterator[Limit]:
    """Limit memory to ``limit_bytes``; without a real group, write the limit file to ``folder``."""
    for parent, name in ((MOUNTED / "memory", "memory.limit_in_bytes"), (MOUNTED, "memory.max")):
        group = parent / f"goverse-test-{uuid4().hex[:12]}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / name).write_text(str(limit_bytes))
        except OSError:
            group.rmdir()  # the memory controller is not enabled here
            continue
        try:
            yield Limit(MOUNTED, group / "cgroup.procs")
        finally:
            group.rmdir()
        return
    (folder / "memory.max").write_text(f"{limit_bytes}\n")
    yield Limit(folder, None)
