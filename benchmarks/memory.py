"""Memory cost of objects: bytes per activation by size and kind of state, and bytes per object in the store.

    python -m benchmarks.memory [--objects 20000]

Objects are stored first and then activated by a readonly call, so the process grows only by the activations. The table
also shows the node's own estimate, whose constants in ``goverse_node/runtime/instance.py`` are derived from it.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel

from goverse import Object, call
from goverse.model.frames import Operation, Request
from goverse.model.keys import DEFAULT_NAMESPACE, ObjectKey
from goverse.model.records import CommitRecord
from goverse.objects.registry import Registry
from goverse.ports.store import Store
from goverse_node.node import Node
from goverse_node.options import NodeOptions
from goverse_node.stores.memory import MemoryStore
from goverse_node.stores.wal.store import WalStore

BATCH = 500
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Line(BaseModel):
    """A part of a larger state."""

    sku: str
    amount: int
    price: float


class Counter(Object):
    """A state of one number."""

    value: int = 0

    @call(readonly=True)
    def look(self) -> None:
        """Do nothing."""


class Page(Counter):
    """A state of one text."""

    text: str = ""


class Series(Counter):
    """A state of many numbers."""

    values: list[int] = []


class Cart(Counter):
    """A state of many small models."""

    lines: list[Line] = []


class Index(Counter):
    """A state of many short strings."""

    names: dict[str, str] = {}


STATES: dict[str, tuple[type[Object], dict[str, Any]]] = {
    "a counter": (Counter, {"value": 12_345}),
    "1 KiB of text": (Page, {"value": 1, "text": "x" * 1_000}),
    "1 KiB of numbers": (Series, {"value": 1, "values": list(range(100_000, 100_145))}),
    "1 KiB of models": (
        Cart,
        {"value": 1, "lines": [{"sku": f"sku-{n}", "amount": n, "price": 1.5} for n in range(25)]},
    ),
    "1 KiB of short strings": (Index, {"value": 1, "names": {f"key-{n:04}": f"value-{n:04}" for n in range(44)}}),
    "16 KiB of text": (Page, {"value": 1, "text": "x" * 16_000}),
    "16 KiB of numbers": (Series, {"value": 1, "values": list(range(100_000, 102_300))}),
}


def resident_bytes() -> int:
    """Return the resident memory of this process."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE_BYTES


async def fill(store: Store, name: str, state: bytes, count: int) -> None:
    """Store ``count`` objects."""
    at_ms = time.time_ns() // 1_000_000
    for first in range(0, count, BATCH):
        keys = (ObjectKey(DEFAULT_NAMESPACE, name, f"object-{n}") for n in range(first, first + BATCH))
        await store.commit([CommitRecord(key, 0, 1, state, 1, at_ms) for key in keys])


async def activation(user_class: type[Object], state: bytes, count: int) -> tuple[float, float]:
    """Return bytes per activation, measured and estimated."""
    store = MemoryStore(changes_kept=1)
    await store.open()
    name = user_class.__name__
    await fill(store, name, state, count)
    node = Node(Registry([user_class]), store, options=NodeOptions(activations_max=10**9, activations_bytes_max=10**12))
    await node.start()
    gc.collect()
    before = resident_bytes()
    for first in range(0, count, BATCH):
        keys = [ObjectKey(DEFAULT_NAMESPACE, name, f"object-{n}") for n in range(first, first + BATCH)]
        requests = [Request(Operation.CALL, key, "look", b"", node.now() + 60, "memory") for key in keys]
        replies = await asyncio.gather(*map(node.submit, requests))
        assert all(reply.problem is None for reply in replies)
    gc.collect()
    measured = (resident_bytes() - before) / count
    estimated = node.activations.bytes / count
    await node.stop()
    await store.close()
    return measured, estimated


async def stored(state: bytes, count: int) -> float:
    """Return the bytes of memory per object in the embedded store."""
    with tempfile.TemporaryDirectory() as folder:
        store = WalStore(Path(folder) / "data", snapshot_bytes=0)
        await store.open()
        gc.collect()
        before = resident_bytes()
        await fill(store, "Counter", state, count)
        gc.collect()
        measured = (resident_bytes() - before) / count
        await store.close()
    return measured


def measure(what: str, count: int) -> None:
    """Measure one row in a child process, because freed memory stays with the process and would distort later rows."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    if what in STATES:
        user_class, values = STATES[what]
        state = orjson.dumps(values)
        measured, estimated = asyncio.run(activation(user_class, state, count))
        print(
            f"{what:24} {len(state):>7} {measured:>10.0f} {estimated:>10.0f} {estimated / measured:>7.2f}", flush=True
        )
    else:
        for size in (20, 1_000):
            state = orjson.dumps({"text": "x" * size})
            print(f"{'stored':24} {len(state):>7} {asyncio.run(stored(state, 10 * count)):>10.0f}", flush=True)
    os._exit(0)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--objects", type=int, default=20_000)
    count = parser.parse_args().objects
    print(f"{'state':24} {'JSON':>7} {'measured':>10} {'estimated':>10} {'ratio':>7}   bytes per object", flush=True)
    for what in (*STATES, "stored"):
        measure(what, count)


if __name__ == "__main__":
    main()
