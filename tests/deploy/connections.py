"""Observed connections of the running Pods, read from the kernel."""

from __future__ import annotations

import os
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
_FIRST = -20  # the highest priority, of this thread alone; Pods need root anyway
_CLIENTS = range(*map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()))
"""The kernel's ephemeral ports, used by connecting processes; no Pod listens on one of them."""
# podman's control groups, in cgroups v2 and in one of the hierarchies of v1.
_GROUPS = (Path("/sys/fs/cgroup/libpod_parent"), Path("/sys/fs/cgroup/pids/libpod_parent"))


@dataclass(frozen=True)
class Seen:
    """Both ends of one connection.

    Attributes:
        client: control group of the connecting process, which contains container and Pod; "" for a host process.
        address, port: remote address.
    """

    client: str
    address: str
    port: int


@dataclass
class Watcher:
    """Polls all connections in a thread until it is stopped.

    Attributes:
        seen: the connections seen so far.
    """

    seen: set[Seen] = field(default_factory=set[Seen])
    _known: set[str] = field(default_factory=set[str])
    _doubtful: set[str] = field(default_factory=set[str])
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _failed: Exception | None = None

    def __enter__(self) -> Watcher:
        """Start to poll."""
        self._thread = threading.Thread(target=self._run, name="connections")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop polling."""
        self._stop.set()
        assert self._thread is not None
        self._thread.join()
        if self._failed is not None:
            raise self._failed

    def _run(self) -> None:
        try:
            # First in line for a processor: on a busy machine short connections would fall between two polls.
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _FIRST)
            while not self._stop.wait(INTERVAL_S):
                self.look()
        except Exception as error:  # the waiting side reports the error
            self._failed = error

    def until_now(self) -> set[Seen]:
        """Return the connections seen so far. Fails if the watcher has ended."""
        assert self._failed is None, f"the watcher has failed: {self._failed!r}"
        return set(self.seen)

    def look(self) -> None:
        """Poll once."""
        fresh = {
            inode: remote for port, remote, inode in _table() if _leads(port, remote[1]) and inode not in self._known
        }
        owners = _owners(set(fresh)) if fresh else {}
        for inode, (address, port) in fresh.items():
            # A process that is in no container at the second attempt either belongs to the machine.
            if inode in owners or inode in self._doubtful:
                self._known.add(inode)
                self.seen.add(Seen(owners.get(inode, ""), address, port))
        self._doubtful = fresh.keys() - self._known


def edges_of(
    seen: set[Seen], identities: Mapping[str, str], addresses: Mapping[str, str], components: Mapping[str, str]
) -> set[Edge]:
    """Return the edges between components on which connections were seen.

    Args:
        seen: the connections.
        identities: Pods by the identity that podman gave them.
        addresses: Pods by address.
        components: components by Pod. Connections within a Pod are not subject to policies and are left out.
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
    """Return unexpected edges, allowed edges that were not used, and exceptions that no longer apply.

    Args:
        seen, allowed: edges.
        unseen: reasons for allowed edges that are not seen.
    """
    return (
        seen - allowed,
        allowed - seen - unseen.keys(),
        {edge for edge in unseen if edge in seen or edge not in allowed},
    )


def _leads(port: int, remote: int) -> bool:
    """Return True if the end at ``port`` opened the connection to the one at ``remote``.

    A listening socket would not prove the direction, because a stopping server closes it before its last connections.
    """
    return port in _CLIENTS and remote not in _CLIENTS


Row = tuple[int, tuple[str, int], str]


def _table() -> list[Row]:
    """Return the established IPv4 and IPv6 connections: local port, remote address, inode.

    Rows of closed connections are skipped without parsing, because there are thousands of them under load.
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
    """Return the control group of the container whose process owns each of these sockets."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[str, str] = {}
    for group, process in _processes():
        with suppress(OSError):  # the process has ended
            for link in Path("/proc", process, "fd").iterdir():
                inode = wanted.get(str(link.readlink()))
                if inode:
                    found[inode] = group
    return found


def _processes() -> Iterator[tuple[str, str]]:
    """Yield control group and process id of each process in a container."""
    for parent in _GROUPS:
        with suppress(OSError):
            for pod in [entry for entry in parent.iterdir() if entry.is_dir()]:
                with suppress(OSError):
                    for container in [entry for entry in pod.iterdir() if entry.is_dir()]:
                        for process in (container / "cgroup.procs").read_text(encoding="ascii").split():
                            yield str(container), process
