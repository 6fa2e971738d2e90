"""TCP ports on loopback for servers that a test, a benchmark or a local cluster starts.

A port that was free a moment ago can be taken before its server listens: by an outgoing connection, if it is one of the
kernel's ephemeral ports, or by another process that looks for a port at the same time. So ports are taken from below
the ephemeral range, and each one is reserved by a lock on a file until the process that asked for it ends. A server
can therefore be stopped and started again on its port.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path

_PORTS: Sequence[int] = range(12_000, 30_000)
_held: list[int] = []  # descriptors of the locked files; the kernel releases the locks when the process ends


def free_port() -> int:
    """Return one port; see ``free_ports``."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Return ports that are free and stay reserved for this process until it ends."""
    folder = Path(tempfile.gettempdir()) / f"goverse-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    found: list[int] = []
    for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
        if _reserve(folder / str(port), port):
            found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError(f"fewer than {count} TCP ports between {min(_PORTS)} and {max(_PORTS)} are free")


def _reserve(lock: Path, port: int) -> bool:
    descriptor = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    except OSError:
        os.close(descriptor)
        return False
    _held.append(descriptor)
    return True
