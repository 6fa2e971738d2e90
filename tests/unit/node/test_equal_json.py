"""A value that is replaced by another one with the same JSON: the acknowledged state is what the object keeps."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import BaseModel, PrivateAttr

from goverse import BusinessError, Object, call
from goverse.errors import StateNotStorable
from goverse.testing import ObjectHost


class Animal(BaseModel):
    name: str
    _touched: int = PrivateAttr(0)


class Dog(Animal):
    breed: str = ""


@dataclass
class Spot:
    x: int
    note: str | None = None


@dataclass
class Corner(Spot):
    pass


class Loose(BaseModel):
    pair: list[int]


class Mood(StrEnum):
    CALM = "calm"


class Refused(BusinessError):
    """No."""

    status = 409
    code = "refused_in_equal_json"


class _Kept(Object, abstract=True):
    mood: str = "calm"
    share: float = 1.0
    count: int = 0

    @call
    def add(self) -> int:
        self.count += 1
        return self.count

    @call
    def name_mood(self, *, then_raise: bool = False) -> None:
        self.mood = Mood.CALM
        if then_raise:
            raise Refused

    @call(readonly=True)
    async def read_mood(self) -> str:
        self.mood = Mood.CALM
        return self.mood

    @call
    async def whole(self) -> None:
        self.share = 1

    @call(readonly=True)
    async def kinds(self) -> list[str]:
        return [type(value).__name__ for name, value in sorted(vars(self).items()) if not name.startswith("_")]


class Plain(_Kept):
    pass


class Nested(_Kept):
    animal: Animal = Animal(name="rex")

    @call(reentrant=True)
    async def breed(self) -> None:
        self.animal = Dog(name="rex", breed="poodle")

    @call
    async def touch(self) -> None:
        self.animal._touched += 1


@pytest.mark.requirement("OBJ-11")
@pytest.mark.parametrize(
    ("kind", "method"), [(Plain, "name_mood"), (Nested, "name_mood"), (Nested, "breed"), (Nested, "touch")]
)
async def test_a_value_of_another_class_with_the_same_json_is_refused(kind: type[Any], method: str) -> None:
    async with ObjectHost(kind) as host:
        kept = host.ref(kind, "k")
        await kept.add()
        before = await kept.kinds()
        with pytest.raises(StateNotStorable):
            await getattr(kept, method)()
        assert await kept.kinds() == before
        assert await kept.add() == 2
        await host.passivate()
        assert await kept.kinds() == before


@pytest.mark.requirement("OBJ-11", "OBJ-5")
@pytest.mark.parametrize("kind", [Plain, Nested])
async def test_a_method_that_fails_leaves_no_value_of_another_class_behind(kind: type[Any]) -> None:
    async with ObjectHost(kind) as host:
        kept = host.ref(kind, "k")
        await kept.add()
        before = await kept.kinds()
        with pytest.raises(Refused):
            await kept.name_mood(then_raise=True)
        assert await kept.kinds() == before
        assert await kept.add() == 2  # the value that the failed call set, which cannot be stored, is gone


@pytest.mark.requirement("OBJ-11")
@pytest.mark.parametrize("kind", [Plain, Nested])
async def test_a_number_is_promoted_though_its_json_is_the_same(kind: type[Any]) -> None:
    async with ObjectHost(kind) as host:
        kept = host.ref(kind, "k")
        await kept.add()
        before = await kept.kinds()
        await kept.whole()
        assert await kept.kinds() == before


LONDON = ZoneInfo("Europe/London")  # in winter its offset is that of UTC


class Zoo(Object):
    """Has a field of every kind that can be changed in place."""

    count: int = 0
    mood: str = "calm"
    share: float = 1.0
    spot: Spot = Spot(1)
    animal: Animal = Animal(name="calm")
    animals: list[Animal] = [Animal(name="calm")]
    by_name: dict[str, list[Spot]] = {"a": [Spot(1)]}
    names: list[str] = ["calm"]
    anything: Any = {"pair": [1, 2]}
    opened: list[datetime] = [datetime(2026, 1, 2, tzinfo=UTC)]
    maybe: list[float | None] = [None]
    either: list[Animal | Spot] = [Spot(1)]

    @call
    def add(self) -> int:
        self.count += 1
        return self.count

    @call(readonly=True)
    def change(self, how: str) -> None:
        _CHANGES[how](self)

    @call(readonly=True)
    async def change_and_wait(self, how: str) -> None:
        _CHANGES[how](self)
        await self.ref(Plain, "other").kinds()

    @call(readonly=True)
    def shown(self) -> str:
        return repr({name: value for name, value in vars(self).items() if not name.startswith("_")})


_CHANGES: dict[str, Any] = {
    "a text field": lambda zoo: setattr(zoo, "mood", Mood.CALM),
    "a field with a dataclass": lambda zoo: setattr(zoo, "spot", Corner(1)),
    "a field with a model": lambda zoo: setattr(zoo, "animal", Dog(name="calm")),
    "a field of a model": lambda zoo: setattr(zoo.animal, "name", Mood.CALM),
    "a model in a list": lambda zoo: zoo.animals.__setitem__(0, Dog(name="calm")),
    "a private attribute": lambda zoo: setattr(zoo.animals[0], "_touched", 5),
    "a dataclass in a list in a dict": lambda zoo: zoo.by_name["a"].__setitem__(0, Corner(1)),
    "a text in a list": lambda zoo: zoo.names.__setitem__(0, Mood.CALM),
    "a tuple where nothing is declared": lambda zoo: zoo.anything.update(pair=(1, 2)),
    "a model where nothing is declared": lambda zoo: setattr(zoo, "anything", Loose(pair=[1, 2])),
    "a rule of a time zone": lambda zoo: zoo.opened.__setitem__(0, datetime(2026, 1, 2, tzinfo=LONDON)),
    "NaN": lambda zoo: zoo.maybe.__setitem__(0, float("nan")),
    "a member of a union": lambda zoo: zoo.either.__setitem__(0, Corner(1)),
}


@pytest.mark.requirement("OBJ-11", "OBJ-2")
@pytest.mark.parametrize("method", ["change", "change_and_wait"])
@pytest.mark.parametrize("how", sorted(_CHANGES))
async def test_a_readonly_method_leaves_no_other_value_with_the_same_json_behind(how: str, method: str) -> None:
    async with ObjectHost(Zoo, Plain) as host:
        zoo: Any = host.ref(Zoo, "z")
        await zoo.add()
        await host.passivate()
        before = await zoo.shown()
        with pytest.raises(StateNotStorable):
            await getattr(zoo, method)(how)
        assert await zoo.shown() == before
        assert await zoo.add() == 2
