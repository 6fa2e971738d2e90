"""The command `size`: what is asked, and how the answer is told."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, fields

from scripts.operate.sizing import GIB, MIB, Nonsense, Size, Wish, measured, size


def human(count: float) -> str:
    """Return bytes for people."""
    for unit, factor in (("GiB", GIB), ("MiB", MIB), ("KiB", 1 << 10)):
        if count >= factor:
            return f"{count / factor:,.1f} {unit}"
    return f"{count:.0f} bytes"


def text(made: Size) -> str:
    """Return a size for people."""
    disk = f"{human(made.disk_objects)} of objects, {human(made.disk_changes_per_day)} of changes a day"
    limits = f"activations_max {made.activations_max:,}, activations_bytes_max {human(made.activations_bytes_max)}"
    rows = (
        ("nodes", f"{made.nodes}, each with {human(made.node_memory_used)} in memory while the spare ones are away"),
        ("", f"with node.{limits.replace(', ', ', node.')}"),
        ("gates", f"{made.gates}"),
        ("PostgreSQL", f"{made.postgres_cores:g} cores, {made.postgres_connections} connections"),
        ("disk", f"{disk}, {human(made.disk_kept)} kept of them and of replies"),
        ("log", f"{human(made.log_per_day)} a day, for archive and standbys"),
        ("etcd", f"{made.etcd_writes:g} writes/s at most while nothing moves, {made.etcd_keepalives:g} keepalives/s"),
    )
    return "\n".join([*(f"{name:11} {told}" for name, told in rows), "", *(f"- {each}" for each in made.limits)])


ABOUT = "How many nodes, gates, connections and how much disk a load takes, from what was measured."

_OPTIONS: dict[str, str] = {
    "objects": "objects that exist",
    "active": "objects that are in memory at once (all)",
    "state_bytes": "bytes of an object's state, as JSON",
    "writes": "calls per second that change something",
    "reads": "readonly calls per second",
    "keyed": "share of the writes with a caller's idempotency key",
    "node_memory": "memory limit of a node, in bytes or like 1Gi",
    "changes_days": "days for which changes are kept",
    "replies_s": "seconds for which replies are kept",
    "pool_max": "connections of a node for reading",
    "utilisation": "how busy a process may be",
    "spare": "nodes and gates that may be away",
}


def quantity(written: str) -> int:
    """Return a number of bytes, written like Kubernetes does.

    Raises:
        Nonsense: it is none.
    """
    units = {"Ki": 1 << 10, "Mi": MIB, "Gi": GIB, "Ti": 1 << 40, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "": 1}
    digits = written.rstrip("KMGTik")
    unit = written[len(digits) :]
    try:
        return int(float(digits) * units[unit])
    except (KeyError, ValueError, OverflowError) as error:
        raise Nonsense(f"{written!r} is no number of bytes: write it like 512Mi") from error


def add_to(made: argparse.ArgumentParser) -> None:
    """Make a parser the one of this command."""
    for each in fields(Wish):
        kind = {"str": str, "int": int, "float": float}["str" if each.name == "node_memory" else str(each.type)]
        flag = f"--{each.name.replace('_', '-')}"
        told = f"{_OPTIONS[each.name]} ({each.default})"
        made.add_argument(flag, type=kind, default=str(each.default) if kind is str else each.default, help=told)
    made.add_argument("--json", action="store_true", help="as JSON, with the figures that were used")
    made.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print a size; 2 where the input is nonsense."""
    figures = measured()
    try:
        given = {each.name: getattr(options, each.name) for each in fields(Wish)}
        made = size(Wish(**{**given, "node_memory": quantity(options.node_memory)}), figures)
    except Nonsense as error:
        print(f"error: {error}")
        return 2
    print(json.dumps({"size": asdict(made), "figures": asdict(figures)}) if options.json else text(made))
    return 0
