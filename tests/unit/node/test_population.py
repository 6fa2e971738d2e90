"""Objects that create, delete and list other objects."""

import asyncio
from typing import Any

import pytest

from goverse import (
    BusinessError,
    GoverseError,
    Object,
    ObjectExists,
    ObjectNotFound,
    call,
    raises,
)
from goverse.testing import ObjectHost
from tests.gated_store import GatedStore
from tests.nodes import bench, code, key_of, problem, settle, value


class Full(BusinessError):
    """The hall has no seats left."""

    status = 409
    code = "full_in_population"


class Ticket(Object, create="internal", delete="internal"):
    seat: str
    paid: bool = False

    @raises(Full)
    async def on_create(self, seat: str, paid: bool = False) -> None:
        if seat == "none":
            raise Full("the hall is full", left=0)
        self.seat, self.paid = seat, paid

    @raises(Full)
    async def on_delete(self) -> None:
        if self.paid:
            raise Full("a paid ticket stays")


class Fixed(Object, create="nobody", delete="nobody"):
    pass


class Desk(Object):
    sold: list[str] = []

    @call(raises=(Full,))
    async def sell(self, seat: str, object_id: str | None = None) -> str:
        ticket = await self.create(Ticket, object_id, seat=seat)
        self.sold.append(ticket.id)
        return ticket.id

    @call
    async def note(self, word: str) -> None:
        self.sold.append(word)

    @call(raises=(Full,))
    async def sell_by_name(self, object_id: str) -> str:
        ticket = await self.create("Ticket", object_id, seat="A1", paid=True)
        return str(ticket.id)

    @call(raises=(Full,))
    async def refund(self, object_id: str) -> None:
        await self.delete(self.ref(Ticket, object_id))
        self.sold.remove(object_id)

    @call
    async def refund_by_name(self, object_id: str) -> None:
        await self.delete("Ticket", object_id)

    @call
    async def try_it(self, what: str) -> str:
        other: Any = self
        try:
            match what:
                case "create itself":
                    await self.create(Desk, self.id)
                case "delete itself":
                    await self.delete(Desk, self.id)
                case "delete itself by reference":
                    await self.delete(self.ref(Desk, self.id))
                case "delete the caller":
                    await self.ref(Closing, "c").close(self.id)
                case "create a forbidden type":
                    await self.create(Fixed, "f")
                case "wrong argument":
                    await self.create(Ticket, "t", seet="A1")
                case "wrong type":
                    await self.create(Ticket, "t", seat=3)
                case "no reference":
                    await other.delete("Ticket")
                case "reserved id":
                    await self.create(Ticket, "query", seat="A1")
        except (GoverseError, TypeError) as error:
            return f"{type(error).__name__}: {error}"
        return "went well"

    @call(readonly=True)
    async def look(self, verb: str) -> None:
        await (self.create(Ticket, "t", seat="A1") if verb == "create" else self.delete(Ticket, "t"))

    @call(readonly=True)
    async def found(self, prefix: str = "", limit: int | None = None, after: str | None = None) -> list[list[Any]]:
        return [[each.id, each.version] for each in await self.list(Ticket, prefix=prefix, limit=limit, after=after)]

    @call(readonly=True)
    async def all(self, prefix: str = "", limit: int | None = None) -> list[str]:
        return [each.id async for each in self.list("Ticket", prefix=prefix, limit=limit)]


class Closing(Object):
    @call
    async def close(self, desk: str) -> None:
        await self.delete(Desk, desk)


@pytest.mark.requirement("OBJ-15")
async def test_an_object_creates_and_deletes_others() -> None:
    async with ObjectHost(Desk, Ticket) as host:
        desk = host.ref(Desk, "d")
        assert await desk.sell("A1", object_id="t-1") == "t-1"
        assert await host.state(Ticket, "t-1") == {"seat": "A1", "paid": False}
        assert await desk.sell_by_name("t-2") == "t-2"
        assert await host.state(Ticket, "t-2") == {"seat": "A1", "paid": True}

        await desk.refund("t-1")
        assert await host.state(Ticket, "t-1") is None
        assert await host.state(Desk, "d") == {"sold": []}


@pytest.mark.requirement("OBJ-15")
async def test_what_the_other_object_refuses_is_raised_where_it_was_asked() -> None:
    async with ObjectHost(Desk, Ticket) as host:
        desk = host.ref(Desk, "d")
        await desk.sell_by_name("t")
        with pytest.raises(ObjectExists, match="Ticket/t already exists"):
            await desk.sell("A1", object_id="t")
        with pytest.raises(Full, match="the hall is full") as full:
            await desk.sell("none", object_id="n")
        assert full.value.extra == {"left": 0}
        with pytest.raises(Full, match="a paid ticket stays"):
            await desk.refund("t")
        with pytest.raises(ObjectNotFound, match="Ticket/nothing does not exist"):
            await desk.refund_by_name("nothing")
        assert await host.state(Desk, "d") == {"sold": []}


@pytest.mark.requirement("OBJ-15", "DUR-2")
async def test_a_repeated_call_creates_one_object_with_one_id() -> None:
    async with bench(Desk, Ticket) as b:
        chosen = value(await b.call(Desk, "d", "sell", {"seat": "A1"}, idempotency_key="k"))
        await b.passivate()
        assert value(await b.call(Desk, "d", "sell", {"seat": "A1"}, idempotency_key="k")) == chosen
        other = value(await b.call(Desk, "d", "sell", {"seat": "A1"}, idempotency_key="l"))
        plain = value(await b.call(Desk, "d", "sell", {"seat": "A1"}))
        assert len({chosen, other, plain}) == 3
        listed = await b.node.list("default", "Ticket", prefix="", after=None, limit=10)
        assert [each.version for each in listed] == [1, 1, 1]


@pytest.mark.requirement("OBJ-15", "DUR-2")
async def test_a_turn_that_broke_after_its_create_finds_the_object_of_its_first_attempt() -> None:
    BROKEN.clear()
    async with bench(Breaking, Ticket) as b:
        BROKEN.append("now")
        assert code(await b.call(Breaking, "d", "sell", idempotency_key="k")) == "method_failed"
        [first] = await b.node.list("default", "Ticket", prefix="", after=None, limit=10)
        again = value(await b.call(Breaking, "d", "sell", idempotency_key="k"))
        assert again == [first.id, "named"]
        listed = await b.node.list("default", "Ticket", prefix="", after=None, limit=10)
        assert sorted(each.id for each in listed) == sorted([first.id, "named"])


BROKEN: list[str] = []


class Breaking(Object):
    sold: list[str] = []

    @call
    async def sell(self) -> list[str]:
        self.sold = [(await self.create(Ticket, seat="A1")).id]
        if BROKEN:
            raise ValueError(BROKEN.pop())
        self.sold.append((await self.create(Ticket, "named", seat="A2")).id)
        await self.create(Ticket, "gone", seat="A3")
        await self.delete(Ticket, "gone")
        return self.sold


@pytest.mark.requirement("OBJ-15", "DUR-1")
async def test_a_create_leaves_only_when_the_earlier_turns_are_durable() -> None:
    store = GatedStore()
    async with bench(Desk, Ticket, store=store) as b:
        store.hold()
        earlier = b.call(Desk, "d", "note", {"word": "first"})
        selling = b.call(Desk, "d", "sell", {"seat": "A1", "object_id": "t-1"})
        await settle()
        assert not b.resident(Ticket, "t-1")
        store.release()
        assert value(await b.finish(selling)) == "t-1"
        assert code(await earlier) == ""


@pytest.mark.requirement("OBJ-15")
@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("create itself", "Deadlock: Desk/d cannot create itself"),
        ("delete itself", "Deadlock: Desk/d cannot delete itself"),
        ("delete itself by reference", "Deadlock: Desk/d cannot delete itself"),
        ("delete the caller", "Deadlock: Desk/d cannot be created or deleted by a call that it waits for"),
        ("create a forbidden type", "AccessDenied: no caller may create Fixed objects"),
        ("wrong argument", "TypeError: Ticket.on_create got an unexpected keyword argument 'seet'"),
        ("wrong type", "InvalidArguments: the arguments do not fit Ticket.on_create: /seat"),
        ("no reference", "TypeError: self.delete takes a reference, or a type and an id"),
        ("reserved id", "MalformedRequest: 'query' is reserved"),
    ],
)
async def test_a_mistaken_create_or_delete_says_what_is_wrong(what: str, told: str) -> None:
    async with ObjectHost(Desk, Ticket, Closing, Fixed) as host:
        answer = await host.ref(Desk, "d").try_it(what)
        assert answer.startswith(told), answer


@pytest.mark.requirement("OBJ-15", "OBJ-2")
@pytest.mark.parametrize("verb", ["create", "delete"])
async def test_a_readonly_call_creates_and_deletes_nothing(verb: str) -> None:
    async with bench(Desk, Ticket) as b:
        assert code(await b.create(Ticket, "t", arguments={"seat": "A1"}, chain=(key_of(Desk, "x"),))) == ""
        await b.delete(Ticket, "t", chain=(key_of(Desk, "x"),)) if verb == "create" else None
        refused = problem(await b.call(Desk, "d", "look", {"verb": verb}))
        assert refused.code == "readonly_violation"
        assert f"Desk.look is readonly and cannot {verb} Ticket/t" in refused.detail
        assert code(await b.read(Ticket, "t")) == ("object_not_found" if verb == "create" else "")


@pytest.mark.requirement("OBJ-15")
async def test_an_object_lists_others_by_their_ids() -> None:
    async with ObjectHost(Desk, Ticket) as host:
        desk = host.ref(Desk, "d")
        for number in range(3):
            await desk.sell("A1", object_id=f"a/{number}")
        await desk.sell("B1", object_id="b/0")

        assert await desk.found(prefix="a/") == [["a/0", 1], ["a/1", 1], ["a/2", 1]]
        assert await desk.found(prefix="a/", limit=2) == [["a/0", 1], ["a/1", 1]]
        assert await desk.found(after="a/1") == [["a/2", 1], ["b/0", 1]]
        assert await desk.all() == ["a/0", "a/1", "a/2", "b/0"]
        assert await desk.all(limit=3) == ["a/0", "a/1", "a/2"]
        assert await host.ref(Desk, "other").all(prefix="c") == []


@pytest.mark.requirement("OBJ-15")
async def test_a_listing_goes_on_over_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("goverse.objects.other_objects.LIST_LIMIT_MAX", 2)
    async with ObjectHost(Desk, Ticket) as host:
        desk = host.ref(Desk, "d")
        for number in range(5):
            await desk.sell("A1", object_id=f"{number}")
        assert await desk.all() == [f"{number}" for number in range(5)]
        assert await desk.all(limit=3) == ["0", "1", "2"]
        assert [each[0] for each in await desk.found(limit=5)] == [f"{number}" for number in range(5)]


class Hasty(Object):
    """Creates objects in tasks, in another order in each attempt."""

    sold: dict[str, str] = {}

    @call
    async def sell(self) -> dict[str, str]:
        async def one(seat: str) -> None:
            self.sold[seat] = (await self.create(Ticket, seat=seat)).id

        seats = ["A1", "A2", "A3"]
        await asyncio.gather(*map(one, reversed(seats) if BROKEN else seats))
        if BROKEN:
            raise ValueError(BROKEN.pop())
        return self.sold


@pytest.mark.requirement("OBJ-15", "DUR-2")
async def test_concurrent_creates_get_the_ids_of_the_first_attempt_in_any_order(
    caplog: pytest.LogCaptureFixture,
) -> None:
    BROKEN.append("now")
    async with bench(Hasty, Ticket) as b:
        assert code(await b.call(Hasty, "h", "sell", idempotency_key="k")) == "method_failed"
        sold = value(await b.call(Hasty, "h", "sell", idempotency_key="k"))
        listed = await b.node.list("default", "Ticket", prefix="", after=None, limit=10)
        assert sorted(sold.values()) == [each.id for each in listed]
        for seat, object_id in sold.items():
            assert value(await b.read(Ticket, object_id))["seat"] == seat


class Opening(Object):
    """Creates an object in its hook and an equal one in the method that the same call runs."""

    sold: list[str] = []

    async def on_create(self) -> None:
        self.sold.append((await self.create(Ticket, seat="A1")).id)

    async def on_activate(self) -> None:
        await self.create(Ticket, f"of-{self.id}-{len(self.sold)}", seat="A1")

    async def on_delete(self) -> None:
        for ticket in self.sold:
            await self.delete(Ticket, ticket)

    @call
    async def sell(self) -> list[str]:
        self.sold.append((await self.create(Ticket, seat="A1")).id)
        return self.sold


@pytest.mark.requirement("OBJ-15", "OBJ-4", "DUR-2")
async def test_hooks_create_and_delete_as_methods_do() -> None:
    async with bench(Opening, Ticket) as b:
        sold = value(await b.call(Opening, "o", "sell", idempotency_key="k"))
        assert len(set(sold)) == 2
        assert value(await b.call(Opening, "o", "sell", idempotency_key="k")) == sold
        listed = await b.node.list("default", "Ticket", prefix="", after=None, limit=10)
        assert sorted(each.id for each in listed) == sorted([*sold, "of-o-1"])

        assert code(await b.delete(Opening, "o", chain=(key_of(Desk, "x"),), idempotency_key="d")) == ""
        listed = await b.node.list("default", "Ticket", prefix="", after=None, limit=10)
        assert [each.id for each in listed] == ["of-o-1"]
