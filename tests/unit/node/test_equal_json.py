"""A value that is replaced by another one with the same JSON: the acknowledged state is the state all the same."""

from enum import StrEnum
from typing import Any

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
        assert await kept.add() == 2  # it was refused: the value that the failed call had left could not be stored


@pytest.mark.requirement("OBJ-11")
@pytest.mark.parametrize("kind", [Plain, Nested])
async def test_a_number_is_promoted_though_its_json_is_the_same(kind: type[Any]) -> None:
    async with ObjectHost(kind) as host:
        kept = host.ref(kind, "k")
        await kept.add()
        before = await kept.kinds()
        await kept.whole()
        assert await kept.kinds() == before


@pytest.mark.requirement("OBJ-11")
async def test_a_readonly_method_leaves_no_value_of_another_class_behind() -> None:
    async with ObjectHost(Plain) as host:
        kept: Any = host.ref(Plain, "k")
        await kept.add()
        before = await kept.kinds()
        with pytest.raises(StateNotStorable):
            await kept.read_mood()
        assert await kept.kinds() == before
        assert await kept.add() == 2
