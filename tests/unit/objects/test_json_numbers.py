"""Arguments are JSON as RFC 8259 means it, and decimals keep every digit."""

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel

from goverse import MethodFailed, Object, call, migration
from goverse.errors import InvalidArguments, MalformedRequest, RequestError, StateNotStorable
from goverse.model import json_text
from goverse.objects.codec import Arguments
from goverse.testing import ObjectHost


class Part(BaseModel):
    weight: float = 0.0
    price: Decimal = Decimal(0)
    more: dict[str, Any] = {}


@dataclass
class Line:
    price: Decimal


def takes(
    self: Any,
    *,
    any_value: Any = None,
    part: Part | None = None,
    number: int = 0,
    ratio: float = 0.0,
    money: Decimal = Decimal(0),
    line: Line | None = None,
    lots: list[Decimal] | None = None,
    text: str = "",
) -> None: ...


def counts(self: Any, number: int = 0, text: str = "") -> None: ...


ARGUMENTS = Arguments("T.takes", takes, takes.__annotations__)
PLAIN = Arguments("T.counts", counts, counts.__annotations__)


@pytest.mark.requirement("OBJ-13", "GATE-9")
@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"any_value":NaN}', "NaN"),
        (b'{"any_value":{"a":[Infinity]}}', "Infinity"),
        (b'{"any_value":-Infinity}', "Infinity"),
        (b'{"any_value":1e999}', "1e999 is too large"),
        (b'{"any_value":-1E999}', "is too large"),
        (b'{"any_value":1' + b"0" * 400 + b".5}", "is too large"),
        (b'{"part":{"weight":NaN}}', "NaN"),
        (b'{"part":{"weight":1e999}}', "1e999"),
        (b'{"part":{"price":NaN}}', "NaN"),
        (b'{"part":{"more":{"x":Infinity}}}', "Infinity"),
        (b'{"number":NaN}', "NaN"),
        (b'{"ratio":NaN}', "NaN"),
        (b'{"ratio":1e999}', "1e999"),
        (b'{"money":Infinity}', "Infinity"),
        (b'{"number":1,"number":2}', '"number" occurs twice'),
        (b'{"number":1, "n\\u0075mber":2}', '"number" occurs twice'),
        (b'{"number":1,"text":"a:b","number":2}', '"number" occurs twice'),
        (b'{"part":{"weight":1,"weight":2}}', '"weight" occurs twice'),
        (b'{"any_value":[{"a":1,"\\u0061":2}]}', '"a" occurs twice'),
        (b'{"any_value":{"a":{"b":1,"c":2,"b":3}},"text":"\\\\:"}', '"b" occurs twice'),
        (b'{"number":"x","number":1}', '"number" occurs twice'),
    ],
)
def test_what_tolerant_parsers_take_for_json_is_malformed(body: bytes, said: str) -> None:
    with pytest.raises(MalformedRequest) as raised:
        ARGUMENTS.decode(body)
    assert raised.value.detail.startswith("the body is not JSON: ")
    assert said in raised.value.detail


@pytest.mark.requirement("OBJ-13")
@pytest.mark.parametrize("body", [b'{"number":1,"number":2}', b'{"text":":","text":"a"}', b'{"number":NaN}'])
def test_a_method_of_plain_types_is_no_exception(body: bytes) -> None:
    with pytest.raises(MalformedRequest):
        PLAIN.decode(body)


@pytest.mark.requirement("OBJ-1")
@pytest.mark.parametrize(
    ("body", "values"),
    [
        (b'{"text":"NaN: 1e999, Infinity"}', {"text": "NaN: 1e999, Infinity"}),
        (b'{"any_value":{"a":"x:y","b":[{"a":1},{"a":2}]}}', {"any_value": {"a": "x:y", "b": [{"a": 1}, {"a": 2}]}}),
        (b'{"any_value":{"\\u003a":"\\u003a"}}', {"any_value": {":": ":"}}),
        (b'{"ratio":1e300,"any_value":1E-400}', {"ratio": 1e300, "any_value": 0.0}),
        (b' { "number" : 1 } ', {"number": 1}),
    ],
)
def test_json_is_not_refused(body: bytes, values: dict[str, Any]) -> None:
    assert ARGUMENTS.decode(body) == values


DIGITS = "12345678901234567890.123456789"


@pytest.mark.requirement("OBJ-1", "OBJ-13")
@pytest.mark.parametrize(
    ("body", "values"),
    [
        ('{"money":%s}', {"money": Decimal(DIGITS)}),
        ('{"part":{"price":%s}}', {"part": Part(price=Decimal(DIGITS))}),
        ('{"line":{"price":%s}}', {"line": Line(Decimal(DIGITS))}),
        ('{"lots":[%s,0.5,7]}', {"lots": [Decimal(DIGITS), Decimal("0.5"), Decimal(7)]}),
        ('{"money":0.1%.0s}', {"money": Decimal("0.1")}),
        ('{"money":0.10000000000000000000000001%.0s}', {"money": Decimal("0.10000000000000000000000001")}),
        ('{"money":-%s,"ratio":0.5}', {"money": Decimal("-" + DIGITS), "ratio": 0.5}),
        ('{"money":1234567890123456.75e-3%.0s}', {"money": Decimal("1234567890123.45675")}),
        ('{"money":123456789012345678901234567890%.0s}', {"money": Decimal(123456789012345678901234567890)}),
        ('{"money":"%s"}', {"money": Decimal(DIGITS)}),
        ('{"money":"1.50","lots":[%s]}', {"money": Decimal("1.50"), "lots": [Decimal(DIGITS)]}),
    ],
)
def test_a_decimal_keeps_every_digit_of_a_json_number(body: str, values: dict[str, Any]) -> None:
    assert ARGUMENTS.decode((body % DIGITS).encode()) == values


@pytest.mark.requirement("OBJ-13")
def test_numbers_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(InvalidArguments) as raised:
        ARGUMENTS.decode(b'{"lots":[0.1,0.1000000000000000055511151231257827]}')
    assert "send it as a string" in raised.value.extra["errors"][0]["message"]


@pytest.mark.requirement("GATE-9")
def test_the_cheap_questions_are_never_wrong_when_they_answer_no() -> None:
    assert not json_text.may_repeat_members(b'{"a":1,"b":"x"}', 2)
    assert not json_text.may_repeat_members(b'{"a":{"b":1}}', 1)
    assert json_text.may_repeat_members(b'{"a":1,"a":2}', 1)
    assert not json_text.may_be_infinite(b'{"a":1.5}')


class Ratio(BaseModel):
    value: float | None = None
    more: dict[str, Any] = {}


class Sender(Object, state_version=2):
    notes: dict[str, Any] = {}

    @migration(from_version=1)
    @staticmethod
    def _infinite(state: dict[str, Any]) -> dict[str, Any]:
        return {"notes": {"limit": math.inf}}

    @call
    async def answer_model(self) -> Ratio:
        return Ratio(value=math.nan)

    @call
    async def answer_anything(self) -> Any:
        return {"a": [-math.inf]}

    @call
    async def answer_text(self) -> list[Ratio]:
        return [Ratio(value=None, more={"NaN": "Infinity"})]

    @call
    async def send(self, how: str) -> str:
        typed = self.ref(Receiver, "1")
        try:
            if how == "typed":
                await typed.take(math.nan)
            elif how == "model":
                await typed.take(None, Ratio(value=math.nan))
            else:
                await self.ref("Receiver", "1").take(value=math.nan)
        except RequestError as error:
            return error.detail
        return "sent"


class Receiver(Object):
    @call
    async def take(self, value: float | None = None, ratio: Ratio | None = None) -> None: ...


@pytest.mark.requirement("OBJ-9", "OBJ-13")
async def test_a_result_never_passes_nan_for_null() -> None:
    async with ObjectHost(Sender) as host:
        sender = host.ref(Sender, "1")
        for method in (sender.answer_model, sender.answer_anything):
            with pytest.raises(MethodFailed, match="returned NaN or infinity"):
                await method()
        assert await sender.answer_text() == [Ratio(value=None, more={"NaN": "Infinity"})]


@pytest.mark.requirement("OBJ-8", "OBJ-13")
@pytest.mark.parametrize("how", ["typed", "model", "untyped"])
async def test_a_call_to_another_object_never_passes_nan_for_null(how: str) -> None:
    async with ObjectHost(Sender, Receiver) as host:
        assert "NaN" in await host.ref(Sender, "1").send(how)


@pytest.mark.requirement("OBJ-11", "OBJ-13")
async def test_a_migration_never_passes_infinity_for_null() -> None:
    async with ObjectHost(Sender) as host:
        await host.store_state(Sender, "1", {}, state_version=1)
        with pytest.raises(MethodFailed, match="NaN and infinity have no JSON form"):
            await host.ref(Sender, "1").answer_text()


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
async def test_a_number_that_json_cannot_carry_is_refused_with_the_remedy(number: float) -> None:
    class Meter(Object):
        rate: float = 0.5

        @call
        async def put(self, infinite: str) -> None:
            self.rate = float(infinite)

    async with ObjectHost(Meter) as host:
        with pytest.raises(StateNotStorable, match=r"Meter\.rate holds .*(nan|inf), which JSON .* float \| None"):
            await host.ref(Meter, "m").put(infinite=str(number))
        assert await host.state(Meter, "m") is None
