"""Capacity estimate of a cluster, calculated only from measured figures.

The figures are read from `benchmarks/results.json` (`make bench`) and `benchmarks/footprint.json` (`python -m
benchmarks.footprint`). docs/guide/scaling.md explains the formulas and the assumptions. Rates are per second, sizes in
bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
WRITE, READ = "durable call, gate + node + PostgreSQL", "read-only call, gate + node"
COMMIT = "the same, with a router's key"
COMMIT_KEYED = "the same, with a caller's key"
DAY_S = 86_400
MIB, GIB = 1 << 20, 1 << 30
_STATES = {"100 B": 100.0, "1 KiB": 1_024.0, "16 KiB": 16_384.0}
_COMMIT_BATCH = 64


class Nonsense(ValueError):
    """An invalid input; the message names it and the reason."""


@dataclass(frozen=True)
class Wish:
    """The load that a cluster must handle."""

    objects: int = 100_000
    active: int = 0
    """Objects in memory at the same time; 0 means all of them."""
    state_bytes: int = 1_000
    writes: float = 100.0
    reads: float = 100.0
    keyed: float = 0.0
    """Share of writes with an idempotency key."""
    node_memory: int = GIB
    """Memory limit of a node."""
    changes_days: int = 7
    """`postgres.changes_retention_days`; 0 if the change feed is disabled."""
    replies_s: int = DAY_S
    """`node.idempotency_retention_s`."""
    pool_max: int = 4
    """`postgres.pool_max`."""
    utilisation: float = 0.5
    """Target utilization of a process at this load."""
    spare: int = 1
    """Nodes and gates that may be down at this load."""


@dataclass(frozen=True)
class Measured:
    """Measured cost of one gate, one node and PostgreSQL."""

    write_s: float
    """CPU seconds of a small write in the busier of gate and node, at most."""
    write_byte_s: float
    """Additional CPU seconds of a write for each byte of state."""
    read_s: float
    activation_bytes: float
    """Memory of an object with a small state."""
    node_bytes: float
    commit_s: float
    """CPU seconds of PostgreSQL for a write."""
    commit_keyed_s: float
    object_bytes: tuple[float, float]
    """Disk space of an object, as (fixed, per byte of state). The fields below have the same form."""
    change_bytes: tuple[float, float]
    log_bytes: tuple[float, float]
    reply_bytes: float


@dataclass(frozen=True)
class Size:
    """The estimated size of a cluster."""

    nodes: int
    gates: int
    node_memory_used: int
    activations_bytes_max: int
    activations_max: int
    postgres_cores: float
    postgres_connections: int
    disk_objects: int
    disk_changes_per_day: int
    disk_kept: int
    log_per_day: int
    etcd_writes: float
    etcd_keepalives: float
    limits: tuple[str, ...]
    """The reason for the number of nodes, and warnings."""


def line(points: Mapping[float, float]) -> tuple[float, float]:
    """Fit a straight line by least squares and return (intercept, slope), both at least 0."""
    count = len(points)
    mean_x, mean_y = sum(points) / count, sum(points.values()) / count
    spread = sum((x - mean_x) ** 2 for x in points)
    slope = max(0.0, sum((x - mean_x) * (y - mean_y) for x, y in points.items()) / spread)
    return max(0.0, mean_y - slope * mean_x), slope


def measured(folder: Path = BENCHMARKS) -> Measured:
    """Read the measured figures from the benchmark results in ``folder``."""
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    footprint = json.loads((folder / "footprint.json").read_text(encoding="utf-8"))

    def seconds(name: str) -> float:
        return 1 / median(float(each["calls_per_s"]) for each in results["cluster"][name])

    def commit(name: str) -> float:
        return (
            next(float(each["server_us"]) for each in results["commits"][name] if each["size"] == _COMMIT_BATCH) / 1e6
        )

    def bytes_of(name: str) -> tuple[float, float]:
        return line({float(size): weights[name] for size, weights in footprint["bytes"].items()})

    growth = {_STATES[state]: 1 / seen["calls_per_s"] for state, seen in results["growth"]["state"].items()}
    return Measured(
        write_s=seconds(WRITE),
        write_byte_s=line(growth)[1],
        read_s=seconds(READ),
        activation_bytes=results["figures"]["resident bytes per active object"],
        node_bytes=footprint["resident_bytes"]["node"],
        commit_s=commit(COMMIT),
        commit_keyed_s=commit(COMMIT_KEYED),
        object_bytes=bytes_of("object"),
        change_bytes=bytes_of("change"),
        log_bytes=bytes_of("log, caller"),
        reply_bytes=max(weights["reply, caller"] for weights in footprint["bytes"].values()),
    )


def check(wish: Wish) -> None:
    """Check the inputs.

    Raises:
        Nonsense: an input is out of range.
    """
    for name in ("objects", "active", "state_bytes", "writes", "reads", "spare"):
        if getattr(wish, name) < 0 or not math.isfinite(getattr(wish, name)):
            raise Nonsense(f"{name} is {getattr(wish, name)}; it must be a finite number of at least 0")
    if wish.active > wish.objects:
        raise Nonsense(f"active is {wish.active}, which is more than the {wish.objects} objects in total")
    for name, least in (("changes_days", 0), ("replies_s", 1), ("pool_max", 1)):
        if getattr(wish, name) < least:
            raise Nonsense(f"{name} is {getattr(wish, name)}; it must be at least {least}")
    if not 0 <= wish.keyed <= 1:
        raise Nonsense(f"keyed is {wish.keyed}; it must be a share from 0 to 1")
    if not 0.05 <= wish.utilisation <= 0.95:
        raise Nonsense(f"utilisation is {wish.utilisation}; it must be from 0.05 to 0.95")


def size(wish: Wish, figures: Measured) -> Size:
    """Return the estimated size of a cluster for a load.

    Raises:
        Nonsense: an input is out of range, or the node memory is too small.
    """
    check(wish)
    active = wish.active or wish.objects
    each = figures.activation_bytes + wish.state_bytes
    room = (wish.node_memory * _MEMORY_SHARE) - figures.node_bytes
    if room < _ROOM_LEAST:
        least = (figures.node_bytes + _ROOM_LEAST) / _MEMORY_SHARE
        raise Nonsense(
            f"node_memory is {wish.node_memory / MIB:.0f} MiB; a node needs {least / MIB:.0f} MiB even without objects"
        )
    small, per_byte = figures.write_s, figures.write_byte_s
    busy_s = wish.writes * (small + per_byte * wish.state_bytes) + wish.reads * figures.read_s
    by_calls = max(1, math.ceil(busy_s / wish.utilisation))
    by_memory = max(1, math.ceil(active * each / room))
    nodes, gates = max(by_calls, by_memory) + wish.spare, by_calls + wish.spare
    here = math.ceil(active / max(1, nodes - wish.spare))
    commits_s = wish.writes * ((1 - wish.keyed) * figures.commit_s + wish.keyed * figures.commit_keyed_s)
    changes = wish.writes * DAY_S * _at(figures.change_bytes, wish.state_bytes) if wish.changes_days else 0.0
    replies = wish.writes * wish.keyed * wish.replies_s * figures.reply_bytes
    members = nodes + gates
    return Size(
        nodes=nodes,
        gates=gates,
        node_memory_used=round(figures.node_bytes + here * each),
        activations_bytes_max=round(here * each),
        activations_max=here,
        postgres_cores=round(commits_s * _state_factor(wish, figures) / wish.utilisation, 2),
        postgres_connections=nodes * (wish.pool_max + 1),
        disk_objects=round(wish.objects * _at(figures.object_bytes, wish.state_bytes)),
        disk_changes_per_day=round(changes),
        disk_kept=round(changes * (wish.changes_days + 1) + replies),
        log_per_day=round(wish.writes * DAY_S * _at(figures.log_bytes, wish.state_bytes)),
        etcd_writes=round(nodes / max(5.0, nodes / 20), 2),
        etcd_keepalives=round(members / 2, 1),
        limits=tuple(_limits(wish, nodes, by_calls, by_memory, commits_s / wish.utilisation)),
    )


_MEMORY_SHARE = 0.75
"""Share of a node's memory limit for process and objects; the rest is for running calls and Python's overhead."""
_ROOM_LEAST = 64 * MIB


def _at(line_of: tuple[float, float], state_bytes: float) -> float:
    return line_of[0] + line_of[1] * state_bytes


def _state_factor(wish: Wish, figures: Measured) -> float:
    """Return the factor by which a larger state costs PostgreSQL more, estimated by the growth of its WAL."""
    return _at(figures.log_bytes, wish.state_bytes) / max(1.0, _at(figures.log_bytes, 0))


def _limits(wish: Wish, nodes: int, by_calls: int, by_memory: int, cores: float) -> list[str]:
    found = [f"nodes: {by_calls} for the calls, {by_memory} for the objects in memory, {wish.spare} spare"]
    connections = nodes * (wish.pool_max + 1)
    if connections > 90:
        found.append(f"{connections} connections exceed what PostgreSQL's default of 100 leaves: raise max_connections")
    if cores > 2:
        found.append("more than two cores of PostgreSQL were not measured; all data goes through one server")
    if wish.state_bytes > 16_384:
        found.append("states above 16 KiB were not measured; this is a linear extrapolation")
    if nodes > 1_000:
        found.append("more than 1 000 nodes are outside the design limits: see docs/design/scale.md")
    return found
