"""Footprint of data and processes: bytes in PostgreSQL per object and per call, and memory of idle processes.

    python -m benchmarks.footprint            # prints the figures and writes benchmarks/footprint.json

The capacity calculator (`python3 -m scripts.operate size`) reads that file. Sizes do not depend on the load of the
machine, so the benchmark can run beside other work. States are random hexadecimal digits, which PostgreSQL can compress
to half their size at best.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import asyncpg
import uvloop

from benchmarks.cluster import cluster, database
from benchmarks.postgres import postgres
from goverse.model.keys import ObjectKey, router_key
from goverse.model.records import CommitRecord, StoredReply
from goverse_node.stores.postgres import schema
from goverse_node.stores.postgres.options import PostgresOptions
from goverse_node.stores.postgres.store import PostgresStore

FIGURES: Final = Path(__file__).with_name("footprint.json")
OBJECTS: Final = 4_000
BATCH: Final = 64
STATES: Final = (100, 1_000, 10_000)
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_SIZE: Final = """
SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'goverse' AND c.relkind = 'r' AND c.relname ~ $1
"""


def _record(number: int, version: int, state: bytes, used: str | None, *, routed: bool) -> CommitRecord:
    now_ms = time.time_ns() // 1_000_000
    reply = StoredReply(b"f" * 16, b"\x01\x00\x00\x00\x00\x00\x00\x00\x01\x0012345678", now_ms + 900_000)
    key = ObjectKey("default", "Counter", f"object-{number}")
    kept = reply if used is not None else None
    return CommitRecord(key, version - 1, version, state, 1, now_ms, used, kept, number % 64, 0, routed)


def _state(size: int) -> bytes:
    return b'{"text":"' + os.urandom(max(1, size - 11) // 2).hex().encode() + b'"}'


async def _commit(store: PostgresStore, version: int, size: int, keys: str) -> None:
    for first in range(0, OBJECTS, BATCH):
        numbers = range(first, min(first + BATCH, OBJECTS))
        records = [
            _record(number, version, _state(size), _key(keys, version * OBJECTS + number), routed=keys == "router")
            for number in numbers
        ]
        await store.commit(records)


def _key(keys: str, number: int) -> str | None:
    if not keys:
        return None
    return router_key("0123456789abcdef", number) if keys == "router" else f"key-{number:08x}"


async def weigh(dsn: str, size: int) -> dict[str, float]:
    """Return bytes per object and per call for states of one size."""
    connection = await asyncpg.connect(dsn)
    await schema.migrate(connection)
    store = PostgresStore(PostgresOptions(dsn=dsn), owner="bench")
    await store.open()

    async def bytes_of(tables: str) -> int:
        return int(await connection.fetchval(_SIZE, tables))

    empty = await bytes_of("^objects")
    await _commit(store, 1, size, "")
    found = {"object": (await bytes_of("^objects") - empty) / OBJECTS}
    for version, (keys, table) in enumerate((("router", "^router_replies"), ("caller", "^replies")), start=2):
        changes, replies = await bytes_of("^changes"), await bytes_of(table)
        log = await connection.fetchval("SELECT pg_current_wal_lsn()")
        await _commit(store, version, size, keys)
        found[f"reply, {keys}"] = (await bytes_of(table) - replies) / OBJECTS
        found["change"] = (await bytes_of("^changes") - changes) / OBJECTS
        written = await connection.fetchval("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), $1)", log)
        found[f"log, {keys}"] = float(written) / OBJECTS
    await store.close()
    await connection.close()
    return {name: round(value, 1) for name, value in found.items()}


def resident(dsn: str, folder: Path) -> dict[str, int]:
    """Return the resident memory of an idle gate and an idle node in bytes."""
    with cluster(folder, dsn) as running:
        return {
            part: int(Path(f"/proc/{running.pid(name)}/statm").read_text(encoding="ascii").split()[1]) * PAGE_BYTES
            for part, name in (("gate", "gate"), ("node", "n1"))
        }


def main() -> None:
    """Measure all sizes and write the file."""
    argparse.ArgumentParser(prog="python -m benchmarks.footprint", description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as parent, postgres(Path(tempfile.gettempdir())) as (dsn, version):
        found: dict[str, Any] = {"command": "python -m benchmarks.footprint", "postgres": version, "objects": OBJECTS}
        states = {size: uvloop.run(weigh(database(dsn, f"states_{size}"), size)) for size in STATES}
        found["bytes"] = {str(size): weights for size, weights in states.items()}
        found["resident_bytes"] = resident(database(dsn, "idle"), Path(parent) / "cluster")
    print(json.dumps(found, indent=2))
    FIGURES.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
