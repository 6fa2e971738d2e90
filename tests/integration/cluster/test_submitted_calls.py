"""Submitted calls in a cluster: found by their ids from any node, accepted once, also if the reply is lost."""

from __future__ import annotations

from asyncio import Future
from dataclasses import replace
from typing import Any

import orjson
import pytest

from goverse import Object, call
from goverse.model.call_ids import place_of_call, placement_of_call
from goverse.model.frames import Operation, Reply
from goverse_node.ownership.shutdown import Shutdown
from tests.nodes import code, key_of, until, value
from tests.twin_cluster import TwinCluster

pytestmark = pytest.mark.requirement("DUR-3")


class Log(Object):
    lines: list[str] = []

    @call
    async def add(self, line: str) -> int:
        self.lines.append(line)
        return len(self.lines)

    @call(readonly=True)
    async def read(self) -> list[str]:
        return self.lines


def submit(cluster: TwinCluster, object_id: str, line: str, **further: Any) -> Future[Reply]:
    request = cluster.request(Log, object_id, "add", line=line)
    return cluster.router.submit(replace(request, operation=Operation.SEND, **further))


def ask(cluster: TwinCluster, verb: str, call_id: str, **further: Any) -> Future[Reply]:
    placement = placement_of_call(call_id)
    assert placement is not None
    request = cluster.request(Log, "-", verb, timeout_s=20.0)
    body = orjson.dumps({"id": call_id, **further})
    key = place_of_call("default", placement)
    return cluster.router.submit(replace(request, operation=Operation.CALLS, key=key, body=body))


def owner(cluster: TwinCluster, object_id: str) -> str | None:
    return cluster.owners()[cluster.router.table.shard_of(key_of(Log, object_id))]


async def test_a_call_is_found_by_its_id_alone() -> None:
    async with TwinCluster(Log) as cluster:
        await cluster.join("a", "b")
        await cluster.served("a", "b")
        sent = [value(await submit(cluster, f"l{number}", "x"))["id"] for number in range(24)]
        ended = [value(await ask(cluster, "show", each, wait_ms=15_000)) for each in sent]
        assert [each["state"] for each in ended] == ["success"] * 24
        assert [(await ask(cluster, "result", each)).body for each in sent] == [b"1"] * 24


async def test_each_node_lists_the_calls_of_all() -> None:
    async with TwinCluster(Log) as cluster:
        await cluster.join("a", "b")
        await cluster.served("a", "b")
        sent = [value(await submit(cluster, f"l{number}", "x", delay_ms=3_600_000))["id"] for number in range(24)]
        for host in cluster.hosts.values():
            request = cluster.request(Log, "-", "list")
            place = place_of_call("default", 0)
            asked = replace(request, operation=Operation.CALLS, key=place, body=b'{"state":"pending"}')
            items = value(await host.node.submit(asked))["items"]
            assert sorted(each["id"] for each in items) == sorted(sent)
            reasons = {each["waits_for"].partition(";")[0][:6] for each in items}
            assert reasons == {"due in", "its se"}


async def test_a_lost_reply_does_not_submit_a_call_twice() -> None:
    async with TwinCluster(Log) as cluster:
        await cluster.join("a")
        await cluster.served("a")
        host = cluster.hosts["a"]
        for number in range(10):
            submitted = submit(cluster, f"l{number}", "x")
            host.break_streams()  # the router has no reply, and sends the request again
            sent = value(await submitted)["id"]
            assert value(await ask(cluster, "show", sent, wait_ms=15_000))["state"] == "success"
        assert cluster.router.stats.forwards == 0
        assert sum(cluster.router.stats.misses.values()) >= 10
        for number in range(10):
            assert value(await cluster.call(Log, f"l{number}", "read")) == ["x"]


async def test_a_request_that_waits_follows_the_call_to_its_next_owner() -> None:
    async with TwinCluster(Log) as cluster:
        await cluster.join("a")
        await cluster.served("a")
        late = value(await submit(cluster, "l", "x", delay_ms=3_600_000))["id"]
        waiting = ask(cluster, "show", late, wait_ms=15_000)
        await until(lambda: len(cluster.hosts["a"].node.requests.waits) == 1)
        await cluster.join("b")
        assert await cluster.hosts["a"].leave(Shutdown.GRACEFUL)
        await cluster.served("b")
        await until(lambda: len(cluster.hosts["b"].node.requests.waits) == 1)
        assert value(await ask(cluster, "cancel", late))["id"] == late
        assert value(await waiting)["state"] == "cancelled"


async def test_a_key_is_recognised_by_the_next_owner() -> None:
    async with TwinCluster(Log) as cluster:
        await cluster.join("a")
        await cluster.served("a")
        first = await submit(cluster, "l", "x", idempotency_key="k", delay_ms=200)
        cluster.hosts["a"].kill()
        await cluster.join("b")
        again = await submit(cluster, "l", "x", idempotency_key="k", delay_ms=200)
        assert (again.body, again.replayed) == (first.body, True)
        sent = value(first)["id"]
        assert value(await ask(cluster, "show", sent, wait_ms=15_000))["state"] == "success"
        assert code(await submit(cluster, "l", "y", idempotency_key="k")) == "idempotency_key_mismatch"
        assert value(await cluster.call(Log, "l", "read")) == ["x"]
