"""The command `size`: its options and its output."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, fields

from scripts.operate.sizing import GIB, MIB, Nonsense, Size, Wish, measured, size


def human(count: float) -> str:
    """Format a number of bytes."""
    for unit, factor in (("GiB", GIB), ("MiB", MIB), ("KiB", 1 << 10)):
        if count >= factor:
            return f"{count / factor:,.1f} {unit}"
    return f"{count:.0f} bytes"


def text(made: Size) -> str:
    """Format a size as text."""
    disk = f"{human(made.disk_objects)} of objects, {human(made.disk_changes_per_day)} of changes per day"
    limits = f"activations_max {made.activations_max:,}, activations_bytes_max {human(made.activations_bytes_max)}"
    rows = (
        ("nodes", f"{made.nodes}, each with {human(made.node_memory_used)} of memory in use while the spares are down"),
        ("", f"with node.{limits.replace(', ', ', node.')}"),
        ("gates", f"{made.gates}"),
        ("PostgreSQL", f"{made.postgres_cores:g} cores, {made.postgres_connections} connections"),
        ("disk", f"{disk}, {human(made.disk_kept)} of stored changes and answers"),
        ("WAL", f"{human(made.log_per_day)} per day, for archive and standbys"),
        ("etcd", f"at most {made.etcd_writes:g} writes/s while no shard moves, {made.etcd_keepalives:g} keepalives/s"),
    )
    return "\n".join([*(f"{name:11} {told}" for name, told in rows), "", *(f"- {each}" for each in made.limits)])


ABOUT = "Estimate the nodes, gates, connections and disk space for a load, from benchmark results."

_OPTIONS: dict[str, str] = {
    "objects": "number of objects",
    "active": "number of objects in memory at the same time; 0 means all",
    "state_bytes": "size of an object's state in bytes, as JSON",
    "writes": "calls per second that change state",
    "reads": "readonly calls per second",
    "keyed": "share of writes with an idempotency key, from 0 to 1",
    "node_memory": "memory limit of a node, in bytes or for example 1Gi",
    "changes_days": "retention of changes in days",
    "replies_s": "retention of stored answers in seconds",
    "pool_max": "database connections of a node for reading",
    "utilisation": "target utilization of a process, from 0.05 to 0.95",
    "spare": "nodes and gates that may be down at this load",
}


def quantity(written: str) -> int:
    """Parse a number of bytes in the notation of Kubernetes.

    Raises:
        Nonsense: the text is not a number of bytes.
    """
    units = {"Ki": 1 << 10, "Mi": MIB, "Gi": GIB, "Ti": 1 << 40, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "": 1}
    digits = written.rstrip("KMGTik")
    unit = written[len(digits) :]
    try:
        return int(float(digits) * units[unit])
    except (KeyError, ValueError, OverflowError) as error:
        raise Nonsense(f"{written!r} is not a number of bytes, for example 512Mi") from error


def add_to(made: argparse.ArgumentParser) -> None:
    """Add the options of this command to a parser."""
    for each in fields(Wish):
        kind = {"str": str, "int": int, "float": float}["str" if each.name == "node_memory" else str(each.type)]
        flag = f"--{each.name.replace('_', '-')}"
        told = f"{_OPTIONS[each.name]} ({each.default})"
        made.add_argument(flag, type=kind, default=str(each.default) if kind is str else each.default, help=told)
    made.add_argument("--json", action="store_true", help="print JSON, including the benchmark figures that were used")
    made.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the estimate. Returns 2 if an option is invalid."""
    figures = measured()
    try:
        given = {each.name: getattr(options, each.name) for each in fields(Wish)}
        made = size(Wish(**{**given, "node_memory": quantity(options.node_memory)}), figures)
    except Nonsense as error:
        print(f"error: {error}")
        return 2
    print(json.dumps({"size": asdict(made), "figures": asdict(figures)}) if options.json else text(made))
    return 0
