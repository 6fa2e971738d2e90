"""Valid class declarations, and the errors for invalid ones."""

from collections.abc import Callable, Iterator
from typing import Annotated, Any, ClassVar

import pytest
from pydantic import BaseModel, Field

from goverse import BusinessError, DefinitionError, Object, call, migration
from goverse.errors import GoverseError, UnknownMethod, UnknownType
from goverse.objects.registry import Registry
from goverse.objects.spec import TypeSpec


def spec_of(user_class: type[Any]) -> TypeSpec:
    return TypeSpec.of(user_class)


def no_type() -> object:
    class Plain:
        value: int = 0

    return spec_of(Plain)


def abstract_type() -> object:
    class Base(Object, abstract=True):
        value: int = 0

    return spec_of(Base)


def own_init() -> object:
    class Own(Object):
        def __init__(self) -> None: ...

    return Own


def unknown_option() -> object:
    class Odd(Object, state_versoin=2): ...

    return Odd


def bad_state_version() -> object:
    class Odd(Object, state_version=0): ...

    return Odd


def bad_idle_time() -> object:
    class Odd(Object, idle_timeout_s=0.0): ...

    return Odd


def bad_name() -> object:
    class Odd(Object, name="not a name"): ...

    return Odd


def private_name() -> object:
    class _Odd(Object): ...

    return _Odd


def generator() -> object:
    class Odd(Object):
        @call
        def many(self) -> Iterator[int]:
            yield 1

    return spec_of(Odd)


def async_generator() -> object:
    class Odd(Object):
        @call
        async def many(self) -> Any:
            yield 1

    return spec_of(Odd)


def variable_parameters() -> object:
    class Odd(Object):
        @call
        def many(self, *values: int) -> None: ...

    return spec_of(Odd)


def keyword_parameters() -> object:
    class Odd(Object):
        @call
        def many(self, **values: int) -> None: ...

    return spec_of(Odd)


def positional_parameters() -> object:
    class Odd(Object):
        @call
        def many(self, value: int, /) -> None: ...

    return spec_of(Odd)


class Opaque:
    """A class that Pydantic does not support."""


def opaque_parameter() -> object:
    class Odd(Object):
        @call
        def take(self, value: Opaque) -> None: ...

    return spec_of(Odd)


def opaque_result() -> object:
    class Odd(Object):
        @call
        def give(self) -> Opaque:
            return Opaque()

    return spec_of(Odd)


def opaque_field() -> object:
    class Odd(Object):
        value: Opaque

    return spec_of(Odd)


def unresolved_field() -> object:
    class Odd(Object):
        value: "Nowhere"  # type: ignore[name-defined]  # noqa: F821  # that is the point

    return spec_of(Odd)


def unresolved_parameter() -> object:
    class Odd(Object):
        @call
        def take(self, value: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821

    return spec_of(Odd)


def taken_field() -> object:
    class Odd(Object):
        context: int = 0  # type: ignore[assignment]

    return spec_of(Odd)


def inner_field() -> object:
    class Odd(Object):
        _goverse_key: str = "mine"  # type: ignore[assignment]

    return spec_of(Odd)


def exported_private() -> object:
    class Odd(Object):
        @call
        def _secret(self) -> None: ...

    return spec_of(Odd)


def exported_hook() -> object:
    class Odd(Object):
        @call
        def on_create(self) -> None: ...

    return spec_of(Odd)


def field_and_method() -> object:
    members = {"__annotations__": {"value": int}, "value": lambda self: 1}
    return spec_of(type("Odd", (Object,), members))


def field_and_property() -> object:
    members = {"__annotations__": {"value": int}, "value": property(lambda self: 1)}
    return spec_of(type("Odd", (Object,), members))


def hook_with_parameters() -> object:
    class Odd(Object):
        def on_activate(self, wish: str) -> None: ...

    return spec_of(Odd)


def default_of_another_type() -> object:
    class Odd(Object):
        value: int = "many"  # type: ignore[assignment]

    return spec_of(Odd)


def default_outside_its_bounds() -> object:
    class Odd(Object):
        needed: str
        level: Annotated[int, Field(ge=1)] = 0

    return spec_of(Odd)


def default_that_cannot_be_made() -> object:
    class Odd(Object):
        level: int = Field(default_factory=lambda: 1 // 0)

    return spec_of(Odd)


def missing_migration() -> object:
    class Odd(Object, state_version=3):
        @migration(from_version=1)
        @staticmethod
        def _first(state: dict[str, Any]) -> dict[str, Any]:
            return state

    return spec_of(Odd)


def two_of_one_name() -> object:
    class One(Object, name="Same"): ...

    class Two(Object, name="Same"): ...

    return Registry([One, Two])


def negative_timeout() -> object:
    return call(timeout_s=-1.0)(lambda self: None)


def called_on_no_function() -> object:
    return call(timeout_s=1.0)(3)  # type: ignore[type-var]


def migration_from_nothing() -> object:
    return migration(from_version=0)


def constructed() -> object:
    class Fine(Object): ...

    return Fine()


def server_error() -> object:
    class Odd(BusinessError):
        status = 500
        code = "odd"

    return Odd


def loud_code() -> object:
    class Odd(BusinessError):
        code = "Not-A-Code"

    return Odd


def worded_status() -> object:
    class Odd(BusinessError):
        status = "409"  # type: ignore[assignment]  # pyright: ignore
        code = "odd"

    return Odd


def numbered_code() -> object:
    class Odd(BusinessError):
        code = 409  # type: ignore[assignment]  # pyright: ignore

    return Odd


def code_of_an_outcome() -> object:
    class Odd(BusinessError):
        code = "success"

    return Odd


MISTAKES: dict[Callable[[], object], str] = {
    no_type: "is not an object type",
    abstract_type: "is not an object type",
    own_init: "defines __init__",
    unknown_option: "unknown class option 'state_versoin'",
    bad_state_version: "state_version is 0",
    bad_idle_time: "idle_timeout_s is 0.0",
    bad_name: "invalid type name 'not a name'",
    private_name: "invalid type name '_Odd'",
    generator: "is a generator",
    async_generator: "is a generator",
    variable_parameters: "cannot be passed by name",
    keyword_parameters: "cannot be passed by name",
    positional_parameters: "cannot be passed by name",
    opaque_parameter: "Odd.take",
    opaque_result: "Odd.give",
    opaque_field: "Odd",
    unresolved_field: "cannot be resolved",
    unresolved_parameter: "Odd.take: an annotation cannot be resolved",
    taken_field: "Odd.context: the name is taken",
    inner_field: "Odd._goverse_key: the name is taken",
    exported_private: "Odd._secret cannot be exported",
    exported_hook: "Odd.on_create cannot be exported",
    field_and_property: "Odd.value is a field and a method",
    field_and_method: "Odd.value is a field and a method",
    hook_with_parameters: "Odd.on_activate takes no parameters",
    default_of_another_type: "default does not fit",
    default_outside_its_bounds: "Odd.level: the default does not fit the field",
    default_that_cannot_be_made: "could not be made",
    missing_migration: "no migration from version 2",
    two_of_one_name: "two classes are named 'Same'",
    negative_timeout: "timeout_s is -1.0",
    called_on_no_function: "@call goes on a method",
    migration_from_nothing: "from_version is 0",
    constructed: "is a virtual object",
    server_error: "Odd.status is 500",
    worded_status: "Odd.status is '409'",
    numbered_code: "Odd.code is 409",
    code_of_an_outcome: "Odd.code is 'success', which GoVerse itself uses",
    loud_code: "use a lower-case identifier",
}


@pytest.mark.requirement("OBJ-1")
@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_a_mistake_is_reported_when_the_class_is_defined(mistake: Callable[[], object]) -> None:
    with pytest.raises(DefinitionError) as raised:
        mistake()
    assert MISTAKES[mistake] in raised.value.detail
    assert isinstance(raised.value, TypeError)


class Address(BaseModel):
    city: str


class Parent(Object, abstract=True, reentrant=True, idle_timeout_s=5.0):
    """A base for others."""

    kind: ClassVar[str] = "parent"
    inherited: int = 1
    _cache: list[int] = []

    @call
    def old(self) -> int:
        """Say it the old way.

        With more words.
        """
        return self.inherited

    def helper(self) -> int:
        return 0


class Child(Parent, name="Kind", create_on_call=False):
    """A child."""

    own: Address
    _warm: bool

    @call(readonly=True, reentrant=False, timeout_s=2.0)
    async def new(self, value: int, *, label: str = "x") -> str:
        return label * value

    alias = new

    def on_create(self, city: str = "here") -> None: ...


@pytest.mark.requirement("OBJ-1", "OBJ-2")
def test_a_class_is_compiled_with_what_it_inherits() -> None:
    spec = spec_of(Child)

    assert spec is spec_of(Child)
    assert spec.name == "Kind"
    assert (spec.policy.reentrant, spec.policy.create_on_call, spec.policy.idle_timeout_s) == (True, False, 5.0)
    assert not spec.policy.abstract
    assert spec.state.fields == ("inherited", "own")
    assert spec.state.required == ("own",)
    assert list(spec.transient) == ["_cache"]
    assert sorted(spec.methods) == ["alias", "new", "old"]
    assert sorted(spec.hooks) == ["on_create"]
    assert spec.description == "A child."
    old, new = spec.methods["old"], spec.methods["new"]
    assert (old.summary, old.description) == ("Say it the old way.", "With more words.")
    assert (old.is_async, old.readonly, old.reentrant, old.timeout_s) == (False, False, True, None)
    assert (new.is_async, new.readonly, new.reentrant, new.timeout_s) == (True, True, False, 2.0)
    assert (new.arguments.names, new.arguments.required) == (("value", "label"), ("value",))
    assert spec.methods["alias"].name == "alias"
    assert not spec.hooks["on_create"].reentrant


@pytest.mark.requirement("OBJ-1")
def test_a_registry_knows_its_types_by_name() -> None:
    class Another(Object): ...

    registry = Registry([Child, Another, Child])

    assert [spec.name for spec in registry] == ["Another", "Kind"]
    assert registry.method("Kind", "new").name == "new"
    with pytest.raises(UnknownType, match="unknown object type 'Child'") as missing:
        registry.type("Child")
    assert "Another, Kind" in str(missing.value)
    with pytest.raises(UnknownMethod, match="Kind exports no method 'helper'; it has alias, new, old"):
        registry.method("Kind", "helper")
    with pytest.raises(UnknownMethod, match="it has none"):
        registry.method("Another", "x")


@pytest.mark.requirement("OBJ-1")
def test_an_object_cannot_be_used_outside_a_node() -> None:
    lifeless = object.__new__(Child)
    with pytest.raises(GoverseError, match="no call context outside a turn"):
        _ = lifeless.context
