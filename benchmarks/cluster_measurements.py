"""Measurements of a cluster: throughput beside its alternatives, growth, interruptions and the cost of commits.

Throughput is measured in rounds, as on one machine (``measurements``): each round measures all candidates in turn, and
the median counts. Five processes and a database share the CPUs, so single rounds vary more and there are more of them.
Other systems take part in some of the rounds. Each is started for its turn, warmed up, and stopped again, so that it
takes no CPU time from the others.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import uvloop

from benchmarks import interruptions, postgres_commit, servers
from benchmarks.cluster import cluster, database
from benchmarks.load import Throughput, wrk
from benchmarks.measurements import DURABLE_CLUSTER, ECHO, HANDWRITTEN, PEEK_CLUSTER, RAY, RESTATE, Results
from benchmarks.peers import servers as peers

INCREMENT: Final = ("increment", "1000")
CONNECTIONS: Final = (1, 16, 64, 256)
NODES: Final = (1, 2, 4)
STATES: Final = {"100 B": "State100B", "1 KiB": "State1KiB", "16 KiB": "State16KiB"}
COMMIT_SIZES: Final = (16, 64, 256)
WARM_UP_S: Final = 2
OWN_ROUNDS: Final = 3
"""Number of rounds for each round that other systems take part in."""

_PEERS: Final = {
    RESTATE: (peers.restate, "restate", ("increment", "1000", "restate")),
    RAY: (peers.ray_serve, "ray", ("increment", "1000", "ray")),
}

Say = Callable[[str], None]


def _seen(name: str, seen: Throughput, say: Say) -> Throughput:
    if seen.errors:
        raise SystemExit(f"{name}: {seen.errors} responses were errors")
    say(f"{name}: {seen.calls_per_s:,.0f} calls/s, p50 {seen.p50_ms:.1f} ms, p99 {seen.p99_ms:.1f} ms")
    return seen


def throughput(results: Results, folder: Path, dsn: str, *, rounds: int, seconds: float, say: Say) -> None:
    """Measure one gate and one node beside the echo, the hand-written service and other systems."""
    with (
        servers.echo() as echo,
        servers.handwritten(dsn) as handwritten,
        cluster(folder / "one", database(dsn, "one")) as one,
    ):
        plan = [
            (ECHO, echo.url, INCREMENT),
            (HANDWRITTEN, handwritten.url, INCREMENT),
            (DURABLE_CLUSTER, one.url, INCREMENT),
            (PEEK_CLUSTER, one.url, ("peek", "1000")),
        ]
        for _, url, arguments in plan:
            wrk(url, arguments, seconds=WARM_UP_S)
        for number in range(OWN_ROUNDS * rounds):
            for name, url, arguments in plan:
                found = _seen(f"round {number + 1}: {name}", wrk(url, arguments, seconds=seconds), say)
                results.cluster.setdefault(name, []).append(found)
            if number < rounds:
                for name, found in _others(folder / f"round-{number}", seconds, say):
                    results.cluster.setdefault(name, []).append(found)


def _others(folder: Path, seconds: float, say: Say) -> list[tuple[str, Throughput]]:
    if not peers.available():
        say("other systems are left out, because this user cannot create network namespaces")
        return []
    found: list[tuple[str, Throughput]] = []
    for name, (start, package, arguments) in _PEERS.items():
        peers.install(package)
        with start(folder / package) as peer:
            wrk(peer.url, arguments, seconds=2 * WARM_UP_S, prefix=peer.prefix)
            seen = wrk(peer.url, arguments, seconds=seconds, prefix=peer.prefix)
            found.append((name, _seen(name, seen, say)))
    return found


def growth(results: Results, folder: Path, dsn: str, *, seconds: float, say: Say) -> None:
    """Measure with more connections, larger states and more nodes."""
    with cluster(folder / "growth", database(dsn, "growth")) as one:
        wrk(one.url, INCREMENT, seconds=WARM_UP_S)
        for connections in CONNECTIONS:
            seen = wrk(one.url, INCREMENT, seconds=seconds, connections=connections)
            _note(results, "connections", str(connections), seen, say)
        for name, kind in STATES.items():
            arguments = (*INCREMENT, "", kind)
            wrk(one.url, arguments, seconds=WARM_UP_S)
            _note(results, "state", name, wrk(one.url, arguments, seconds=seconds), say)
    for nodes in NODES:
        with cluster(folder / f"nodes-{nodes}", database(dsn, f"nodes{nodes}"), nodes=nodes) as several:
            wrk(several.url, INCREMENT, seconds=WARM_UP_S)
            _note(results, "nodes", str(nodes), wrk(several.url, INCREMENT, seconds=seconds), say)


def _note(results: Results, what: str, value: str, seen: Throughput, say: Say) -> None:
    results.growth.setdefault(what, {})[value] = _seen(f"{what} {value}", seen, say)


def interrupted(results: Results, folder: Path, dsn: str, *, say: Say) -> None:
    """Measure the pause of calls during shard moves and a failover, in a cluster of two nodes."""
    with cluster(folder / "interrupted", database(dsn, "interrupted"), nodes=2) as two:
        results.interruptions |= interruptions.migration(two)
        results.interruptions |= interruptions.failover(two)
    for name, value in results.interruptions.items():
        say(f"{name}: {value:,.1f}")


def commits(results: Results, dsn: str, *, seconds: float, say: Say) -> None:
    """Measure the cost of position, fence and stored answers in the store."""
    measured = postgres_commit.measure(database(dsn, "commits"), COMMIT_SIZES, seconds=seconds)
    results.commits = uvloop.run(measured)
    for name, costs in results.commits.items():
        for each in costs:
            say(f"{name}, batches of {each.size}: {each.records_per_s:,.0f} records/s")
