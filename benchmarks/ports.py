"""Reserved TCP ports on loopback for the servers of tests, benchmarks and local clusters.

A free port can be taken before its server listens: by an outgoing connection, if it is in the kernel's ephemeral range,
or by another process that searches for a port at the same time. So ports are chosen below the ephemeral range, and each
is reserved by a file lock until the requesting process ends. A server can therefore be restarted on its port.
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
    """Return one reserved port; see ``free_ports``."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Return free ports that stay reserved for this process until it ends."""
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
