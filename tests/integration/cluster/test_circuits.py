"""Unreachable nodes get no calls. Calls for them are parked, and all resume when the node recovers."""

from __future__ import annotations

import asyncio

import pytest

from goverse import Object, call
from goverse.cluster.retry_state import Miss
from goverse.errors import Executed, Overloaded, Timeout, known
from goverse.model.frames import Problem
from goverse.routing.routed_call import miss_of
from goverse.wire.link_state import LinkPhase
from goverse.wire.liveness import Liveness, Verdict
from tests.nodes import code, problem, settle, until, value
from tests.twin_cluster import TwinCluster

pytestmark = pytest.mark.requirement("CLU-9", "GATE-6")


class Tally(Object):
    value: int = 0

    @call
    async def add(self) -> int:
        self.value += 1
        return self.value


@pytest.mark.parametrize(("phase", "silent"), [(LinkPhase.BROKEN, False), (LinkPhase.CONNECTED, True)])
async def test_calls_wait_untried_for_a_node_that_cannot_be_reached_and_go_on_at_its_first_word(
    phase: LinkPhase, silent: bool
) -> None:
    async with TwinCluster(Tally) as cluster:
        await cluster.join("a", "b")
        await cluster.served("a", "b")
        shards = [cluster.owners().index(name) for name in "ab"]
        cluster.tell("a", phase, silent=silent)
        held = [cluster.call(Tally, f"shard#{shards[0]}/{number}", "add") for number in range(50)]
        assert value(await cluster.call(Tally, f"shard#{shards[1]}/t", "add")) == 1  # the other node is healthy
        await settle()
        stats = cluster.router.stats
        assert (stats.held, stats.misses[Miss.UNSENT], len(cluster.router.parking)) == (50, 0, 50)
        assert cluster.router.links.unreachable == {"a"}

        cluster.tell("a", LinkPhase.CONNECTED)

        assert [value(reply) for reply in await asyncio.gather(*held)] == [1] * 50
        assert (stats.held, cluster.router.links.unreachable, cluster.router.links.openings) == (50, set(), 1)


async def test_a_parked_call_whose_caller_leaves_gives_its_place_free() -> None:
    async with TwinCluster(Tally) as cluster:
        await cluster.join("a")
        await cluster.served("a")
        cluster.tell("a", LinkPhase.BROKEN)
        left, stays = (cluster.call(Tally, name, "add") for name in ("t", "u"))
        left.cancel()
        await until(lambda: len(cluster.router.parking) == 1)
        cluster.tell("a", LinkPhase.CONNECTED)
        assert value(await stays) == 1


async def test_a_router_that_was_closed_parks_nothing() -> None:
    async with TwinCluster(Tally) as cluster:
        await cluster.router.close()
        refused = [await asyncio.wait_for(cluster.call(Tally, name, "add"), 5.0) for name in ("t", "u")]
        assert [code(reply) for reply in refused] == ["unavailable", "unavailable"]
        assert len(cluster.router.parking) == 0


async def test_calls_for_a_dead_node_go_on_elsewhere_when_its_lease_ran_out() -> None:
    async with TwinCluster(Tally) as cluster:
        await cluster.join("a", "b")
        await cluster.served("a", "b")
        shard = cluster.owners().index("a")
        cluster.hosts["a"].kill()
        cluster.tell("a", LinkPhase.BROKEN)
        held = cluster.call(Tally, f"shard#{shard}/t", "add")
        assert value(await held) == 1
        assert cluster.owners()[shard] == "b"
        await until(lambda: cluster.router.links.unreachable == set())


async def test_a_call_that_was_never_sent_by_its_deadline_says_when_to_try_again() -> None:
    async with TwinCluster(Tally) as cluster:
        await cluster.join("a")
        await cluster.served("a")
        cluster.tell("a", LinkPhase.BROKEN)
        refused = await cluster.call(Tally, "t", "add", timeout_s=0.2)
        assert code(refused) == "timeout"
        assert (problem(refused).executed, problem(refused).extra["retry_after_s"]) == (Executed.NO, 1)


def test_an_overloaded_node_is_not_called_again() -> None:
    assert miss_of(Problem.of(known(Overloaded(), Executed.NO))) is None
    assert miss_of(Problem.of(known(Timeout(), Executed.NO))) is None


def test_a_peer_is_silent_once_it_left_a_question_unanswered_for_as_long_as_it_took_to_ask() -> None:
    peer = Liveness(0.0, keepalive_s=2.0, silence_s_max=8.0)
    seen: list[tuple[float, Verdict, bool]] = []
    for tick in range(1, 45):
        now = tick / 10
        verdict = peer.check(now)
        seen.append((now, verdict, peer.silent(now)))
    assert [now for now, verdict, _ in seen if verdict is Verdict.PING] == [2.0]
    assert [now for now, _, silent in seen if silent] == [4.0, 4.1, 4.2, 4.3, 4.4]
    peer.received(4.5)
    assert not peer.silent(4.5)
