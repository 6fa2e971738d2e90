"""The contract of the coordinator port, run on every implementation."""

import asyncio
from collections.abc import Iterator

import pytest

from goverse.etcd.coordinator import EtcdCoordinator
from goverse.etcd.options import Endpoint, EtcdOptions
from goverse.ports.clock import ManualClock
from goverse.ports.coordinator import Coordinator
from goverse.ports.memory_coordinator import MemoryCoordinator
from goverse.ports.memory_keys import MemoryKeys
from goverse.testing.coordinator_contract import CoordinatorContract
from tests.etcd_server import EtcdCluster
from tests.simulation import etcd
from tests.simulation.world import World


@pytest.mark.requirement("CLU-12")
class TestMemoryCoordinator(CoordinatorContract):
    @pytest.fixture(autouse=True)
    def keys(self) -> None:
        self.clock = ManualClock()
        self.shared = MemoryKeys(self.clock)

    async def make_coordinator(self) -> Coordinator:
        return MemoryCoordinator(self.shared)

    async def compact(self) -> None:
        self.shared.compact()

    async def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.shared.expire()
        await asyncio.sleep(0)


@pytest.mark.requirement("CLU-12")
class TestMemoryCoordinatorThatIsSlow(TestMemoryCoordinator):
    async def make_coordinator(self) -> Coordinator:
        coordinator = MemoryCoordinator(self.shared)
        coordinator.reach.delay_s = 0.0005
        return coordinator

    async def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.shared.expire()
        await asyncio.sleep(0.002)


@pytest.mark.requirement("CLU-12")
class TestMemoryCoordinatorOfTheSimulation(TestMemoryCoordinatorThatIsSlow):
    @pytest.fixture(autouse=True)
    def world(self) -> Iterator[None]:
        self.simulated = World(7)
        yield
        self.simulated.loop.close()

    async def make_coordinator(self) -> Coordinator:
        return etcd.connect(self.simulated, self.shared, "node-0")

    async def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.shared.expire()
        await asyncio.sleep(0.05)


@pytest.mark.requirement("CLU-1")
class TestEtcdCoordinator(CoordinatorContract):
    @pytest.fixture(autouse=True)
    def etcd(self, etcd_server: EtcdCluster) -> None:
        self.server = etcd_server

    async def make_coordinator(self) -> Coordinator:
        return EtcdCoordinator(EtcdOptions(endpoints=tuple(map(Endpoint.parse, self.server.urls))))

    async def compact(self) -> None:
        await self.server.compact()


@pytest.mark.requirement("CLU-1")
class TestEtcdCoordinatorInANamespace(TestEtcdCoordinator):
    async def make_coordinator(self) -> Coordinator:
        endpoints = tuple(map(Endpoint.parse, self.server.urls))
        return EtcdCoordinator(EtcdOptions(endpoints=endpoints, namespace="/elsewhere/\U0001f600"))
