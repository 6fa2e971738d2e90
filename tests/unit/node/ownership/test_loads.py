"""Load reports: measurement, when a node writes them, and their effect on plans."""

from __future__ import annotations

from pathlib import Path

import pytest

from goverse import Object, call
from goverse.cluster.keys import KeyLayout
from goverse.cluster.lease import Lease
from goverse.cluster.member import Load
from goverse.cluster.view import ClusterView
from goverse.limits import LOAD_PAUSE_S, LOADS_PER_S_MAX
from goverse.ports.clock import SystemClock, boot_time
from goverse.ports.memory_coordinator import MemoryCoordinator
from goverse.ports.memory_keys import MemoryKeys
from goverse.telemetry.resources import Resources
from goverse_node.ownership.loads import LoadMeter, LoadPublisher, LoadReports, differs, pause_s
from goverse_node.ownership.situation import Reason
from tests.nodes import until, value
from tests.twin_cluster import TwinCluster

pytestmark = pytest.mark.requirement("CLU-4")


class Tally(Object):
    value: int = 0

    @call
    async def add(self) -> int:
        self.value += 1
        return self.value


class FixedGauges:
    def processor(self) -> float:
        return 0.8

    def memory(self) -> float:
        return 0.25


async def test_a_node_measures_objects_calls_and_its_busiest_shards() -> None:
    async with TwinCluster(Tally, lease_ttl_s=30.0) as cluster:
        await cluster.join("a")
        await cluster.served("a")
        meter, other = (LoadMeter(cluster.hosts["a"].node, FixedGauges()) for _ in range(2))
        for each in (meter, other):
            each(100.0)
        for shard, calls in ((3, 20), (5, 60), (7, 1)):
            for _ in range(calls):
                value(await cluster.call(Tally, f"shard#{shard}/t", "add"))
        for each in (meter, other):  # no reader takes figures from another one
            assert each(110.0) == Load(3, 8.1, 0.8, 0.25, {5: 6.0, 3: 2.0})
        assert meter(120.0) == Load(3, 0.0, 0.8, 0.25, {})


BEFORE = Load(10_000, 1_000.0, 0.5, 0.5, {7: 300.0})


@pytest.mark.parametrize(
    "after",
    [
        Load(13_000, 1_000.0, 0.5, 0.5, {7: 300.0}),
        Load(10_000, 1_300.0, 0.5, 0.5, {7: 300.0}),
        Load(10_000, 1_000.0, 0.6, 0.5, {7: 300.0}),
        Load(10_000, 1_000.0, 0.5, 0.4, {7: 300.0}),
        Load(10_000, 1_000.0, 0.5, 0.5, {9: 300.0}),
    ],
)
def test_what_would_change_a_plan_is_written(after: Load) -> None:
    assert differs(BEFORE, after)


def test_figures_that_wobble_are_not_written() -> None:
    assert not differs(BEFORE, Load(10_900, 1_100.0, 0.52, 0.47, {7: 330.0, 8: 90.0}))


def test_a_node_writes_seldom_and_seldomer_in_a_large_cluster() -> None:
    reports, busier = LoadReports(), Load(0, 5_000.0)
    assert reports.due(BEFORE, 1, 0.0, nodes=3)
    reports.written(BEFORE, 1, 0.0)
    assert not reports.due(busier, 1, LOAD_PAUSE_S - 0.1, nodes=3)
    assert reports.due(busier, 1, LOAD_PAUSE_S, nodes=3)
    assert not reports.due(BEFORE, 1, 1_000.0, nodes=3)
    assert reports.due(BEFORE, 2, 1.0, nodes=3)  # a new lease: the old key was deleted
    assert not reports.due(busier, 1, 49.0, nodes=1_000)
    assert 1_000 / pause_s(1_000) <= LOADS_PER_S_MAX


async def test_a_load_is_written_under_the_lease_once_for_as_long_as_it_does_not_change() -> None:
    keys, layout = MemoryKeys(SystemClock()), KeyLayout("test")
    coordinator, lease = MemoryCoordinator(keys), Lease(10.0)
    publisher = LoadPublisher(coordinator, ClusterView(layout), lease, node="a", now=boot_time)
    await publisher.publish(BEFORE, 0.0)
    assert publisher.writes == 0  # no lease yet
    lease.asked(0.0)
    granted = await coordinator.grant(10.0)
    lease.granted(granted.lease_id, granted.ttl_s)
    for at in (1.0, 2.0, 8.0):
        await publisher.publish(BEFORE, at)
    assert publisher.writes == 1
    (entry,) = (await coordinator.read(layout.load("a"))).entries
    assert Load.decode(entry.value) == BEFORE
    await coordinator.revoke(granted.lease_id)
    assert (await coordinator.read(layout.load("a"))).entries == []


async def test_the_leader_moves_busy_shards_away_from_a_node_that_says_it_is_busy() -> None:
    async with TwinCluster(Tally, lease_ttl_s=30.0) as cluster:
        await cluster.join("a", "b", "c")
        await cluster.served("a", "b", "c")
        own = [shard for shard, owner in enumerate(cluster.owners()) if owner == "a"]
        for name, host in cluster.hosts.items():
            busy = Load(10, 900.0, 0.9, 0.2, dict.fromkeys(own[:2], 200.0)) if name == "a" else Load(10, 10.0, 0.9, 0.2)
            await host.keeper.loads.publish(busy, boot_time())
        leaders = [host.keeper.leader for host in cluster.hosts.values() if host.keeper.leads]
        await until(lambda: sum(leader.reasons[Reason.LOAD] for leader in leaders) > 0)
        await until(lambda: any(cluster.owners()[shard] != "a" for shard in own[:2]))


def test_limits_of_the_control_group_come_before_those_of_the_machine(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "statm").write_text("4000 1024 0 0 0 0 0\n")
    (tmp_path / "meminfo").write_text("MemTotal:       16384000 kB\n")
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    (tmp_path / "memory.max").write_text(f"{64 * 1024 * 1024}\n")
    bounded = Resources(tmp_path, tmp_path)
    assert (bounded.processors, bounded.memory_bytes) == (0.5, 64 * 1024 * 1024)
    assert bounded.memory() == pytest.approx(1024 * 4096 / (64 * 1024 * 1024), rel=3)
    assert 0.0 <= bounded.processor() <= 1.0
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    free = Resources(tmp_path, tmp_path)
    assert (free.processors, free.memory_bytes) == (1.0, 16384000 * 1024)
