"""`Outcome` as a parameter: its value is an argument like others, and its rules hold when the class is loaded."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Generic, TypeVar

import orjson
import pytest
from pydantic import BaseModel, Field

from goverse import BusinessError, DefinitionError, GoverseError, InvalidArguments, Object, Outcome, call, handler
from goverse.model.effects import CallState
from goverse.model.frames import Problem, Reply
from goverse.model.outcomes import outcome_body
from goverse.objects.spec import TypeSpec

pytestmark = pytest.mark.requirement("DUR-3")

T = TypeVar("T")


class Line(BaseModel):
    name: str = Field(alias="Name")
    price: Decimal


class Returns(Object):
    """Methods with results of many types."""

    @call
    async def number(self) -> int:
        return 0

    @call
    async def exact(self) -> Decimal:
        return Decimal(0)

    @call
    async def raw(self) -> bytes:
        return b""

    @call
    async def lines(self) -> list[Line]:
        return []

    @call
    async def nothing(self) -> None: ...
    @call
    async def days(self) -> dict[str, date]:
        return {}


class Receives(Object):
    @handler
    async def number(self, outcome: Outcome[int]) -> None: ...
    @handler
    async def exact(self, outcome: Outcome[Decimal]) -> None: ...
    @handler
    async def raw(self, outcome: Outcome[bytes]) -> None: ...
    @handler
    async def lines(self, outcome: Outcome[list[Line]]) -> None: ...
    @handler
    async def nothing(self, outcome: Outcome[None]) -> None: ...
    @handler
    async def days(self, outcome: Outcome[dict[str, date]]) -> None: ...
    @handler
    async def anything(self, outcome: Outcome) -> None: ...  # type: ignore[type-arg]
    @handler
    async def noted(self, outcome: Annotated[Outcome[int], "a note"]) -> None: ...


def received(method: str, body: bytes) -> Outcome[Any]:
    found: Outcome[Any] = TypeSpec.of(Receives).methods[method].arguments.decode(body)["outcome"]
    return found


@pytest.mark.parametrize(
    ("method", "value"),
    [
        ("number", 2**70),
        ("exact", Decimal("0.10000000000000000001")),
        ("raw", b"\xff\x00"),
        ("lines", [Line(Name="x", price=Decimal("1.50"))]),
        ("nothing", None),
        ("days", {"d": date(2026, 1, 2)}),
    ],
)
def test_a_result_arrives_as_the_value_that_the_method_returned(method: str, value: Any) -> None:
    body = TypeSpec.of(Returns).methods[method].result.encode(value)
    outcome = received(method, outcome_body("c_1", "success", Reply(body)))

    assert (outcome.id, outcome.state, outcome.ok, outcome.problem) == ("c_1", "success", True, None)
    assert outcome.value == value
    again = TypeSpec.of(Receives).methods[method].arguments.encode((), {"outcome": outcome})
    assert received(method, again) == outcome


def test_a_result_without_declared_type_is_plain_json() -> None:
    assert received("anything", outcome_body("c", "success", Reply(b'{"a":[1]}'))).value == {"a": [1]}
    assert received("noted", outcome_body("c", "success", Reply(b"3"))).value == 3


def test_a_business_error_arrives_as_a_problem_with_its_members() -> None:
    problem = Problem("sold_out", "there are none", extra={"left": 0, "big": 2**70}, status=409)
    outcome = received("number", outcome_body("c_1", "failed", Reply(problem=problem)))

    assert (outcome.ok, outcome.problem) == (False, problem)
    with pytest.raises(GoverseError, match="c_1 has no value, because it is failed") as raised:
        _ = outcome.value
    assert not isinstance(raised.value, BusinessError)
    assert isinstance(raised.value.__cause__, BusinessError)
    again = TypeSpec.of(Receives).methods["number"].arguments.encode((), {"outcome": outcome})
    assert received("number", again) == outcome


@pytest.mark.parametrize("state", ["expired", "cancelled", "dead"])
def test_a_call_that_never_ran_has_a_problem_too(state: CallState) -> None:
    outcome = received("number", outcome_body("c_1", state, None))

    assert (outcome.ok, outcome.state) == (False, state)
    assert outcome.problem is not None
    assert (outcome.problem.code, state in outcome.problem.detail) == ("call_void", True)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (outcome_body("c", "success", Reply(b'"x"')), "value"),
        (b'{"outcome":{"id":"c","state":"success"}}', "value"),
        (b'{"outcome":{"id":"c","state":"lost","value":1}}', "outcome"),
        (b'{"outcome":{"state":"success","value":1}}', "id"),
        (b'{"outcome":3}', "outcome"),
        (b"{}", "outcome"),
    ],
)
def test_an_invalid_outcome_is_refused_with_its_path(body: bytes, path: str) -> None:
    with pytest.raises(InvalidArguments) as refused:
        received("number", body)
    assert path in refused.value.extra["errors"][0]["path"]


def test_members_of_a_later_release_are_ignored() -> None:
    later = {"id": "c", "state": "failed", "problem": {"code": "x", "detail": "d", "more": 1}, "more": [1]}
    outcome = received("number", orjson.dumps({"outcome": later}))
    assert outcome.problem == Problem("x", "d")


def test_an_outcome_has_a_readable_text_and_no_hash() -> None:
    assert repr(Outcome("c_1", value=3)) == "<outcome of c_1: success, 3>"
    assert Outcome("c_1", value=3) != Outcome("c_1", value=4)
    with pytest.raises(TypeError):
        hash(Outcome("c_1"))


# --- declarations -----------------------------------------------------------------------------------------------------


class Waits(Object, Generic[T], abstract=True):
    @handler
    async def done(self, outcome: Outcome[T]) -> None: ...


class WaitsForDays(Waits[date]):
    pass


def test_the_type_of_the_value_may_come_from_a_generic_base() -> None:
    method = TypeSpec.of(WaitsForDays).methods["done"]
    outcome = method.arguments.decode(outcome_body("c", "success", Reply(b'"2026-01-02"')))["outcome"]
    assert (method.takes_outcome, outcome.value) == (True, date(2026, 1, 2))


def _another_name() -> type[Object]:
    class Wrong(Object):
        @handler
        async def done(self, result: Outcome[int]) -> None: ...

    return Wrong


def _another_parameter() -> type[Object]:
    class Wrong(Object):
        @handler
        async def done(self, outcome: Outcome[int], note: str = "") -> None: ...

    return Wrong


def _hook() -> type[Object]:
    class Wrong(Object):
        async def on_create(self, outcome: Outcome[int]) -> None: ...

    return Wrong


@pytest.mark.parametrize(
    ("declare", "text"),
    [
        (_another_name, r"Wrong\.done takes result; .* by this name: async def done\(self, outcome: Outcome\[...\]\)"),
        (_another_parameter, r"Wrong\.done takes outcome, note; a method that receives the outcome .* nothing else"),
        (_hook, r"Wrong\.on_create is a hook and cannot receive the outcome"),
    ],
)
def test_a_method_takes_an_outcome_alone_and_by_its_name(declare: Callable[[], type[Object]], text: str) -> None:
    with pytest.raises(DefinitionError, match=text):
        TypeSpec.of(declare())


@pytest.mark.parametrize("name", ["send", "sending", "cancel", "outbox"])
def test_the_names_of_sending_are_taken(name: str) -> None:
    async def method(self: Object) -> None: ...

    wrong = type("Wrong", (Object,), {name: call(method)})
    with pytest.raises(DefinitionError, match=rf"Wrong\.{name}"):
        TypeSpec.of(wrong)


def test_an_outcome_has_a_schema_without_references_outside_of_it() -> None:
    arguments = TypeSpec.of(Receives).methods["number"].arguments.json_schema("#/{model}")
    assert "discriminator" not in repr(arguments)
    assert arguments["required"] == ["outcome"]


def test_a_method_that_takes_an_outcome_is_not_open_to_requests_from_outside() -> None:
    class Open(Object):
        @call
        async def done(self, outcome: Outcome[int]) -> None: ...

    with pytest.raises(DefinitionError, match=r"Open\.done takes the outcome .* mark it with @handler instead"):
        TypeSpec.of(Open)
