"""Declarations of handlers, views, hidden fields and access to create and delete, and invalid declarations."""

import json
import zlib
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from goverse import BusinessError, DefinitionError, Object, call, field, handler, raises, view
from goverse.errors import ConfigError
from goverse.model.catalog import decode_catalog, encode_catalog
from goverse.objects.describe import describe
from goverse.objects.registry import AccessRule, Registry
from goverse.objects.spec import TypeSpec


class SoldOut(BusinessError):
    """No seats are left."""

    status = 409
    code = "sold_out_in_declarations"


class StillOpen(BusinessError):
    """The order is not paid."""

    status = 409
    code = "still_open_in_declarations"


class Secret(BaseModel):
    """Nothing that callers see."""

    word: str


class OrderView(BaseModel):
    """An order as callers see it."""

    item: str


class Order(Object):
    """An order."""

    item: str = ""
    note: Secret | None = field(default=None, hidden=True)
    tags: list[str] = field(default_factory=list)

    @raises(SoldOut)
    async def on_create(self, item: str = "") -> None:
        self.item = item

    @raises(StillOpen)
    def on_delete(self) -> None: ...

    @call
    async def rename(self, item: str) -> None:
        self.item = item

    @handler(raises=(SoldOut,))
    async def paid(self, cents: int) -> None: ...


@pytest.mark.requirement("OBJ-14")
def test_the_catalog_describes_what_requests_from_outside_may_do() -> None:
    described = describe(Registry([Order]))["Order"]

    assert list(described.methods) == ["rename"]
    assert described.handlers == ("paid",)
    assert (described.create, described.delete) == ("anyone", "internal")
    assert [error.code for error in described.create_errors] == ["sold_out_in_declarations"]
    assert [error.code for error in described.delete_errors] == ["still_open_in_declarations"]
    # the first call may run on_create, so its errors are those of every call
    assert [error.code for error in described.methods["rename"].errors] == ["sold_out_in_declarations"]


@pytest.mark.requirement("OBJ-14")
def test_the_schema_of_the_state_omits_hidden_fields() -> None:
    state = describe(Registry([Order]))["Order"].state

    assert list(state["properties"]) == ["item", "tags"]
    assert state["required"] == ["item", "tags"]
    assert "Secret" not in str(state)


@pytest.mark.requirement("OBJ-14")
def test_the_schema_of_a_type_with_a_view_is_that_of_the_view() -> None:
    class Viewed(Object):
        item: str = ""
        margin: int = 0

        @view
        def public(self) -> OrderView:
            return OrderView(item=self.item)

    assert list(describe(Registry([Viewed]))["Viewed"].state["properties"]) == ["item"]


@pytest.mark.requirement("OBJ-14", "QUA-6")
def test_a_catalog_is_encoded_and_that_of_an_older_node_is_decoded() -> None:
    catalog = describe(Registry([Order]))
    assert decode_catalog(encode_catalog(catalog)) == catalog

    types = json.loads(zlib.decompress(encode_catalog(catalog)))
    for each in types:
        for member in ("handlers", "create", "delete", "create_errors", "delete_errors"):
            del each[member]
    older = decode_catalog(zlib.compress(json.dumps(types).encode()))["Order"]
    assert (older.handlers, older.create, older.delete) == ((), "anyone", "anyone")


@pytest.mark.requirement("OBJ-14")
def test_a_field_stays_hidden_in_a_subclass_until_the_subclass_shows_it() -> None:
    class Base(Object, abstract=True):
        pin: str = field(default="", hidden=True)

    class AnotherDefault(Base):
        pin = "0000"

    class Redeclared(Base):
        pin: str = "0000"

    class Shown(Base):
        pin: str = field(default="", hidden=False)

    class Annotation(Object):
        pin: Annotated[str, field(hidden=True)] = ""

    assert [TypeSpec.of(kind).state.hidden for kind in (AnotherDefault, Redeclared, Shown, Annotation)] == [
        frozenset({"pin"}),
        frozenset({"pin"}),
        frozenset(),
        frozenset({"pin"}),
    ]


def _two_defaults() -> type[Object]:
    class Wrong(Object):
        tags: list[str] = field(default=[], default_factory=list)  # type: ignore[call-overload]  # pyright: ignore

    return Wrong


def _both_marks() -> type[Object]:
    class Wrong(Object):
        @call
        @handler
        async def pay(self) -> None: ...

    return Wrong


def _async_view() -> type[Object]:
    class Wrong(Object):
        @view
        async def public(self) -> str:
            return ""

    return Wrong


def _view_with_parameters() -> type[Object]:
    class Wrong(Object):
        @view
        def public(self, language: str) -> str:
            return language

    return Wrong


def _view_without_a_type() -> type[Object]:
    class Wrong(Object):
        @view
        def public(self):  # type: ignore[no-untyped-def]
            return ""

    return Wrong


def _two_views() -> type[Object]:
    class Wrong(Object):
        @view
        def public(self) -> str:
            return ""

        @view
        def brief(self) -> str:
            return ""

    return Wrong


def _callable_view() -> type[Object]:
    class Wrong(Object):
        @call
        @view
        def public(self) -> str:
            return ""

    return Wrong


def _view_that_is_a_property() -> type[Object]:
    class Wrong(Object):
        @property
        @view
        def public(self) -> str:
            return ""

    return Wrong


def _view_overridden_without_its_mark() -> type[Object]:
    class Right(Object):
        @view
        def public(self) -> str:
            return ""

    class Wrong(Right):
        def public(self) -> str:
            return "more"

    return Wrong


def _unknown_word() -> type[Object]:
    class Wrong(Object, delete="everyone"):
        pass

    return Wrong


def _contradiction() -> type[Object]:
    class Wrong(Object, create="internal", create_on_call=True):
        pass

    return Wrong


def _raises_no_exception() -> type[Object]:
    class Wrong(Object):
        @raises("sold_out")  # type: ignore[arg-type]  # pyright: ignore
        def on_create(self) -> None: ...

    return Wrong


def _handler_named_like_a_verb() -> type[Object]:
    class Wrong(Object):
        @handler
        async def delete(self) -> None: ...  # type: ignore[override]  # pyright: ignore

    return Wrong


@pytest.mark.requirement("OBJ-14")
@pytest.mark.parametrize(
    ("declare", "told"),
    [
        (_two_defaults, "default or default_factory, not both"),
        (_both_marks, "marked with both @call and @handler"),
        (_async_view, "make it a plain def"),
        (_view_with_parameters, "takes no parameters besides self"),
        (_view_without_a_type, "annotate what it returns"),
        (_two_views, "has the views brief, public; a class has at most one"),
        (_callable_view, "a view cannot be called"),
        (_view_that_is_a_property, "put @view on a plain method"),
        (_view_overridden_without_its_mark, "overrides the view of Right without @view"),
        (_unknown_word, "delete='everyone' is invalid; use 'anyone', 'internal', 'nobody'$"),
        (_contradiction, "create_on_call=True lets any call create the object, but create='internal' forbids that"),
        (_raises_no_exception, "'sold_out' is not an exception class"),
        (_handler_named_like_a_verb, "cannot be exported: the name is reserved"),
    ],
)
def test_an_invalid_declaration_is_refused(declare: Any, told: str) -> None:
    with pytest.raises(DefinitionError, match=told):
        TypeSpec.of(declare())


@pytest.mark.requirement("OBJ-14")
def test_two_errors_with_one_code_are_refused_even_if_only_a_hook_raises_them() -> None:
    class Other(BusinessError):
        status = 410
        code = "sold_out_in_declarations"

    class Hooked(Object):
        @raises(Other)
        def on_create(self) -> None: ...

    with pytest.raises(DefinitionError, match="the same code 'sold_out_in_declarations'"):
        Registry([Order, Hooked])


@pytest.mark.requirement("OBJ-14")
def test_the_configuration_changes_access_to_create_and_delete() -> None:
    declared = Registry([Order])
    changed = declared.with_access({"Order": AccessRule(create="internal", delete="anyone")})

    policy = changed.type("Order").policy
    assert (policy.create, policy.delete, policy.creates_on_call) == ("internal", "anyone", False)
    assert declared.type("Order").policy.create == "anyone"
    assert describe(changed)["Order"].delete == "anyone"
    with pytest.raises(ConfigError, match=r"objects\.Ordre: the application has no object type 'Ordre'; did you mean"):
        declared.with_access({"Ordre": AccessRule()})
