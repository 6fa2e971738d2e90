"""A node with far more objects than its container can hold, as a separate process: see ``test_container_limits.py``.

``python -m tests.acceptance.limited_node MOUNTED DSN`` reads its memory limit below MOUNTED, stores its objects in the
database DSN, as a node of a cluster does, and prints the results as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel

from goverse import Object, call
from goverse.limits import MIB
from goverse.model.frames import Operation, Reply, Request
from goverse.model.keys import ObjectKey
from goverse.objects.registry import Registry
from goverse.telemetry.resources import Allowance, Resources
from goverse_cli.collector import calm_collector
from goverse_node.node import Node
from goverse_node.options import NodeOptions
from goverse_node.stores.postgres.options import PostgresOptions
from goverse_node.stores.postgres.store import PostgresStore

OBJECTS = 3_000
PICTURES = 400
AT_ONCE = 50


class Picture(BaseModel):
    """A model that takes fourteen times its JSON size in memory, while a node estimates eight times."""

    width: int
    height: int
    place: str = ""


class Album(Object):
    """An object that is larger in memory than the node estimates."""

    pictures: list[Picture] = []

    @call
    def fill(self, number: int) -> int:
        """Replace all pictures."""
        self.pictures = [Picture(width=number, height=index, place=f"shelf {index}") for index in range(PICTURES)]
        return len(self.pictures)

    @call(readonly=True)
    def last(self) -> list[int]:
        """Return the number of pictures, and the width and height of the last one."""
        return [len(self.pictures), self.pictures[-1].width, self.pictures[-1].height]


async def ask(node: Node, method: str, numbers: Iterable[int], **arguments: str) -> list[Any]:
    """Call all albums concurrently and return their results."""
    futures = [
        node.submit(
            Request(
                Operation.CALL,
                ObjectKey("default", "Album", f"album-{number}"),
                method,
                orjson.dumps({"number": number}) if method == "fill" else b"",
                node.now() + 60.0,
                "r",
            )
        )
        for number in numbers
    ]
    replies: list[Reply] = await asyncio.gather(*futures)
    for reply in replies:
        assert reply.problem is None, reply.problem
    return [orjson.loads(reply.body) for reply in replies]


async def run(mounted: Path, dsn: str) -> dict[str, Any]:
    """Fill all objects, read them again, and return the results."""
    calm_collector()
    store = PostgresStore(PostgresOptions(dsn=dsn))
    await store.open()
    # The configured bound is far too high to protect the process, so only the measured memory can.
    options = NodeOptions(activations_bytes_max=100_000 * MIB)
    node = Node(Registry([Album]), store, options=options, memory=Resources(mounted).memory)
    await node.start()
    least = node.activations.bytes_max
    wrong = 0
    for method in ("fill", "last"):
        for first in range(0, OBJECTS, AT_ONCE):
            numbers = range(first, first + AT_ONCE)
            answers = await ask(node, method, numbers)
            expected = [PICTURES if method == "fill" else [PICTURES, n, PICTURES - 1] for n in numbers]
            wrong += sum(answer != right for answer, right in zip(answers, expected, strict=True))
            least = min(least, node.activations.bytes_max)
    figures = {
        "wrong": wrong,
        "limit_bytes": Allowance.read(mounted).memory_bytes,
        "peak_bytes": peak_bytes(),
        "least_bound_bytes": least,
        "resident": len(node.activations),
        "passivations": node.stats.passivations,
    }
    await node.stop()
    await store.close()
    return figures


def peak_bytes() -> int:
    """Return the peak of this process's resident memory."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("/proc/self/status has no VmHWM")


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(Path(sys.argv[1]), sys.argv[2]))))  # noqa: T201
