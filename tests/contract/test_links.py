"""The contract of the link port, run on every implementation."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from goverse.ports.link import Link
from goverse.testing.link_contract import CarrierContract, LinkContract
from goverse.testing.link_objects import Door
from tests.links import ledgers, pair
from tests.nodes import until


@pytest.fixture(autouse=True)
def shut_door() -> None:
    Door.waiting = []


@pytest.mark.requirement("OBJ-2")
class TestNode(LinkContract):
    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Link]:
        async with ledgers() as node:
            yield node


@pytest.mark.requirement("GATE-6", "QUA-6")
class TestGrpcLink(LinkContract):
    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Link]:
        async with pair() as self.ends:
            yield self.ends.link

    async def cancellations_arrived(self, waiting: int) -> None:
        await until(lambda: self.ends.server.inflight == waiting)


@pytest.mark.requirement("QUA-6")
class TestGrpcLinkWithTinyMessages(TestGrpcLink):
    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Link]:
        async with pair(message_bytes=300) as self.ends:
            yield self.ends.link


@pytest.mark.requirement("OBJ-2")
class TestNodeAsCarrier(CarrierContract, TestNode):
    pass


@pytest.mark.requirement("GATE-6")
class TestGrpcLinkAsCarrier(CarrierContract, TestGrpcLink):
    pass
