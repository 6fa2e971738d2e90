"""Calls to objects of other nodes: handlers, creation, deletion, listing, and repeated creation."""

import asyncio

import orjson
import pytest

from goverse import Object, call, handler
from goverse.model.frames import Operation, Reply, Request
from goverse_node.ownership.shutdown import Shutdown
from tests.nodes import code, key_of, value
from tests.twin_cluster import TwinCluster

COUNT = 24


class Ticket(Object, create="internal"):
    seat: str = ""
    paid: int = 0

    async def on_create(self, seat: str) -> None:
        self.seat = seat

    @handler
    async def pay(self) -> int:
        self.paid += 1
        return self.paid


class Event(Object):
    title: str = ""

    async def on_create(self, title: str = "") -> None:
        self.title = title


class Desk(Object):
    sold: list[str] = []

    @call
    async def sell(self, count: int) -> list[str]:
        tickets = [await self.create(Ticket, seat=str(number)) for number in range(count)]
        self.sold += [ticket.id for ticket in tickets]
        return [ticket.id for ticket in tickets]

    @call
    async def settle(self, ticket: str) -> int:
        return await self.ref(Ticket, ticket).pay()

    @call
    async def refund(self, ticket: str) -> int:
        await self.delete(Ticket, ticket)
        self.sold.remove(ticket)
        return len([each async for each in self.list(Ticket)])


async def _create(cluster: TwinCluster, object_id: str, title: str) -> Reply:
    deadline = asyncio.get_running_loop().time() + 10.0
    body = orjson.dumps({"title": title})
    return await cluster.router.submit(Request(Operation.CREATE, key_of(Event, object_id), "", body, deadline, "r"))


@pytest.mark.requirement("OBJ-14", "OBJ-15")
async def test_an_object_populates_the_whole_cluster() -> None:
    async with TwinCluster(Desk, Ticket) as cluster:
        await cluster.join("a", "b", "c")
        await cluster.served("a", "b", "c")
        sold = value(await cluster.call(Desk, "d", "sell", count=COUNT, key="k"))
        assert value(await cluster.call(Desk, "d", "sell", count=COUNT, key="k")) == sold
        assert len(await cluster.router.list("default", "Ticket", prefix="", after=None, limit=100)) == COUNT

        for ticket in sold:
            assert code(await cluster.call(Ticket, ticket, "pay")) == "access_denied"
            assert value(await cluster.call(Desk, "d", "settle", ticket=ticket)) == 1
        for left, ticket in zip(range(COUNT - 1, -1, -1), sold, strict=True):
            assert value(await cluster.call(Desk, "d", "refund", ticket=ticket)) == left
        assert code(await cluster.call(Desk, "d", "settle", ticket=sold[0])) == "object_not_found"


@pytest.mark.requirement("OBJ-3", "CLU-3")
async def test_creation_arguments_are_remembered_by_the_next_owner() -> None:
    async with TwinCluster(Event) as cluster:
        await cluster.join("a")
        await cluster.served("a")
        names = [f"e{number}" for number in range(COUNT)]
        for name in names:
            assert (await _create(cluster, name, "Gala")).created
        await cluster.join("b")
        await cluster.served("a", "b")
        await cluster.hosts["a"].leave(Shutdown.GRACEFUL)
        del cluster.hosts["a"]
        for name in names:
            again = await _create(cluster, name, "Gala")
            assert (code(again), again.created) == ("", False)
            assert code(await _create(cluster, name, "Ball")) == "object_exists"
