"""Data folders that are too small for a server's data until space is freed.

``SmallTmpfs`` is a separate file system and needs permission to mount one. ``FileSizeLimit`` works for every user: the
kernel prevents files of the process from growing, as a quota does.
"""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

SIZE_BYTES = 4 << 20
FILE_BYTES_MAX = 256 << 10


class SmallDisk(Protocol):
    """A data folder with little space."""

    folder: Path

    def confine(self, pid: int) -> None:
        """Apply the limit to the server's process."""
        ...

    def make_room(self, pid: int) -> None:
        """Free enough space."""
        ...


class SmallTmpfs:
    """A file system of a few megabytes, all but one of them used by ballast."""

    def __init__(self, folder: Path) -> None:
        """Use a mounted, empty file system."""
        self.folder = folder
        self._ballast = folder / "ballast"
        self._ballast.write_bytes(bytes(SIZE_BYTES - (1 << 20)))

    def confine(self, pid: int) -> None:
        """Do nothing: the file system itself is the limit."""

    def make_room(self, pid: int) -> None:
        """Delete the ballast."""
        self._ballast.unlink()


class FileSizeLimit:
    """A limit on the size of each file that the server writes."""

    def __init__(self, folder: Path) -> None:
        """Use any folder."""
        self.folder = folder

    def confine(self, pid: int) -> None:
        """Limit the process."""
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (FILE_BYTES_MAX, resource.RLIM_INFINITY))

    def make_room(self, pid: int) -> None:
        """Remove the limit."""
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def kinds() -> list[str]:
    """Return the kinds of small disk that this user can create."""
    return ["file size limit", *(["tmpfs"] if may_mount() else [])]


def may_mount() -> bool:
    """Return True if this process has the capability that mounting needs."""
    status = Path("/proc/self/status").read_text()
    effective = int(status.partition("CapEff:")[2].split()[0], 16)
    return os.geteuid() == 0 and bool(effective >> 21 & 1)  # CAP_SYS_ADMIN


@contextmanager
def small_disk(kind: str, folder: Path) -> Iterator[SmallDisk]:
    """Create a small disk at ``folder``, an empty folder."""
    if kind != "tmpfs":
        yield FileSizeLimit(folder)
        return
    options = f"size={SIZE_BYTES},mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "goverse-test", str(folder)], check=True)
    try:
        yield SmallTmpfs(folder)
    finally:
        subprocess.run(["umount", str(folder)], check=True)
