"""Class definitions that are valid Python but are rejected; the error names the class, the member and a remedy."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import pytest

from goverse import BusinessError, DefinitionError, Object, call, field, handler, migration, raises, view
from goverse.objects.registry import Registry
from goverse.objects.spec import TypeSpec


class Full(BusinessError):
    """No room is left."""

    status = 409
    code = "full_in_refused_declarations"


def method(body: Any, **options: Any) -> type[Any]:
    """Return a class whose exported method ``hit`` was declared with ``options``."""
    body.__qualname__ = "Odd.hit"
    return type("Odd", (Object,), {"hit": call(**options)(body)})


def with_options(**options: Any) -> Callable[[], type[Any]]:
    """Return a maker of a class whose method has these options of ``@call``."""

    async def hit(self: Any) -> None: ...

    return lambda: method(hit, **options)


def of_class(**options: Any) -> Callable[[], type[Any]]:
    """Return a maker of a class with these class options."""
    make = cast("Any", type)
    return lambda: cast("type[Any]", make("Odd", (Object,), {}, **options))


def named(name: str, value: Any = None) -> Callable[[], type[Any]]:
    """Return a maker of a class with a member of this name, by default a plain method without decorator."""

    def plain(self: Any) -> None: ...

    return lambda: type("Odd", (Object,), {name: plain if value is None else value})


def unannotated_parameter() -> type[Any]:
    class Odd(Object):
        @call
        async def hit(self, by, times: int = 1) -> None: ...  # type: ignore[no-untyped-def]

    return Odd


def unannotated_parameter_with_a_default() -> type[Any]:
    class Odd(Object):
        @handler
        async def hit(self, by=1) -> None: ...  # type: ignore[no-untyped-def]

    return Odd


def unannotated_parameter_of_a_hook() -> type[Any]:
    class Odd(Object):
        def on_create(self, seats) -> None: ...  # type: ignore[no-untyped-def]

    return Odd


def unannotated_override() -> type[Any]:
    class Right(Object):
        @call
        async def hit(self, by: int) -> None: ...

    class Odd(Right):
        async def hit(self, by) -> None: ...  # type: ignore[no-untyped-def]

    return Odd


def without_self() -> type[Any]:
    class Odd(Object):
        @call
        async def hit() -> None: ...  # type: ignore[misc]  # pyright: ignore

    return Odd


def argument_in_place_of_self() -> type[Any]:
    class Odd(Object):
        @call
        async def hit(by: int) -> None: ...  # type: ignore[misc]  # noqa: N805  # pyright: ignore

    return Odd


def hook_that_is_a_classmethod() -> type[Any]:
    class Odd(Object):
        @classmethod
        def on_create(cls, seats: int) -> None: ...

    return Odd


def hook_that_is_a_staticmethod() -> type[Any]:
    class Odd(Object):
        @staticmethod
        def on_activate() -> None: ...

    return Odd


def hook_that_is_called() -> type[Any]:
    class Odd(Object):
        @handler
        async def on_delete(self) -> None: ...

    return Odd


def raises_without_errors() -> type[Any]:
    class Odd(Object):
        @raises  # type: ignore[arg-type]  # pyright: ignore
        def on_create(self) -> None: ...  # type: ignore[misc]

    return Odd


def call_on_a_property() -> type[Any]:
    class Odd(Object):
        @call  # type: ignore[prop-decorator]  # pyright: ignore
        @property
        def hit(self) -> int:
            return 1

    return Odd


def call_on_a_classmethod() -> type[Any]:
    class Odd(Object):
        @call
        @classmethod
        def hit(cls) -> int:
            return 1

    return Odd


def migration_with_self() -> type[Any]:
    class Odd(Object, state_version=2):
        @migration(from_version=1)
        def _renamed(self, state: dict[str, Any]) -> dict[str, Any]:
            return state

    return Odd


def migration_that_waits() -> type[Any]:
    class Odd(Object, state_version=2):
        @staticmethod
        @migration(from_version=1)
        async def _renamed(state: dict[str, Any]) -> dict[str, Any]:
            return state

    return Odd


def migration_without_a_version() -> type[Any]:
    class Odd(Object):
        @staticmethod
        @migration(from_version=1)
        def _renamed(state: dict[str, Any]) -> dict[str, Any]:
            return state

    return Odd


def two_migrations() -> type[Any]:
    class Odd(Object, state_version=2):
        @staticmethod
        @migration(from_version=1)
        def _renamed(state: dict[str, Any]) -> dict[str, Any]:
            return state

        @staticmethod
        @migration(from_version=1)
        def _split(state: dict[str, Any]) -> dict[str, Any]:
            return state

    return Odd


def migration_from_a_text() -> type[Any]:
    migration(from_version=cast("Any", "1"))
    return Object


def hidden_by_a_word() -> type[Any]:
    class Odd(Object):
        pin: str = field(default="", hidden=cast("Any", "yes"))

    return Odd


def factory_that_is_a_value() -> type[Any]:
    class Odd(Object):
        tags: list[str] = field(default_factory=cast("Any", []))

    return Odd


@dataclass(frozen=True)
class Mistake:
    """An invalid class, and the place and remedy that the error must name."""

    make: Callable[[], type[Any]]
    place: str
    said: str


MISTAKES = {
    "hook: cut off": Mistake(named("on_creat"), "Odd.on_creat ", "did you mean on_create?"),
    "hook: past tense": Mistake(named("on_activated"), "Odd.on_activated ", "did you mean on_activate?"),
    "hook: without underscore": Mistake(named("oncreate"), "Odd.oncreate ", "did you mean on_create?"),
    "hook: camel case": Mistake(named("onDeactivate"), "Odd.onDeactivate ", "did you mean on_deactivate?"),
    "hook: noun": Mistake(named("on_deletion"), "Odd.on_deletion ", "did you mean on_delete?"),
    "hook: transposed": Mistake(named("on_craete"), "Odd.on_craete ", "did you mean on_create?"),
    "hook: of the process": Mistake(
        named("on_start"), "Odd.on_start: on_start is a function of the application's module, not a method", "@on_start"
    ),
    "hook: process, camel case": Mistake(named("onStop"), "Odd.onStop: on_stop is a function of", "on_deactivate"),
    "hook: process, static": Mistake(named("on_stop", staticmethod(lambda: None)), "Odd.on_stop: ", "@on_stop"),
    "hook: resembled": Mistake(
        named("on_created"), "Odd.on_created ", "a name that does not resemble a hook (on_create, "
    ),
    "hook: static": Mistake(named("on_created", staticmethod(lambda: None)), "Odd.on_created ", "on_create?"),
    "hook: classmethod": Mistake(hook_that_is_a_classmethod, "Odd.on_create ", "not a classmethod"),
    "hook: staticmethod": Mistake(hook_that_is_a_staticmethod, "Odd.on_activate ", "not a staticmethod"),
    "hook: property": Mistake(named("on_delete", property(lambda self: 1)), "Odd.on_delete ", "not a property"),
    "hook: exported": Mistake(hook_that_is_called, "Odd.on_delete ", "remove the decorator"),
    "hook: raises bare": Mistake(raises_without_errors, "Odd.on_create:", "@raises(SoldOut)"),
    "hook: unannotated": Mistake(unannotated_parameter_of_a_hook, "Odd.on_create:", "seats: int"),
    "unannotated": Mistake(unannotated_parameter, "Odd.hit:", "by: int"),
    "unannotated with default": Mistake(unannotated_parameter_with_a_default, "Odd.hit:", "by: Any"),
    "unannotated override": Mistake(unannotated_override, "Odd.hit:", "by: int"),
    "no self": Mistake(without_self, "Odd.hit ", "make self its first parameter"),
    "argument for self": Mistake(argument_in_place_of_self, "Odd.hit ", "make self its first parameter"),
    "call on property": Mistake(call_on_a_property, "Odd.hit:", "@call goes directly on a function"),
    "call on classmethod": Mistake(call_on_a_classmethod, "Odd.hit:", "@call goes on a method"),
    "raises: a name": Mistake(with_options(raises="sold_out"), "Odd.hit:", "'sold_out' is not an exception class"),
    "raises: an instance": Mistake(with_options(raises=(Full(),)), "Odd.hit:", "is not an exception class"),
    "raises: an exit": Mistake(with_options(raises=(SystemExit,)), "Odd.hit:", "is not an exception class"),
    "timeout: text": Mistake(with_options(timeout_s="5"), "Odd.hit:", "timeout_s is '5'"),
    "timeout: truth": Mistake(with_options(timeout_s=True), "Odd.hit:", "timeout_s is True"),
    "timeout: negative": Mistake(with_options(timeout_s=-1), "Odd.hit:", "timeout_s is -1"),
    "timeout: zero": Mistake(with_options(timeout_s=0), "Odd.hit:", "greater than 0"),
    "timeout: endless": Mistake(with_options(timeout_s=float("inf")), "Odd.hit:", "timeout_s is inf"),
    "timeout: none": Mistake(with_options(timeout_s=float("nan")), "Odd.hit:", "timeout_s is nan"),
    "readonly: text": Mistake(with_options(readonly="yes"), "Odd.hit:", "write readonly=True or readonly=False"),
    "reentrant: number": Mistake(with_options(reentrant=1), "Odd.hit:", "write reentrant=True"),
    "class: reentrant": Mistake(of_class(reentrant="yes"), "Odd:", "write reentrant=True"),
    "class: abstract": Mistake(of_class(abstract="no"), "Odd:", "write abstract=True"),
    "class: create_on_call": Mistake(of_class(create_on_call=None), "Odd:", "write create_on_call=True"),
    "class: state_version": Mistake(of_class(state_version="2"), "Odd:", "state_version is '2'"),
    "class: idle text": Mistake(of_class(idle_timeout_s="5"), "Odd:", "idle_timeout_s is '5'"),
    "class: idle nan": Mistake(of_class(idle_timeout_s=float("nan")), "Odd:", "idle_timeout_s is nan"),
    "class: name": Mistake(of_class(name=5), "Odd:", "invalid type name 5"),
    "class: create": Mistake(of_class(create=["anyone"]), "Odd:", "create=['anyone'] is invalid"),
    "taken: method": Mistake(named("ref"), "Odd.ref ", "choose another name"),
    "taken: property": Mistake(named("id", property(lambda self: 1)), "Odd.id ", "choose another name"),
    "migration: self": Mistake(migration_with_self, "Odd._renamed ", "takes the stored state and nothing else"),
    "migration: async": Mistake(migration_that_waits, "Odd._renamed ", "make it a plain def"),
    "migration: never runs": Mistake(migration_without_a_version, "Odd._renamed ", "state_version=2"),
    "migration: two": Mistake(two_migrations, "Odd._split ", "second migration from version 1"),
    "migration: text": Mistake(migration_from_a_text, "@migration:", "from_version is '1'"),
    "field: hidden": Mistake(hidden_by_a_word, "field():", "write hidden=True"),
    "field: factory": Mistake(factory_that_is_a_value, "field():", "default_factory=list"),
}


@pytest.mark.requirement("OBJ-1")
@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_refused_with_its_place_and_its_remedy(case: str) -> None:
    mistake = MISTAKES[case]

    with pytest.raises(DefinitionError) as raised:
        Registry([mistake.make()])

    assert raised.value.detail.startswith(mistake.place)
    assert mistake.said in raised.value.detail


class Neighbours(Object):
    """Valid names and values that resemble invalid ones."""

    names: list[str] = []

    def on_rate(self) -> None: ...

    def on_reactivate(self) -> None: ...

    def on_started(self) -> None: ...

    @call
    def on_stop(self) -> None: ...

    def on_activity(self) -> None: ...

    def on_create_order(self) -> None: ...

    def only_created(self) -> None: ...

    def _on_created(self) -> None: ...

    @property
    def on_deleted(self) -> int:
        return 1

    @call(raises=(), timeout_s=5, reentrant=None)
    async def on_created(self, anything: Any) -> Any:
        return anything

    @handler(timeout_s=0.5)
    async def on_activated(this, by: int) -> None: ...  # noqa: N805  # pyright: ignore

    @view
    def on_active(self) -> str:
        return ""

    @raises()
    def on_delete(self) -> None: ...


@pytest.mark.requirement("OBJ-1")
def test_valid_names_and_values_that_resemble_mistakes_are_accepted() -> None:
    spec = TypeSpec.of(Neighbours)

    assert sorted(spec.methods) == ["on_activated", "on_created", "on_stop"]
    assert sorted(spec.hooks) == ["on_delete"]
    assert spec.view is not None
    assert spec.view.name == "on_active"
    assert spec.methods["on_created"].arguments.names == ("anything",)


@pytest.mark.requirement("OBJ-1")
@pytest.mark.parametrize("errors", [Full, (Full,), [Full]])
def test_raises_takes_one_class_and_any_collection_of_classes(errors: Any) -> None:
    class Hall(Object):
        @call(raises=errors)
        def enter(self) -> None: ...

    assert TypeSpec.of(Hall).methods["enter"].raises == (Full,)


@pytest.mark.parametrize(("mark", "name"), [(call, "@call"), (handler, "@handler")])
def test_an_option_without_its_name_is_refused(mark: Any, name: str) -> None:
    with pytest.raises(DefinitionError, match=rf"{name}\(True\): the options of {name} are keywords"):
        mark(True)


def test_a_default_that_does_not_fit_is_refused_without_the_words_for_a_call() -> None:
    class Odd(Object):
        x: int = "a"  # type: ignore[assignment]

    with pytest.raises(DefinitionError, match=r"or declare the type of the value\.$"):
        TypeSpec.of(Odd)
