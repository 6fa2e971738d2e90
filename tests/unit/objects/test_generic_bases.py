"""Type parameters of generic base classes have the types that the derived class gives."""

from typing import Annotated, Any, Generic, TypeVar

import pytest
from pydantic import BaseModel, Field

from goverse import DefinitionError, Object, call
from goverse.objects.spec import TypeSpec
from goverse.testing import ObjectHost

T = TypeVar("T")
K = TypeVar("K")


class User(BaseModel):
    name: str


class Page(BaseModel, Generic[T]):
    items: list[T] = []


class Repository(Object, Generic[K, T], abstract=True):
    items: list[T] = []
    by_key: dict[K, list[T | None]] = {}
    page: Page[T] | None = None
    last: Annotated[T | None, Field(description="the newest")] = None

    @call
    async def add(self, key: K, item: T) -> Page[T]:
        assert isinstance(item, BaseModel)
        self.items.append(item)
        self.by_key[key] = [item, None]
        page: Page[T] = type(self).page_of(item)
        self.page, self.last = page, item
        return page

    @call
    async def kinds(self) -> list[str]:
        values = [self.items[0], next(iter(self.by_key)), self.by_key, self.page, self.last]
        return [type(value).__name__ for value in values]

    @staticmethod
    def page_of(item: Any) -> Any:
        return Page[User](items=[item])


class Numbered(Repository[int, T], abstract=True): ...


class Users(Numbered[User]):
    """A class two levels below the generic base."""


class Log(Object, Generic[T], abstract=True):
    lines: list[T] = []


class Both(Repository[str, User], Log[int]):
    """A class whose bases use the same parameter for two types."""


class Unsaid(Log): ...  # type: ignore[type-arg]


class Anything(Object):
    @call
    async def echo(self, value: T) -> T:
        return value


@pytest.mark.requirement("OBJ-13", "OBJ-8")
async def test_parameters_of_a_base_are_types_of_state_arguments_and_results() -> None:
    async with ObjectHost(Users) as host:
        users = host.ref(Users, "1")
        page = await users.add(5, User(name="ann"))
        assert page == Page[User](items=[User(name="ann")])

        live = await users.kinds()
        await host.passivate()
        assert await users.kinds() == live == ["User", "int", "dict", "Page[User]", "User"]


@pytest.mark.requirement("OBJ-13")
def test_each_base_has_parameters_of_its_own() -> None:
    state = TypeSpec.of(Both).state.json_schema("#/$defs/{model}")

    assert state["properties"]["lines"]["items"] == {"type": "integer"}
    assert state["properties"]["items"]["items"] == {"$ref": "#/$defs/User"}


@pytest.mark.requirement("OBJ-13")
@pytest.mark.parametrize(("cls", "place"), [(Unsaid, "Unsaid.lines"), (Anything, "Anything.echo")])
def test_a_parameter_without_a_value_is_refused(cls: type[Any], place: str) -> None:
    with pytest.raises(DefinitionError, match=f"{place}: the type parameter T has no value"):
        TypeSpec.of(cls)
