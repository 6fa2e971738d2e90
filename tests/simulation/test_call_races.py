"""Calls that expire while their receivers are stopped: each takes effect or expires, and never both."""

from __future__ import annotations

import asyncio

import pytest

from tests.simulation.call_bugs import CALL_BUGS
from tests.simulation.cluster import SimulatedCluster
from tests.simulation.processes import SimulatedNode
from tests.simulation.program import Parcel
from tests.simulation.senders import party_key
from tests.simulation.settings import PARTIES, Settings

RACES = 1_000
AT_ONCE = 3
"""The calls of a pair in one race."""

END_S = 60.0


class Races:
    """Two nodes. The parties on one send calls to those on the other, which is stopped and continues.

    Attributes:
        count: the calls that were sent.
    """

    def __init__(self, races: int) -> None:
        # A delivery is given up while the receiver is stopped, so its repetition and a void one arrive with it.
        settings = Settings(nodes=2, gates=1, clients=0, senders=1, delivery_timeout_s=0.1)
        self.cluster = SimulatedCluster(1, settings)
        self.count = 0
        self._races = races
        self._random = self.cluster.world.random

    async def story(self) -> None:
        """Start the cluster, let calls race, and check what became of them."""
        cluster = self.cluster
        await cluster.start()
        table = cluster.gates[0].router.table
        parties: dict[str, list[str]] = {name: [] for name in cluster.nodes}
        for party in (f"party-{number}" for number in range(PARTIES)):
            route = table.route(table.shard_of(party_key(party)))
            assert route is not None
            parties[route.node].append(party)
        here, there = parties
        while self.count < self._races:
            stopping = asyncio.ensure_future(self._stop(cluster.nodes[there]))
            await asyncio.gather(*(self._send(source, parties[there]) for source in parties[here]))
            await stopping
            await cluster.until(lambda: not cluster.watchers.calls.left, END_S, look_s=0.02)
        await cluster.drained()
        cluster.judge()
        await cluster.end()

    async def _stop(self, node: SimulatedNode) -> None:
        await asyncio.sleep(self._random.uniform(0, 0.01))
        node.pause()
        await asyncio.sleep(self._random.uniform(0.02, 0.5))
        node.proceed()

    async def _send(self, source: str, targets: list[str]) -> None:
        parcels = [self._parcel(target) for target in targets for _ in range(AT_ONCE)]
        await self.cluster.senders[0].post(source, "post", parcels)

    def _parcel(self, target: str) -> Parcel:
        self.count += 1
        return Parcel(
            name=str(self.count),
            to=target,
            how="slow" if self._random.random() < 0.3 else "take",
            then="ended" if self._random.random() < 0.3 else "",
            expires_s=self._random.uniform(0.01, 0.5),
        )


@pytest.mark.requirement("DUR-3", "QUA-8")
def test_a_call_that_races_with_its_expiry_takes_effect_or_expires_and_never_both() -> None:
    races = Races(RACES)
    watchers = races.cluster.play(races.story())
    states = watchers.calls.states

    assert watchers.found == []
    assert states["success"] + states["expired"] == races.count
    assert min(states["success"], states["expired"]) > RACES // 5


def test_a_call_that_expires_without_its_receiver_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    bug = CALL_BUGS["void-calls-end-without-their-receiver"]
    bug.plant(monkeypatch)
    races = Races(RACES // 10)

    assert any(bug.complaint in each for each in races.cluster.play(races.story()).found)
