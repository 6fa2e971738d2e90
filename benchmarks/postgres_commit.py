"""Cost of a durable commit into PostgreSQL, split by feature.

    python -m benchmarks.postgres_commit [--seconds 2] [--sizes 16,64,256]

Commits batches of increments over 1 000 objects, one after the other, in these variants: a hand-written upsert of the
same rows; ``PostgresStore`` with position and change feed, whose entries have links and a cause; the same with the
fence over 1 024 shards; the same with a reply stored under a router's key; the same with a reply stored under a
caller's key. Prints records per second, and microseconds of CPU time per record in this process and in the server.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg
import uvloop

from benchmarks.postgres import postgres
from benchmarks.processor_time import processor_s
from goverse.model.cause import encode_call
from goverse.model.keys import ObjectKey, router_key
from goverse.model.records import CommitRecord, StoredReply
from goverse_node.stores.postgres import schema
from goverse_node.stores.postgres.options import PostgresOptions
from goverse_node.stores.postgres.store import PostgresStore

OBJECTS: Final = 1_000
SHARDS: Final = 1_024
STATE: Final = b'{"value":12345678}'
REPLY: Final = b"\x01\x00\x00\x00\x00\x00\x00\x00\x01\x0012345678"
CAUSE: Final = encode_call("increment", "", "0123456789abcdef", f"00-{'4bf92f3577b34da6' * 2}-00f067aa0ba902b7-01")
ROUTER: Final = "0123456789abcdef"
BY_HAND: Final = "upsert by hand"
VARIANTS: Final = {
    "position and change feed": (False, ""),
    "the same, fenced": (True, ""),
    "the same, with a router's key": (True, "router"),
    "the same, with a caller's key": (True, "caller"),
}
_TABLE: Final = "CREATE TABLE by_hand (id bytea PRIMARY KEY, version bigint NOT NULL, state bytea NOT NULL)"
_UPSERT: Final = """
INSERT INTO by_hand AS present (id, version, state) SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bytea[])
ON CONFLICT (id) DO UPDATE SET version = excluded.version, state = excluded.state
WHERE present.version = excluded.version - 1
"""


@dataclass(frozen=True)
class Cost:
    """Measured cost of batches of one size."""

    size: int
    records_per_s: float
    client_us: float
    server_us: float


class Increments:
    """Generator of batches of increments; each batch continues the previous one."""

    def __init__(self, epochs: dict[int, int], keys: str) -> None:
        """Start with objects that do not exist yet."""
        self._epochs = epochs
        self._keys = keys
        self._versions = [0] * OBJECTS
        self._number = 0

    def next(self, size: int) -> list[CommitRecord]:
        """Return the next batch."""
        return [self._record() for _ in range(size)]

    def _record(self) -> CommitRecord:
        self._number += 1
        at = self._number % OBJECTS
        version = self._versions[at] = self._versions[at] + 1
        shard = at % SHARDS
        used = {"router": router_key(ROUTER, self._number), "caller": f"key-{self._number * 2654435761 % 2**32:08x}"}
        now_ms = time.time_ns() // 1_000_000
        return CommitRecord(
            ObjectKey("default", "Counter", f"c{at}"),
            version - 1,
            version,
            STATE,
            1,
            now_ms,
            used.get(self._keys),
            StoredReply(b"f" * 16, REPLY, now_ms + 900_000) if self._keys else None,
            shard,
            self._epochs.get(shard, 0),
            self._keys == "router",
            cause=CAUSE,
        )


async def cost(
    commit: Callable[[Sequence[CommitRecord]], Awaitable[Any]],
    made: Increments,
    size: int,
    *,
    seconds: float,
    backends: Callable[[], float],
) -> Cost:
    """Commit batches of one size for ``seconds`` and return their cost."""
    for _ in range(2 * OBJECTS // size + 8):
        await commit(made.next(size))
    done = 0
    elapsed = 0.0
    client, server = time.process_time(), backends()
    preparing = 0.0
    while elapsed < seconds:
        began = time.process_time()
        batch = made.next(size)
        preparing += time.process_time() - began
        at = time.perf_counter()
        await commit(batch)
        elapsed += time.perf_counter() - at
        done += size
    client = time.process_time() - client - preparing
    return Cost(size, done / elapsed, client / done * 1e6, (backends() - server) / done * 1e6)


def _backends_of(dsn: str) -> Callable[[], float]:
    """Return a function that returns the CPU time of all backends that serve clients."""
    found = subprocess.run(
        ["psql", dsn, "-Atc", "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'"],
        check=True,
        capture_output=True,
        text=True,
    )
    pids = [int(line) for line in found.stdout.split()]
    return lambda: sum(processor_s(pid) for pid in pids)


async def measure(dsn: str, sizes: Sequence[int], *, seconds: float) -> dict[str, list[Cost]]:
    """Measure all variants."""
    connection = await asyncpg.connect(dsn)
    await schema.migrate(connection)
    await connection.execute(_TABLE)
    found: dict[str, list[Cost]] = {BY_HAND: []}

    async def by_hand(batch: Sequence[CommitRecord]) -> None:
        last = {record.key.id.encode(): record for record in batch}
        versions = [record.version for record in last.values()]
        await connection.execute(_UPSERT, list(last), versions, [record.state for record in last.values()])

    made = Increments({}, "")
    for size in sizes:
        found[BY_HAND].append(await cost(by_hand, made, size, seconds=seconds, backends=_backends_of(dsn)))
    for name, (fenced, keys) in VARIANTS.items():
        await connection.execute("TRUNCATE goverse.objects")
        store = PostgresStore(PostgresOptions(dsn=dsn), owner="bench")
        await store.open()
        made = Increments(dict(await store.claim(range(SHARDS), "bench")) if fenced else {}, keys)
        backends = _backends_of(dsn)
        found[name] = [await cost(store.commit, made, size, seconds=seconds, backends=backends) for size in sizes]
        await store.close()
    await connection.close()
    return found


def main() -> None:
    """Measure all variants on a temporary server."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--sizes", default="16,64,256")
    options = parser.parse_args()
    sizes = [int(size) for size in options.sizes.split(",")]
    with postgres(Path(tempfile.gettempdir())) as (dsn, _):
        for name, costs in uvloop.run(measure(dsn, sizes, seconds=options.seconds)).items():
            for each in costs:
                print(
                    f"{name:30} batch {each.size:4d}: {each.records_per_s:8,.0f} records/s, per record "
                    f"{each.client_us:5.1f} µs here, {each.server_us:5.1f} µs in the server"
                )


if __name__ == "__main__":
    main()
