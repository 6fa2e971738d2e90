"""Two releases of a class on one store: the older one preserves members that the newer one wrote in nested models."""

import logging
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from goverse import BusinessError, Object, call
from goverse.testing import ObjectHost


class OldStreet(BaseModel):
    name: str = ""


class OldAddress(BaseModel):
    street: OldStreet = OldStreet()
    zip_code: str = Field(default="", alias="zip")


@dataclass
class OldLine:
    sku: str = ""


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)
    cents: int = 0


class Refused(BusinessError):
    """No."""

    status = 409
    code = "refused_for_a_test"


class Customer(Object):
    """The older release."""

    address: OldAddress = OldAddress()
    others: list[OldAddress] = []
    by_city: dict[str, list[OldAddress]] = {}
    lines: list[OldLine] = []
    price: Frozen = Frozen()
    maybe: OldAddress | None = None
    visits: int = 0

    @call
    async def visit(self) -> None:
        self.visits += 1

    @call
    async def change(self) -> None:
        self.address.street.name = "new street"
        self.others.reverse()
        self.price = self.price.model_copy(update={"cents": 7})
        self.lines.pop(0)

    @call
    async def move(self) -> None:
        self.address = OldAddress.model_validate({"zip": "2"})

    @call
    async def refuse(self) -> None:
        self.address.street.name = "nowhere"
        raise Refused


NEWER: dict[str, Any] = {
    "address": {"street": {"name": "a", "side": "left"}, "zip": "1", "door_code": "1234"},
    "others": [{"street": {"name": "b"}, "zip": "", "door_code": "5"}, {"street": {"name": "c"}, "zip": ""}],
    "by_city": {"Rome": [{"street": {"name": "d"}, "zip": "", "door_code": "6"}]},
    "lines": [{"sku": "x", "discount": 1}, {"sku": "y", "discount": 2}],
    "price": {"cents": 5, "currency": "EUR"},
    "maybe": {"street": {"name": "e"}, "zip": "", "door_code": None},
    "visits": 0,
    "vip": True,
}


async def _state_after(*methods: str, passivate: bool = True) -> dict[str, Any]:
    async with ObjectHost(Customer) as host:
        await host.store_state(Customer, "1", NEWER, state_version=1)
        for method in methods:
            try:
                await getattr(host.ref(Customer, "1"), method)()
            except Refused:
                continue
            finally:
                if passivate:
                    await host.passivate()
        state = await host.state(Customer, "1")
        assert state is not None
        return state


@pytest.mark.requirement("OBJ-11", "OBJ-13")
@pytest.mark.parametrize("passivate", [True, False])
async def test_members_that_a_newer_release_wrote_survive_a_write_of_an_older_one(passivate: bool) -> None:
    state = await _state_after("visit", "refuse", "visit", passivate=passivate)

    assert state == {**NEWER, "visits": 2}


@pytest.mark.requirement("OBJ-11", "OBJ-13")
async def test_unknown_members_follow_the_model_that_they_belong_to() -> None:
    state = await _state_after("change")

    assert state["address"] == {"street": {"name": "new street", "side": "left"}, "zip": "1", "door_code": "1234"}
    assert state["others"] == list(reversed(NEWER["others"]))
    assert state["price"] == {"cents": 7, "currency": "EUR"}
    assert state["lines"] == [{"sku": "y", "discount": 2}]


@pytest.mark.requirement("OBJ-11")
async def test_a_replaced_model_starts_without_unknown_members() -> None:
    state = await _state_after("move")

    assert state["address"] == {"street": {"name": ""}, "zip": "2"}


class Money(BaseModel):
    cents: int = 0

    @model_validator(mode="before")
    @classmethod
    def _from_euros(cls, data: Any) -> Any:
        if isinstance(data, dict) and "euros" in data:
            return {"cents": data["euros"] * 100}
        return data


class Plain(BaseModel):
    cents: int = 0


def _from_euros(data: Any) -> Any:
    return {"cents": data["euros"] * 100} if isinstance(data, dict) and "euros" in data else data


class Purse(Object):
    one: Money = Money()
    two: Annotated[Plain, BeforeValidator(_from_euros)] = Plain()

    @call
    async def spend(self) -> int:
        self.one.cents -= 1
        self.two.cents -= 1
        return self.one.cents + self.two.cents


@pytest.mark.requirement("OBJ-11", "OBJ-13")
async def test_a_class_that_converts_its_stored_form_keeps_no_unknown_members() -> None:
    async with ObjectHost(Purse) as host:
        await host.store_state(Purse, "1", {"one": {"euros": 1}, "two": {"euros": 1}}, state_version=1)
        assert await host.ref(Purse, "1").spend() == 198
        await host.passivate()
        assert await host.ref(Purse, "1").spend() == 196
        assert await host.state(Purse, "1") == {"one": {"cents": 98}, "two": {"cents": 98}}


class Renamed(Object):
    name: str = ""
    inner: OldStreet = OldStreet()

    @call
    async def touch(self) -> None: ...


@pytest.mark.requirement("OBJ-11")
async def test_undeclared_stored_members_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    stored = {"title": "x", "inner": {"name": "a", "number": 5}}
    with caplog.at_level(logging.WARNING, "goverse.objects"):
        async with ObjectHost(Renamed) as host:
            for number in range(3):
                await host.store_state(Renamed, str(number), stored, state_version=1)
                await host.ref(Renamed, str(number)).touch()

    [record] = caplog.records
    assert "Renamed.title, Renamed.inner.number" in record.getMessage()


@dataclass
class Kept:
    items: list[OldStreet] = field(default_factory=list)


class Holder(Object):
    kept: Kept = Kept()

    @call
    async def look(self) -> list[bool]:
        loaded, made = self.kept.items[0], OldStreet(name="a")
        return [loaded == made, repr(loaded) == repr(made), loaded.model_dump() == made.model_dump()]


@pytest.mark.requirement("OBJ-11")
async def test_unknown_members_are_invisible_to_the_application() -> None:
    async with ObjectHost(Holder) as host:
        await host.store_state(Holder, "1", {"kept": {"items": [{"name": "a", "new": 1}]}}, state_version=1)
        assert await host.ref(Holder, "1").look() == [True, True, True]
