"""A method that breaks a rule of the object model: caller and log get the rule, the place and the remedy."""

import logging
from typing import Annotated, Any, NamedTuple

import pytest
from annotated_types import Ge, MaxLen
from pydantic import AfterValidator, BaseModel

from goverse import GoverseError, MethodFailed, Object, call, field, view
from goverse.testing import ObjectHost


class Line(BaseModel):
    sku: str = "a"
    count: int = 1


class Special(Line):
    pass


class Till(Object):
    count: int = 0
    balance: Annotated[int, Ge(0)] = 0
    ratio: float = 0.0
    lines: list[Line] = [Line()]
    by_name: dict[str, int] = {}
    pair: tuple[int, int] = (1, 2)
    anything: Any = None
    pin: Annotated[int, Ge(0)] = field(default=0, hidden=True)
    secrets: dict[str, int] = field(default={}, hidden=True)
    secret: Line = field(default=Line(), hidden=True)
    whatever: Any = field(default=None, hidden=True)

    @call
    def do(self, what: str) -> None:
        _DEEDS[what](self)

    @call(readonly=True)
    def read(self, what: str) -> None:
        _DEEDS[what](self)

    @call
    async def do_and_wait(self, what: str) -> None:
        _DEEDS[what](self)
        await self.ref(Other, "o").take(1)

    @call(reentrant=True)
    async def do_beside_others(self, what: str) -> None:
        _DEEDS[what](self)
        await self.ref(Other, "o").take(1)

    @call
    def wrong_result(self) -> int:
        return "99999"[:4] + "x"  # type: ignore[return-value]

    @call(readonly=True)
    async def call_a_writer(self) -> int:
        return await self.ref(Other, "o").take(1)

    @call
    async def call_wrongly(self) -> int:
        return await self.ref(Other, "o").take("one")  # type: ignore[arg-type]

    @call
    async def call_wrongly_by_name(self) -> Any:
        return await self.ref("Other", "o").take(m=1)


def _even(value: int) -> int:
    if value % 2:
        raise ValueError(f"{value} is odd")
    return value


class Behind(Object):
    """A class whose view hides every field from callers."""

    price: Annotated[int, Ge(0)] = 0
    prices: Annotated[dict[str, Annotated[int, Ge(0)]], MaxLen(1)] = {}
    either: Annotated[int, Ge(0)] | Annotated[str, MaxLen(4)] = 0
    even: Annotated[int, AfterValidator(_even)] = 0

    @call
    async def put(self, member: str, value: Any) -> None:
        setattr(self, member, value)

    @call
    async def clear(self) -> str:
        return 90210  # type: ignore[return-value]  # pyright: ignore

    @view
    def public(self) -> str:
        return ""


class Other(Object):
    taken: int = 0

    @call
    async def take(self, n: int) -> int:
        self.taken += n
        return n


_DEEDS: dict[str, Any] = {
    "undeclared": lambda till: setattr(till, "balence", 99999),
    "constraint": lambda till: setattr(till, "balance", -99999),
    "hidden constraint": lambda till: setattr(till, "pin", -99999),
    "change": lambda till: setattr(till, "count", 99999),
    "wrong type": lambda till: setattr(till, "count", "99999"),
    "wrong type in a model": lambda till: setattr(till.lines[0], "count", "99999x"),
    "wrong type in a dict": lambda till: till.by_name.update(a="99999x"),
    "wrong container": lambda till: setattr(till, "pair", [99999, 2]),
    "no JSON": lambda till: setattr(till, "anything", Other),
    "ring": lambda till: till.by_name.update(a=till.by_name),
    "half a character": lambda till: setattr(till.lines[0], "sku", "99999\ud800"),
    "not a number": lambda till: setattr(till, "ratio", float("inf")),
    "subclass": lambda till: till.lines.append(Special(sku="99999")),
    "hidden wrong type": lambda till: setattr(till, "pin", "99999"),
    "hidden wrong type in a dict": lambda till: till.secrets.update({"99999": "99999x"}),
    "hidden no JSON": lambda till: setattr(till, "whatever", Other),
    "hidden subclass": lambda till: setattr(till, "secret", Special(sku="99999")),
}


class Case(NamedTuple):
    """A broken rule.

    Attributes:
        method: the method that breaks it.
        what: the argument that selects the way in which it does.
        told: the text for the caller and the log.
        value: the value as the log shows it; empty if the field is hidden.
    """

    method: str
    what: str
    told: str
    value: str = ""


_NOT_INT = "must be int, got str; assign a value of the declared type, or declare the type of the value"
_CASES = [
    Case("do", "undeclared", "attribute 'balence' of Till is not declared and would be lost; did you mean 'balance'?"),
    Case("do", "constraint", "/balance: Input should be greater than or equal to 0", "balance = -99999"),
    Case("do", "hidden constraint", "/pin: is hidden and breaks a constraint of its declaration as int. Nothing was"),
    Case("read", "change", "is readonly but changed count; the change was undone. Declare it without", "count = 99999"),
    Case("do", "wrong type", f"field count of Till {_NOT_INT}", "count = '99999'"),
    Case("do_and_wait", "wrong type", f"field count of Till {_NOT_INT}", "count = '99999'"),
    Case("do_beside_others", "wrong type", f"field count of Till {_NOT_INT}", "count = '99999'"),
    Case("read", "wrong type", f"field count of Till {_NOT_INT}", "count = '99999'"),
    Case(
        *("do", "wrong type in a model"),
        "field lines of Till must be list[Line], but lines.0.count is refused: Input should be a valid integer",
        "99999x",
    ),
    Case(
        *("do", "wrong type in a dict"),
        "field by_name of Till must be dict[str, int], but by_name.a is refused: Input should be a valid integer",
        "99999x",
    ),
    Case("do", "wrong container", "field pair of Till must be tuple[int, int], got list", "pair = [99999, 2]"),
    Case("do", "no JSON", "field anything of Till holds a value of class type", "test_broken_rules.Other"),
    Case("do", "ring", "field by_name of Till holds a dict that has no JSON form", "by_name = "),
    Case("do", "half a character", "field lines of Till holds a list that has no JSON form", "lines = "),
    Case("do", "not a number", "Till.ratio holds inf, which JSON has no form for; declare it as float | None", "inf"),
    Case("do", "subclass", "Till.lines.1 would change when it is stored", "99999"),
    Case("do", "hidden wrong type", f"hidden field pin of Till {_NOT_INT}"),
    Case(
        *("do", "hidden wrong type in a dict"),
        "hidden field secrets of Till must be dict[str, int], but a value in it is of another type; assign a value",
    ),
    Case("do", "hidden no JSON", "hidden field whatever of Till holds a value of class type"),
    Case(
        *("do", "hidden subclass"),
        "Till.secret is hidden, declared as Line, and would be loaded as another value; declare the subclass",
    ),
]


def _broken(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    """Return the only error in the log."""
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    return {**vars(record), "event": record.getMessage()}


@pytest.mark.requirement("OBJ-11", "OBJ-13", "OBJ-14")
@pytest.mark.parametrize("case", _CASES, ids=[f"{case.method}-{case.what}" for case in _CASES])
async def test_a_broken_rule_is_reported_with_its_field_and_logged(
    case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    async with ObjectHost(Till, Other) as host:
        with pytest.raises(MethodFailed) as failed:
            await getattr(host.ref(Till, "t"), case.method)(case.what)
        logged = _broken(caplog)
        assert case.told in failed.value.detail
        assert failed.value.detail.startswith(f"Till.{case.method}")
        assert (logged["event"], logged["object"], logged["method"]) == ("method broke a rule", "Till/t", case.method)
        assert logged["reason"] == failed.value.detail
        assert "Pydantic" not in logged["reason"].replace("Pydantic's types", "")
        assert case.value in logged.get("values", "") + logged["reason"]
        if not case.value:
            assert "99999" not in str(failed.value) + str(failed.value.extra) + caplog.text + str(logged)


@pytest.mark.requirement("OBJ-11", "OBJ-14")
@pytest.mark.parametrize(
    ("member", "value", "told", "logged"),
    [
        (
            *("price", -90210, "breaks a constraint of its declaration as int"),
            "price = -90210 (Input should be greater than or equal to 0)",
        ),
        (
            *("prices", {"a": -90210}, "breaks a constraint of its declaration as dict[str, "),
            "prices = {'a': -90210} (Input should be greater than or equal to 0)",
        ),
        (
            *("prices", {"a": 1, "90210": 2}, "breaks a constraint of its declaration as dict[str, "),
            "prices = {'a': 1, '90210': 2} (Dictionary should have at most 1 item after validation, not more)",
        ),
        ("either", "90210a", "does not fit its declaration as ", "either = '90210a' (Input should be a valid int"),
        (
            *("even", 90211, "is refused by the validator of its declaration as int"),
            "even = 90211 (its validator refuses it)",
        ),
    ],
    ids=["number", "nested", "size", "union", "validator"],
)
async def test_a_constraint_behind_a_view_is_named_as_such_and_the_log_has_it(
    member: str, value: Any, told: str, logged: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with ObjectHost(Behind) as host:
        with pytest.raises(MethodFailed) as failed:
            await host.ref(Behind, "b").put(member, value)
    (problem,) = failed.value.extra["errors"]
    assert problem["path"] == f"/{member}"
    assert problem["message"].startswith(f"is not shown by the view and {told}")
    assert "9021" not in str(failed.value) + str(failed.value.extra)
    assert _broken(caplog)["values"].startswith(logged)


@pytest.mark.requirement("OBJ-11")
async def test_a_wrong_result_is_reported_in_plain_words(caplog: pytest.LogCaptureFixture) -> None:
    async with ObjectHost(Behind) as host:
        with pytest.raises(MethodFailed) as failed:
            await host.ref(Behind, "b").clear()
    assert failed.value.detail == (
        "Behind.clear returned a value that is not of its declared type: an int; Input should be a valid string. "
        "Return a value of the declared type, or declare the type of the value."
    )
    assert _broken(caplog)["value"] == "90210"


@pytest.mark.requirement("OBJ-11")
async def test_a_wrong_result_is_logged_without_what_a_hidden_field_may_hold(caplog: pytest.LogCaptureFixture) -> None:
    async with ObjectHost(Till, Other) as host:
        till: Any = host.ref(Till, "t")
        with pytest.raises(MethodFailed):
            await till.wrong_result()
        logged = _broken(caplog)
        assert (logged["event"], logged["method"]) == ("method returned a wrong value", "wrong_result")
        assert "Till.wrong_result returned a value that is not of its declared type: a str; Input" in logged["reason"]
        assert logged["reason"].endswith("Return a value of the declared type, or declare the type of the value.")
        assert "9999x" not in str(logged) + caplog.text


@pytest.mark.requirement("OBJ-11")
async def test_a_readonly_method_that_calls_a_writer_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with ObjectHost(Till, Other) as host:
        with pytest.raises(MethodFailed):
            await host.ref(Till, "t").call_a_writer()
        logged = _broken(caplog)
        assert (logged["event"], logged["method"]) == ("method broke a rule", "call_a_writer")
        assert "Till.call_a_writer is readonly and called Other.take of Other/o" in logged["reason"]


@pytest.mark.requirement("OBJ-11")
@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("call_wrongly", "/n: Input should be a valid integer"),
        ("call_wrongly_by_name", "/n: Field required; /m: Extra inputs are not permitted"),
    ],
)
async def test_wrong_arguments_of_a_nested_call_are_logged(
    method: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with ObjectHost(Till, Other) as host:
        with pytest.raises(GoverseError):
            await getattr(host.ref(Till, "t"), method)()
        logged = _broken(caplog)
        assert (logged["event"], logged["method"]) == ("method failed", method)
        assert "the arguments do not fit Other.take" in logged["reason"]
        assert reason in logged["reason"]
