"""Which connections the running Pods have, read from the kernel while they run."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.deploy.policies import Edge

INTERVAL_S = 0.01
OUTSIDE = "outside"
_ESTABLISHED = "01"
_CLIENTS = range(*map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()))
"""The ports that the kernel gives to whoever connects; no Pod listens on one of them."""
# podman's control groups, in the one hierarchy of today's kernels and in one of the many before.
_GROUPS = (Path("/sys/fs/cgroup/libpod_parent"), Path("/sys/fs/cgroup/pids/libpod_parent"))


@dataclass(frozen=True)
class Seen:
    """Both ends of one connection.

    Attributes:
        client: control group of the process that connected, which names container and Pod; "" for one of the machine.
        address, port: where to.
    """

    client: str
    address: str
    port: int


@dataclass
class Watcher:
    """Looks at all connections again and again, in a thread, until it is told to stop.

    Attributes:
        seen: what there was.
    """

    seen: set[Seen] = field(default_factory=set[Seen])
    _known: set[str] = field(default_factory=set[str])
    _doubtful: set[str] = field(default_factory=set[str])
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _failed: Exception | None = None

    def __enter__(self) -> Watcher:
        """Begin."""
        self._thread = threading.Thread(target=self._run, name="connections")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._stop.set()
        assert self._thread is not None
        self._thread.join()
        if self._failed is not None:
            raise self._failed

    def _run(self) -> None:
        try:
            while not self._stop.wait(INTERVAL_S):
                self.look()
        except Exception as error:  # whoever waits for it tells
            self._failed = error

    def until_now(self) -> set[Seen]:
        """Return what was seen; the watcher must still be looking."""
        assert self._failed is None, f"nobody looks any more: {self._failed!r}"
        return set(self.seen)

    def look(self) -> None:
        """Look once."""
        fresh = {
            inode: remote for port, remote, inode in _table() if _leads(port, remote[1]) and inode not in self._known
        }
        owners = _owners(set(fresh)) if fresh else {}
        for inode, (address, port) in fresh.items():
            # Whom no container holds at a second look either is a process of the machine.
            if inode in owners or inode in self._doubtful:
                self._known.add(inode)
                self.seen.add(Seen(owners.get(inode, ""), address, port))
        self._doubtful = fresh.keys() - self._known


def edges_of(
    seen: set[Seen], identities: Mapping[str, str], addresses: Mapping[str, str], components: Mapping[str, str]
) -> set[Edge]:
    """Return between which components connections were.

    Args:
        seen: the connections.
        identities: Pods by the identity that podman gave them.
        addresses: Pods by address.
        components: by Pod. A Pod's talk with itself passes no policy and is left out.
    """
    found = set[Edge]()
    for each in seen:
        target = addresses.get(each.address, "")
        client = next((pod for identity, pod in identities.items() if identity in each.client), "")
        if client != target and (client or target):
            source = components[client] if client else OUTSIDE
            found.add((source, components[target] if target else f"{OUTSIDE}:{each.address}", each.port))
    return found


def compare(seen: set[Edge], allowed: set[Edge], unseen: Mapping[Edge, str]) -> tuple[set[Edge], set[Edge], set[Edge]]:
    """Return what was seen and is not allowed, what is allowed and of no use, and reasons that have become wrong.

    Args:
        seen, allowed: edges.
        unseen: why an allowed edge was not seen.
    """
    return (
        seen - allowed,
        allowed - seen - unseen.keys(),
        {edge for edge in unseen if edge in seen or edge not in allowed},
    )


def _leads(port: int, remote: int) -> bool:
    """Tell whether the end at ``port`` connected to the one at ``remote``.

    Who listens would not tell: a server that ends stops listening before its last connections are closed.
    """
    return port in _CLIENTS and remote not in _CLIENTS


Row = tuple[int, tuple[str, int], str]


def _table() -> list[Row]:
    """Return who is connected over IPv4 and IPv6: port, the other end, inode.

    Rows of what was closed are passed over unread: under load there are thousands of them.
    """
    rows: list[Row] = []
    for name in ("tcp", "tcp6"):
        for line in Path("/proc/net", name).read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split(None, 10)
            if fields[3] == _ESTABLISHED:
                rows.append((_place(fields[1])[1], _place(fields[2]), fields[9]))
    return rows


def _place(text: str) -> tuple[str, int]:
    address, port = text.split(":")
    words = b"".join(bytes.fromhex(address[at : at + 8])[::-1] for at in range(0, len(address), 8))
    if len(words) == 16 and words.startswith(bytes(10) + b"\xff\xff"):
        words = words[12:]
    return socket.inet_ntop(socket.AF_INET if len(words) == 4 else socket.AF_INET6, words), int(port, 16)


def _owners(inodes: set[str]) -> dict[str, str]:
    """Return the control group of the container whose process holds each of these sockets."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[str, str] = {}
    for group, process in _processes():
        with suppress(OSError):  # it has ended meanwhile
            for link in Path("/proc", process, "fd").iterdir():
                inode = wanted.get(str(link.readlink()))
                if inode:
                    found[inode] = group
    return found


def _processes() -> Iterator[tuple[str, str]]:
    """Go through the processes of all containers: control group and number."""
    for parent in _GROUPS:
        with suppress(OSError):
            for pod in [entry for entry in parent.iterdir() if entry.is_dir()]:
                with suppress(OSError):
                    for container in [entry for entry in pod.iterdir() if entry.is_dir()]:
                        for process in (container / "cgroup.procs").read_text(encoding="ascii").split():
                            yield str(container), process
