"""Arguments must be strict JSON (RFC 8259), and decimals keep every digit."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from pydantic import BaseModel, Field

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
def test_json_that_only_tolerant_parsers_accept_is_malformed(body: bytes, said: str) -> None:
    with pytest.raises(MalformedRequest) as raised:
        ARGUMENTS.decode(body)
    assert raised.value.detail.startswith("the body is not JSON: ")
    assert said in raised.value.detail


@pytest.mark.requirement("OBJ-13")
@pytest.mark.parametrize("body", [b'{"number":1,"number":2}', b'{"text":":","text":"a"}', b'{"number":NaN}'])
def test_a_method_of_plain_types_is_checked_too(body: bytes) -> None:
    with pytest.raises(MalformedRequest):
        PLAIN.decode(body)


@pytest.mark.requirement("OBJ-1")
@pytest.mark.parametrize(
    ("body", "values"),
    [
        (b'{"text":"NaN: 1e999, Infinity"}', {"text": "NaN: 1e999, Infinity"}),
        (b'{"any_value":{"a":"x:y","b":[{"a":1},{"a":2}]}}', {"any_value": {"a": "x:y", "b": [{"a": 1}, {"a": 2}]}}),
        (b'{"any_value":{"\\u003a":"\\u003a"}}', {"any_value": {":": ":"}}),
        (b'{"ratio":1e300,"any_value":1E-300}', {"ratio": 1e300, "any_value": 1e-300}),
        (b'{"ratio":5e-324,"any_value":0.10000000000000001}', {"ratio": 5e-324, "any_value": 0.1}),
        (b'{"ratio":0e-999999,"any_value":-0.0e-99999999999999999999}', {"ratio": 0.0, "any_value": -0.0}),
        (
            b'{"ratio":123456789012345680000,"number":9007199254740993}',
            {"ratio": 1.2345678901234568e20, "number": 2**53 + 1},
        ),
        (b'{"ratio":4.9406564584124654e-324,"any_value":[0.5,1e-100]}', {"ratio": 5e-324, "any_value": [0.5, 1e-100]}),
        (b'{"ratio":0.10000000000000000555}', {"ratio": 0.1}),
        (b'{"any_value":[123456789012345678901234567890]}', {"any_value": [123456789012345678901234567890]}),
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
        ('{"money":1e-999999%.0s}', {"money": Decimal("1e-999999")}),
        ('{"money":1.2345e-320,"lots":[-2E-400]%.0s}', {"money": Decimal("1.2345e-320"), "lots": [Decimal("-2e-400")]}),
        ('{"part":{"price":1e-330},"ratio":0.5%.0s}', {"part": Part(price=Decimal("1e-330")), "ratio": 0.5}),
        ('{"money":"1.50","lots":[%s]}', {"money": Decimal("1.50"), "lots": [Decimal(DIGITS)]}),
    ],
)
def test_a_decimal_keeps_every_digit_of_a_json_number(body: str, values: dict[str, Any]) -> None:
    assert ARGUMENTS.decode((body % DIGITS).encode()) == values


@pytest.mark.requirement("OBJ-13")
def test_numbers_that_cannot_be_distinguished_are_refused() -> None:
    with pytest.raises(InvalidArguments) as raised:
        ARGUMENTS.decode(b'{"lots":[0.1,0.1000000000000000055511151231257827]}')
    assert "send it as a string" in raised.value.extra["errors"][0]["message"]


def measures(
    self: Any,
    *,
    ratio: float = 0.0,
    ratios: list[float] | None = None,
    mixed: float | str = "",
    part: Part | None = None,
    anything: Any = None,
    members: dict | None = None,  # type: ignore[type-arg]  # as an application may write it
    exact: Decimal = Decimal(0),
) -> None: ...


class Named(BaseModel):
    config: Decimal = Decimal(0)
    expected: float | None = None
    cls: Decimal = Field(Decimal(0), alias="class")


def named(
    self: Any,
    *,
    default: Decimal = Decimal(0),
    expected: Decimal = Decimal(0),
    metadata: Decimal = Decimal(0),
    members: Named | None = None,
    serialization: float = 0.0,
) -> None: ...


NAMED = Arguments("T.named", named, named.__annotations__)


@pytest.mark.requirement("OBJ-13")
@pytest.mark.parametrize("name", ["default", "expected", "metadata", "members"])
def test_a_parameter_may_be_named_as_a_part_of_a_schema(name: str) -> None:
    given = f'{{"config":{DIGITS},"class":{DIGITS}}}' if name == "members" else DIGITS
    values = NAMED.decode(f'{{"{name}":{given}}}'.encode())
    if name == "members":
        assert values["members"].config == values["members"].cls == Decimal(DIGITS)
    else:
        assert values[name] == Decimal(DIGITS)
    with pytest.raises(InvalidArguments, match="/serialization"):
        NAMED.decode(b'{"serialization":1e-400}')
    sent = NAMED.encode((), {"members": Named.model_validate({"expected": math.nan})})
    with pytest.raises(RequestError):
        NAMED.decode(sent)


def only_floats(self: Any, ratio: float = 0.0, ratios: list[float] | None = None) -> None: ...


MEASURES = Arguments("T.measures", measures, measures.__annotations__)
ONLY_FLOATS = Arguments("T.only_floats", only_floats, only_floats.__annotations__)
_TOO_SMALL = ("1e-400", "1e-999999", "-2e-324", "1.2345e-320", "1e-99999999999999999999", f"0.{'0' * 250}1e-75")


@pytest.mark.requirement("OBJ-13", "OBJ-1")
@pytest.mark.parametrize("number", [*_TOO_SMALL, f"0.{'0' * 400}1"])
@pytest.mark.parametrize(
    ("body", "path"),
    [
        ('{"ratio":%s}', "/ratio"),
        ('{"ratios":[0.5,%s]}', "/ratios/1"),
        ('{"mixed":%s}', "/mixed"),
        ('{"part":{"weight":%s}}', "/part/weight"),
        ('{"part":{"more":{"x":[%s]}}}', "/part/more/x"),
        ('{"anything":{"a":[1,%s]}}', "/anything"),
        ('{"members":{"a":%s},"exact":1e-7}', "/members"),
    ],
)
def test_a_number_that_a_float_would_change_is_refused_with_its_path(body: str, path: str, number: str) -> None:
    with pytest.raises(InvalidArguments) as raised:
        MEASURES.decode((body % number).encode())
    problem = next(item for item in raised.value.extra["errors"] if "float" in item["message"])
    assert problem["path"].startswith(path)
    assert f"the number {number[:40]} " in problem["message"]
    assert "is too small for a float; send" in problem["message"]


@pytest.mark.requirement("OBJ-13")
def test_a_method_with_only_floats_is_checked_too() -> None:
    with pytest.raises(InvalidArguments, match="/ratio"):
        ONLY_FLOATS.decode(b'{"ratio":1e-400}')


@pytest.mark.requirement("OBJ-13", "GATE-9")
@pytest.mark.parametrize("arguments", [MEASURES, ONLY_FLOATS])
def test_many_refused_numbers_are_reported_as_one(arguments: Arguments) -> None:
    body = f'{{"ratios":[{",".join(f"1e-4{number:02}" for number in range(30))}]}}'
    with pytest.raises(InvalidArguments, match="more than 20 numbers are too small for a float") as raised:
        arguments.decode(body.encode())
    assert [problem["path"] for problem in raised.value.extra["errors"]] == [""]


@pytest.mark.requirement("OBJ-13")
def test_a_decimal_whose_exponent_python_cannot_hold_is_refused() -> None:
    with pytest.raises(InvalidArguments) as raised:
        MEASURES.decode(b'{"exact":1e-99999999999999999999}')
    assert raised.value.extra["errors"][0]["path"] == "/exact"


@pytest.mark.requirement("OBJ-13", "GATE-9")
def test_a_number_that_is_too_large_is_named_with_its_path() -> None:
    with pytest.raises(MalformedRequest, match=r"the number 1e999999 is too large, at /part/more/a~1b/1"):
        ARGUMENTS.decode(b'{"part":{"more":{"a/b":[1,1e999999]}}}')


def _numbers(seed: int, count: int) -> Iterator[str]:
    random = Random(seed)
    for _ in range(count):
        digits = "".join(random.choices("0123456789", k=random.randint(1, 24)))
        number = f"{random.choice('123456789')}{random.choice(['', '.'])}{digits}"
        number = random.choice([number, f"0.{'0' * random.choice([0, 3, 200, 260])}{number.replace('.', '')}"])
        yield number + random.choice(["", "", f"e-{random.randint(1, 400)}", f"E+{random.randint(1, 280)}"])


@pytest.mark.requirement("OBJ-13")
def test_any_number_is_read_as_it_is_written_or_refused() -> None:
    kept = 0
    for number in _numbers(seed=5, count=3_000):
        only = f'{{"ratio":{number}}}'.encode()
        assert MEASURES.decode(f'{{"exact":{number}}}'.encode())["exact"] == Decimal(number)
        try:
            ratio = MEASURES.decode(only)["ratio"]
        except InvalidArguments:
            with pytest.raises(InvalidArguments):
                ONLY_FLOATS.decode(only)
            continue
        kept += 1
        assert ratio == ONLY_FLOATS.decode(only)["ratio"] == float(number)
        exact = Decimal(number)
        assert abs(Decimal(ratio) - exact) <= abs(exact) * Decimal("1.2e-16") or Decimal(repr(ratio)) == exact
    assert 1_000 < kept < 2_950


@pytest.mark.requirement("GATE-9")
def test_the_fast_checks_never_return_a_wrong_false() -> None:
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
    async def pass_on(self, how: str) -> str:
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
async def test_a_result_never_sends_nan_as_null() -> None:
    async with ObjectHost(Sender) as host:
        sender = host.ref(Sender, "1")
        for method in (sender.answer_model, sender.answer_anything):
            with pytest.raises(MethodFailed, match="returned NaN or infinity"):
                await method()
        assert await sender.answer_text() == [Ratio(value=None, more={"NaN": "Infinity"})]


@pytest.mark.requirement("OBJ-8", "OBJ-13")
@pytest.mark.parametrize("how", ["typed", "model", "untyped"])
async def test_a_call_to_another_object_never_sends_nan_as_null(how: str) -> None:
    async with ObjectHost(Sender, Receiver) as host:
        assert "NaN" in await host.ref(Sender, "1").pass_on(how)


@pytest.mark.requirement("OBJ-11", "OBJ-13")
async def test_a_migration_never_stores_infinity_as_null() -> None:
    async with ObjectHost(Sender) as host:
        await host.store_state(Sender, "1", {}, state_version=1)
        with pytest.raises(MethodFailed, match="NaN and infinity have no JSON form"):
            await host.ref(Sender, "1").answer_text()


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
async def test_a_number_without_a_json_form_is_refused_with_a_remedy(number: float) -> None:
    class Meter(Object):
        rate: float = 0.5

        @call
        async def put(self, infinite: str) -> None:
            self.rate = float(infinite)

    async with ObjectHost(Meter) as host:
        with pytest.raises(StateNotStorable, match=r"Meter\.rate holds .*(nan|inf), which JSON .* float \| None"):
            await host.ref(Meter, "m").put(infinite=str(number))
        assert await host.state(Meter, "m") is None
