"""Cost of a one-way reliable call in PostgreSQL, relative to a plain durable record.

    python -m benchmarks.postgres_calls [--batches 300] [--size 64]

Commits batches over 1 000 pairs of objects, in turn: plain increments with a reply under a router's key; increments
that send a call (commit 1); increments that settle the calls (commit 2); and records that remove them from the outbox
(commit 3). Prints the server's CPU time per record of each kind, as the 10th percentile of the batches, and again while
another session holds a snapshot open. The last line is the alternative: the pending calls are part of the sender's
state, so each commit writes all of them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import asyncpg
import uvloop

from benchmarks.postgres import postgres
from benchmarks.processor_time import processor_s
from goverse.model.effects import ANY_VERSION, Effects, SentCall, encode_call
from goverse.model.keys import ObjectKey, router_key
from goverse.model.receipts import Delivery, Settlement, number_of
from goverse.model.records import CommitRecord, StoredReply
from goverse_node.stores.postgres import schema
from goverse_node.stores.postgres.options import PostgresOptions
from goverse_node.stores.postgres.store import PostgresStore

PAIRS: Final = 1_000
SHARDS: Final = 1_024
STATE: Final = b'{"value":12345678}'
REPLY: Final = b"\x01\x00\x00\x00\x00\x00\x00\x00\x01\x0012345678"
ROUTER: Final = "0123456789abcdef"
WAITING: Final = 20
"""Pending calls of a sender, for the alternative."""
KINDS: Final = ("plain", "send", "settle", "remove", f"state with {WAITING} calls")


class Traffic:
    """Batches of calls from ``Order`` objects to ``Account`` objects, each pair in order."""

    def __init__(self, epochs: dict[int, int]) -> None:
        self._epochs = epochs
        self._versions: dict[ObjectKey, int] = {}
        self._prev = [0] * PAIRS
        self._count = 0

    def plain(self, first: int, size: int) -> list[CommitRecord]:
        """Return increments of objects that send nothing."""
        return [self._changed("Counter", at) for at in _range(first, size)]

    def sends(self, first: int, size: int) -> list[CommitRecord]:
        """Return increments that send a call each."""
        return [replace(self._changed("Order", at), effects=Effects((_call(at),))) for at in _range(first, size)]

    def settles(self, first: int, seqs: Sequence[int]) -> list[CommitRecord]:
        """Return increments that settle the calls of ``sends``."""
        batch: list[CommitRecord] = []
        for at, seq in zip(_range(first, len(seqs)), seqs, strict=True):
            number, prev = number_of(seq, 0), self._prev[at]
            delivery = Delivery(_key("Order", at), number, prev, number)
            record = self._changed("Account", at)
            record.idempotency_key = record.reply = None
            batch.append(replace(record, effects=Effects(settles=Settlement(delivery, REPLY))))
            self._prev[at] = number
        return batch

    def removes(self, first: int, seqs: Sequence[int]) -> list[CommitRecord]:
        """Return records that remove the calls of ``sends``."""
        return [
            CommitRecord(
                *(_key("Order", at), ANY_VERSION, ANY_VERSION, None, 1, 0, None, None),
                *(at % SHARDS, self._epochs[at % SHARDS]),
                effects=Effects(removes=(number_of(seq, 0),)),
            )
            for at, seq in zip(_range(first, len(seqs)), seqs, strict=True)
        ]

    def inside(self, first: int, size: int) -> list[CommitRecord]:
        """Return increments of objects whose state contains their pending calls."""
        calls = encode_call(_call(0)) * WAITING
        return [replace(self._changed("Sender", at), state=STATE + calls) for at in _range(first, size)]

    def _changed(self, type_name: str, at: int) -> CommitRecord:
        key = _key(type_name, at)
        version = self._versions.get(key, 0)
        self._versions[key] = version + 1
        self._count += 1
        now_ms = time.time_ns() // 1_000_000
        reply = StoredReply(b"f" * 16, REPLY, now_ms + 900_000)
        shard = at % SHARDS
        return CommitRecord(
            *(key, version, version + 1, STATE, 1, now_ms, router_key(ROUTER, self._count), reply),
            *(shard, self._epochs[shard], True),
        )


def _key(type_name: str, at: int) -> ObjectKey:
    return ObjectKey("default", type_name, f"o{at}")


def _range(first: int, size: int) -> list[int]:
    return [at % PAIRS for at in range(first, first + size)]


def _call(at: int) -> SentCall:
    return SentCall(f"c_{at:026x}", _key("Account", at), "deposit", b'{"cents":5}', expires_ms=1 << 42, sent_ms=1 << 41)


async def measure(
    store: PostgresStore, traffic: Traffic, server: Callable[[], float], batches: int, size: int
) -> list[float]:
    """Return the server's microseconds per record, for each of ``KINDS``."""
    costs: list[list[float]] = [[] for _ in KINDS]
    for number in range(batches):
        first, seqs = number * size, list[int]()
        for kind, found in enumerate(costs):
            batch = (
                lambda: traffic.plain(first, size),  # noqa: B023 - called in this turn of the loop
                lambda: traffic.sends(first, size),  # noqa: B023
                lambda: traffic.settles(first, seqs),  # noqa: B023
                lambda: traffic.removes(first, seqs),  # noqa: B023
                lambda: traffic.inside(first, size),  # noqa: B023
            )[kind]()
            before = server()
            outcomes = await store.commit(batch)
            found.append((server() - before) / size * 1e6)
            if kind == 1:
                seqs = [seq for seq in outcomes if isinstance(seq, int)]
    return [sorted(found)[len(found) // 10] for found in costs]


async def run(dsn: str, *, batches: int, size: int) -> None:
    """Measure without and with an open snapshot, and print."""
    connection = await asyncpg.connect(dsn)
    await schema.migrate(connection)
    store = PostgresStore(PostgresOptions(dsn=dsn), owner="bench")
    await store.open()
    traffic = Traffic(dict(await store.claim(range(SHARDS), "bench")))
    pids = [row[0] for row in await connection.fetch("SELECT pid FROM pg_stat_activity WHERE datname IS NOT NULL")]

    def server() -> float:
        return sum(map(processor_s, pids))

    await measure(store, traffic, server, PAIRS // size + 8, size)
    for name in ("", "with an open snapshot: "):
        if name:
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM goverse.objects")
        found = await measure(store, traffic, server, batches, size)
        for kind, cost in zip(KINDS, found, strict=True):
            print(f"{name}{kind}: {cost:.1f} µs per record, {cost / found[0]:.2f} of a plain one", flush=True)
    await store.close()
    await connection.close()


def main() -> None:
    """Measure on a temporary server."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=300)
    parser.add_argument("--size", type=int, default=64)
    options = parser.parse_args()
    with postgres(Path(tempfile.gettempdir())) as (dsn, _):
        uvloop.run(run(dsn, batches=options.batches, size=options.size))


if __name__ == "__main__":
    main()
