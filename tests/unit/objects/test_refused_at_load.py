"""Classes that can never work are rejected when they are loaded; the error names the field and a remedy."""

import asyncio
import functools
import threading
from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Annotated, Any, ClassVar, Optional

import pytest
from pydantic import BaseModel, Field, SecretStr

from goverse import DefinitionError, Object, call, migration
from goverse.objects.registry import Registry
from goverse.objects.spec import TypeSpec
from goverse.testing import ObjectHost
from tests.unit.objects.stored_types import Number


class Profile(BaseModel):
    password: SecretStr = SecretStr("")


def unannotated() -> type[Any]:
    class Odd(Object):
        items = []  # type: ignore[var-annotated]

    return Odd


def unannotated_number() -> type[Any]:
    class Odd(Object):
        count = 0

    return Odd


def unannotated_private_list() -> type[Any]:
    class Odd(Object):
        _cache = {}  # type: ignore[var-annotated]

    return Odd


def unannotated_in_a_mixin() -> type[Any]:
    class Mixin:
        items = []  # type: ignore[var-annotated]

    class Odd(Mixin, Object): ...

    return Odd


def kept_property() -> type[Any]:
    class Odd(Object):
        @cached_property
        def total(self) -> int:
            return 1

    return Odd


def lock() -> type[Any]:
    class Odd(Object):
        lock: asyncio.Lock = asyncio.Lock()

    return Odd


def private_lock() -> type[Any]:
    class Odd(Object):
        _lock: threading.Lock = threading.Lock()

    return Odd


def nested_secret() -> type[Any]:
    class Odd(Object):
        people: list[Profile] = []

    return Odd


def tuple_keys() -> type[Any]:
    class Odd(Object):
        board: dict[tuple[int, int], str] = {}

    return Odd


def enum_keys() -> type[Any]:
    class Odd(Object):
        boards: list[dict[Number, str]] = []

    return Odd


def excluded() -> type[Any]:
    class Odd(Object):
        password: str = Field(exclude=True)

    return Odd


def default_of_another_type() -> type[Any]:
    class Odd(Object):
        @call
        async def hit(self, a: list[int] = 5) -> None: ...  # type: ignore[assignment]

    return Odd


def default_beyond_its_bounds() -> type[Any]:
    class Odd(Object):
        @call
        async def hit(self, a: int = Field(default=0, ge=1)) -> None: ...

    return Odd


def classmethod_over_call() -> type[Any]:
    class Odd(Object):
        @classmethod
        @call
        def hit(cls) -> None: ...

    return Odd


def staticmethod_over_call() -> type[Any]:
    class Odd(Object):
        @staticmethod
        @call
        def hit(a: int) -> None: ...

    return Odd


def call_over_staticmethod() -> type[Any]:
    class Odd(Object):
        @call
        @staticmethod
        def hit(a: int) -> None: ...

    return Odd


def cache_over_call() -> type[Any]:
    class Odd(Object):
        @lru_cache  # noqa: B019
        @call
        def hit(self) -> None: ...

    return Odd


def property_over_call() -> type[Any]:
    class Odd(Object):
        @property
        @call
        def hit(self) -> int:
            return 1

    return Odd


def partial_over_call() -> type[Any]:
    class Odd(Object):
        @call
        def hit(self, by: int) -> None: ...

        twice = functools.partialmethod(hit, 2)

    return Odd


def version_without_migration() -> type[Any]:
    class Odd(Object, state_version=3):
        x: int = 0

    return Odd


@pytest.mark.requirement("OBJ-1", "OBJ-13")
@pytest.mark.parametrize(
    ("make", "place", "said"),
    [
        (unannotated, "Odd.items", "items: list"),
        (unannotated_number, "Odd.count", "count: int"),
        (unannotated_private_list, "Odd._cache", "_cache: dict"),
        (unannotated_in_a_mixin, "Odd.items", "annotate a field"),
        (kept_property, "Odd.total", "use property"),
        (lock, "Odd.lock", "begin the name with '_'"),
        (private_lock, "Odd._lock", "set it in on_activate"),
        (nested_secret, "Odd.people.*.password", "keep the text in a str"),
        (tuple_keys, "Odd.board", "a list of pairs"),
        (enum_keys, "Odd.boards.*", "use str keys"),
        (excluded, "Odd.password", "exclude=True is not written"),
        (default_of_another_type, "Odd.hit", "'a' does not fit its type"),
        (default_beyond_its_bounds, "Odd.hit", "greater than or equal to 1"),
        (classmethod_over_call, "Odd.hit", "classmethod"),
        (staticmethod_over_call, "Odd.hit", "staticmethod"),
        (call_over_staticmethod, "Odd.hit", "staticmethod"),
        (cache_over_call, "Odd.hit", "remove the other decorator"),
        (property_over_call, "Odd.hit", "property"),
        (partial_over_call, "Odd.twice", "partialmethod"),
        (version_without_migration, "Odd", "no migration from version 1"),
    ],
)
def test_a_class_that_cannot_work_is_refused(make: Callable[[], type[Any]], place: str, said: str) -> None:
    with pytest.raises(DefinitionError) as raised:
        Registry([make()])

    assert raised.value.detail.startswith(place)
    assert said in raised.value.detail
    assert "http" not in raised.value.detail


@pytest.mark.requirement("OBJ-1")
def test_attributes_that_are_not_fields_need_no_annotation() -> None:
    class Fine(Object):
        LIMIT = 5
        PRICES = {"a": 1}
        shared: ClassVar[list[int]] = []
        _count = 0
        _lock = threading.Lock()

        class Kind:
            inner = 1

        @property
        def twice(self) -> int:
            return 2

        @staticmethod
        def helper() -> int:
            return 1

        @cached_property
        def _slow(self) -> int:
            return 1

    assert TypeSpec.of(Fine).state.fields == ()


class Base(Object):
    hits: int = 0

    @call(timeout_s=3)
    async def hit(self) -> str:
        return "base"


class Derived(Base):
    async def hit(self) -> str:
        return "derived"


@pytest.mark.requirement("OBJ-1")
async def test_an_override_without_call_is_exported_with_the_options_of_its_base() -> None:
    assert TypeSpec.of(Derived).methods["hit"].timeout_s == 3
    async with ObjectHost(Derived) as host:
        assert await host.ref(Derived, "1").hit() == "derived"


class Defaulted(Object):
    names: Annotated[list[str], Field(default_factory=lambda: ["ann"])]
    size: Annotated[int, Field(default=3, ge=1)]

    @call
    async def look(self) -> list[Any]:
        return [self.names, self.size]


@pytest.mark.requirement("OBJ-1")
async def test_a_default_inside_annotated_is_used() -> None:
    async with ObjectHost(Defaulted) as host:
        assert await host.ref(Defaulted, "1").look() == [["ann"], 3]


class Unfilled(Object):
    title: str
    note: Optional[str]  # noqa: UP045

    @call
    async def rename(self, title: str) -> None:
        self.title, self.note = title, None


class Filled(Object):
    title: str

    def on_create(self, title: str) -> None:
        self.title = title


@pytest.mark.requirement("OBJ-1")
def test_a_field_that_never_gets_a_value_is_logged_when_the_class_is_loaded(caplog: pytest.LogCaptureFixture) -> None:
    Registry([Unfilled, Filled])

    [record] = caplog.records
    assert "Unfilled.title, Unfilled.note" in record.getMessage()
    assert "on_create" in record.getMessage()


class Renewed(Object, state_version=2):
    x: int = 0

    @migration(from_version=1)
    @staticmethod
    def _same(state: dict[str, Any]) -> dict[str, Any]:
        return state

    @call
    async def get(self) -> int:
        return self.x


@pytest.mark.requirement("OBJ-11")
async def test_a_version_that_only_adds_fields_has_a_trivial_migration() -> None:
    async with ObjectHost(Renewed) as host:
        await host.store_state(Renewed, "1", {"x": 4}, state_version=1)
        assert await host.ref(Renewed, "1").get() == 4
