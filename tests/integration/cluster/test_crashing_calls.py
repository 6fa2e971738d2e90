"""Calls that end each node that runs them, in a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import orjson
import pytest

from goverse import Object, call
from goverse.errors import Executed
from goverse.model.call_ids import place_of_call, placement_of_call
from goverse.model.frames import Operation
from goverse.wire.link_state import LinkPhase
from tests.nodes import code, problem, value
from tests.twin_cluster import TwinCluster

BOMB = "shard#0/bomb"

_end_node: dict[str, Callable[[], None]] = {}


class Shop(Object):
    sold: int = 0

    @call
    async def explode(self) -> None:
        _end_node["that runs the call"]()
        await asyncio.Event().wait()

    @call
    async def buy(self) -> int:
        self.sold += 1
        return self.sold


def ends_nodes(cluster: TwinCluster) -> list[str]:
    """Let ``explode`` end the node that runs it, and return the nodes that it has ended."""
    ended: list[str] = []

    def end() -> None:
        owner = cluster.owners()[0]
        assert owner is not None
        ended.append(owner)
        cluster.hosts[owner].kill()
        cluster.tell(owner, LinkPhase.BROKEN)

    _end_node["that runs the call"] = end
    return ended


@pytest.mark.requirement("CLU-3")
async def test_a_plain_call_is_not_sent_to_a_fourth_node() -> None:
    async with TwinCluster(Shop) as cluster:
        ended = ends_nodes(cluster)
        await cluster.join(*"abcd")
        await cluster.served(*"abcd")
        reply = await cluster.call(Shop, BOMB, "explode")
        assert (code(reply), problem(reply).executed) == ("suspected_crash", Executed.UNKNOWN)
        assert len(set(ended)) == len(ended) == 3
        assert value(await cluster.call(Shop, BOMB, "buy")) == 1


@pytest.mark.requirement("DUR-3")
async def test_a_reliable_call_is_given_up_after_it_ended_four_nodes() -> None:
    async with TwinCluster(Shop) as cluster:
        ended = ends_nodes(cluster)
        await cluster.join(*"abcdef")
        await cluster.served(*"abcdef")
        request = cluster.request(Shop, BOMB, "explode")
        sent = value(await cluster.router.submit(replace(request, operation=Operation.SEND)))["id"]
        placement = placement_of_call(sent)
        assert placement is not None
        asked = replace(
            cluster.request(Shop, "-", "show", timeout_s=60.0),
            operation=Operation.CALLS,
            key=place_of_call("default", placement),
            body=orjson.dumps({"id": sent, "wait_ms": 50_000}),
        )
        shown = value(await cluster.router.submit(asked))
        assert (shown["state"], shown["problem"]["code"]) == ("dead", "suspected_crash")
        assert len(set(ended)) == len(ended) == 4
        assert value(await cluster.call(Shop, BOMB, "buy")) == 1
