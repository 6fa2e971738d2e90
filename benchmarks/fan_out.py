"""Cost of one change in a large cluster: its size in etcd, and the CPU time in each process that watches it.

    python -m benchmarks.fan_out [--nodes 1000] [--shards 65536]

Every gate and every node watches all keys, so the cost of a write is multiplied by the number of processes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable

from goverse.cluster.claims import Claims
from goverse.cluster.keys import KeyLayout
from goverse.cluster.member import Load, Member
from goverse.cluster.table import ShardTable
from goverse.cluster.targets import Targets
from goverse.cluster.view import ClusterView
from goverse.ports.coordinator import KeyEntry

REPEATS = 20


class Watcher:
    """The cluster view and the shard table of one process, updated as its watch would do it."""

    def __init__(self, shards: int) -> None:
        self.layout = KeyLayout("scale")
        self.view = ClusterView(self.layout)
        self.table = ShardTable(shards)
        self._revision = 0
        self.bytes = 0

    def hear(self, *changes: tuple[str, bytes]) -> None:
        """Apply one write."""
        self._revision += 1
        for key, value in changes:
            self.bytes += len(key) + len(value)
            self.view.put(KeyEntry(key, value, self._revision, self._revision))
        self.table.update(self.view)


def measured(what: str, watcher: Watcher, changes: Callable[[int], Iterable[tuple[str, bytes]]]) -> None:
    """Print the size of a change and the time to apply it, averaged over ``REPEATS`` changes."""
    made = [tuple(changes(number)) for number in range(REPEATS)]
    watcher.bytes = 0
    began = time.process_time()
    for each in made:
        watcher.hear(*each)
    elapsed_s = time.process_time() - began
    print(f"{what}: {watcher.bytes / REPEATS:,.0f} bytes, {elapsed_s / REPEATS * 1e3:.2f} ms in each process")


def main() -> None:
    """Fill a cluster, then measure some changes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fan_out", description=__doc__)
    parser.add_argument("--nodes", type=int, default=1_000)
    parser.add_argument("--shards", type=int, default=65_536)
    options = parser.parse_args()
    names = [f"node-{number}" for number in range(options.nodes)]
    owners = [names[shard % len(names)] for shard in range(options.shards)]
    own = {name: dict.fromkeys(range(place, options.shards, len(names)), 3) for place, name in enumerate(names)}
    watcher = Watcher(options.shards)
    layout = watcher.layout
    began = time.process_time()
    for name in names:
        member = Member(name, f"{name}.nodes:7400", f"{name}.1", admin=f"http://{name}.nodes:7480")
        watcher.hear(
            (layout.node(name), member.encode()), (layout.claims(name), Claims(f"{name}.1", own[name]).encode())
        )
    print(
        f"{options.nodes} nodes register and claim: {watcher.bytes:,} bytes, "
        f"{time.process_time() - began:.2f} s in each process"
    )

    def claims(number: int) -> list[tuple[str, bytes]]:
        name = names[number % len(names)]
        return [(layout.claims(name), Claims(f"{name}.1", {**own[name], number + 1: 9 + number}).encode())]

    def targets(number: int) -> list[tuple[str, bytes]]:
        return [(layout.targets, Targets.of([names[number % len(names)], *owners[1:]]).encode())]

    def load(number: int) -> list[tuple[str, bytes]]:
        return [
            (
                layout.load(names[number % len(names)]),
                Load(1_000, 512.3, 0.4, 0.3, dict.fromkeys(range(8), 64.5)).encode(),
            )
        ]

    measured("a node claims one more shard", watcher, claims)
    measured("the leader writes new targets", watcher, targets)
    measured("a node reports its load", watcher, load)


if __name__ == "__main__":
    main()
