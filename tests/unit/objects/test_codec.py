"""The codecs: arguments are strict, results are checked, states are stored and loaded unchanged."""

import json
import math
import tracemalloc
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal, Optional
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, Field
from typing_extensions import TypedDict

from goverse import DefinitionError, MethodFailed, Object, call, migration
from goverse.errors import DataNewer, GoverseError, InvalidArguments, MalformedRequest
from goverse.model.keys import ObjectKey
from goverse.model.records import StoredObject
from goverse.objects.codec import Arguments
from goverse.objects.results import Result
from goverse.objects.spec import TypeSpec
from goverse_node.runtime.instance import Instance
from tests.tiers import examples

KEY = ObjectKey("default", "T", "1")


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Point(BaseModel):
    x: int
    label: str | None = None
    children: list["Point"] = []


@dataclass
class Pair:
    left: int
    right: Decimal


class Shape(TypedDict):
    sides: int
    colours: list[Colour]


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    tricks: list[str]


class Everything(Object):
    number: int = 0
    ratio: float = 0.0
    flag: bool = False
    text: str = ""
    raw: bytes = b""
    raws: list[bytes] = []
    money: Decimal = Decimal(0)
    identity: UUID = UUID(int=0)
    when: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    day: date = date(2026, 1, 1)
    span: timedelta = timedelta()
    colour: Colour = Colour.RED
    level: Level = Level.LOW
    maybe: Optional[Point] = None  # noqa: UP045  # this spelling as well
    point: Point = Point(x=0)
    pair: Pair = Pair(1, Decimal(2))
    shape: Shape = {"sides": 3, "colours": []}
    by_number: dict[int, str] = {}
    by_colour: dict[Colour, list[int]] = {}
    by_identity: dict[UUID, Point] = {}
    unique: set[int] = set()
    frozen: frozenset[str] = frozenset()
    fixed: tuple[int, str] = (0, "")
    many: tuple[int, ...] = ()
    either: int | str | None = None
    animal: Annotated[Cat | Dog, Field(discriminator="kind")] = Cat(lives=9)
    anything: Any = None
    bounded: Annotated[int, Field(ge=-5, le=5)] = 0


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
POINTS: st.SearchStrategy[Point] = st.deferred(
    lambda: st.builds(Point, x=st.integers(), label=st.none() | TEXT, children=st.lists(POINTS, max_size=2))
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
VALUES = st.fixed_dictionaries(
    {
        "number": st.integers(),
        "ratio": FLOATS,
        "flag": st.booleans(),
        "text": TEXT,
        "raw": st.binary(max_size=30),
        "raws": st.lists(st.binary(max_size=5), max_size=3),
        "money": st.decimals(allow_nan=False, allow_infinity=False),
        "identity": st.uuids(),
        "when": st.datetimes(timezones=st.just(UTC)),
        "day": st.dates(),
        "span": st.timedeltas(timedelta(days=-10_000), timedelta(days=10_000)),
        "colour": st.sampled_from(Colour),
        "level": st.sampled_from(Level),
        "maybe": st.none() | POINTS,
        "point": POINTS,
        "pair": st.builds(Pair, st.integers(), st.decimals(allow_nan=False, allow_infinity=False)),
        "shape": st.fixed_dictionaries({"sides": st.integers(), "colours": st.lists(st.sampled_from(Colour))}),
        "by_number": st.dictionaries(st.integers(), TEXT, max_size=3),
        "by_colour": st.dictionaries(st.sampled_from(Colour), st.lists(st.integers()), max_size=2),
        "by_identity": st.dictionaries(st.uuids(), POINTS, max_size=2),
        "unique": st.sets(st.integers(), max_size=5),
        "frozen": st.frozensets(TEXT, max_size=3),
        "fixed": st.tuples(st.integers(), TEXT),
        "many": st.lists(st.integers(), max_size=4).map(tuple),
        "either": st.none() | st.integers() | TEXT,
        "animal": st.builds(Cat, lives=st.integers()) | st.builds(Dog, tricks=st.lists(TEXT, max_size=2)),
        "anything": JSON,
        "bounded": st.integers(-5, 5),
    }
)


@pytest.mark.requirement("OBJ-1", "OBJ-5")
@settings(derandomize=True, max_examples=examples(25))
@given(VALUES)
def test_a_state_is_stored_and_loaded_unchanged(values: dict[str, Any]) -> None:
    state = TypeSpec.of(Everything).state
    body = state.dump(values)

    state.check(body, dict(values))
    back = state.load(body)
    assert back == values
    assert {name: type(value) for name, value in back.items()} == {name: type(value) for name, value in values.items()}
    assert json.loads(body).keys() == values.keys()


def _instance(cls: type[Any], stored: dict[str, Any] | None = None, state_version: int = 1) -> Instance:
    body = None if stored is None else StoredObject(7, json.dumps(stored).encode(), state_version, 3, 0)
    return Instance(TypeSpec.of(cls), KEY, body)


class Defaults(Object):
    items: list[int] = []
    nested: dict[str, list[int]] = {"a": [1]}
    point: Point = Point(x=1)
    made: list[int] = Field(default_factory=lambda: [1])
    described: int = Field(3, ge=0, description="how many")
    _cache: dict[str, int] = {}
    _unset: int


@pytest.mark.requirement("OBJ-1")
def test_no_default_is_shared_between_objects() -> None:
    one, other = _instance(Defaults).object, _instance(Defaults).object
    one.items.append(1)
    one.nested["a"].append(2)
    one.point.x = 5
    one.made.append(2)
    one._cache["x"] = 1

    assert (other.items, other.nested, other.point.x, other.made, other._cache) == ([], {"a": [1]}, 1, [1], {})
    assert Defaults.nested == {"a": [1]}
    assert not hasattr(other, "_unset")


@pytest.mark.requirement("OBJ-1", "OBJ-11")
def test_undeclared_members_are_kept_and_missing_ones_get_their_default() -> None:
    instance = _instance(Defaults, {"items": [4], "of_a_newer_release": {"x": [1]}})

    assert instance.object.items == [4]
    assert instance.object.described == 3
    assert not hasattr(instance.object, "of_a_newer_release")
    instance.object.items.append(5)
    written = json.loads(instance.dump())
    assert written["of_a_newer_release"] == {"x": [1]}
    assert written["items"] == [4, 5]
    instance.restore(instance.base)
    assert instance.object.items == [4]
    assert json.loads(instance.dump())["of_a_newer_release"] == {"x": [1]}


class Needy(Object):
    name: str
    size: int

    def on_create(self) -> None: ...


@pytest.mark.requirement("OBJ-1")
def test_a_required_field_has_no_value_until_it_is_set() -> None:
    instance = _instance(Needy)
    assert instance.base is None
    assert instance.missing() == ["name", "size"]
    with pytest.raises(MethodFailed, match="'name' of Needy has no value"):
        instance.dump()
    instance.object.name, instance.object.size = "x", 1
    assert instance.dump() == b'{"name":"x","size":1}'
    with pytest.raises(MethodFailed, match="Give size a default, or raise its") as raised:
        _instance(Needy, {"name": "x"})
    assert raised.value.extra["errors"] == [{"path": "/size", "message": "is missing"}]
    with pytest.raises(MethodFailed, match="Raise its state_version") as raised:
        _instance(Needy, {"name": 1})


class Moved(Object, state_version=3):
    total: int
    names: list[str]

    @migration(from_version=1)
    def _rename(state: dict[str, Any]) -> dict[str, Any]:  # type: ignore[misc]  # noqa: N805  # a plain one works too
        return {"total": state["value"]}

    @staticmethod
    @migration(from_version=2)
    def _add_names(state: dict[str, Any]) -> dict[str, Any]:
        if state["total"] < 0:
            raise ValueError("negative")
        return {**state, "names": object() if state["total"] == 99 else ["n"] * state["total"]}


@pytest.mark.requirement("OBJ-11")
def test_an_older_state_is_migrated_step_by_step() -> None:
    assert vars(_instance(Moved, {"value": 2}, 1).object)["names"] == ["n", "n"]
    assert vars(_instance(Moved, {"total": 1}, 2).object)["names"] == ["n"]
    assert vars(_instance(Moved, {"total": 1, "names": []}, 3).object)["names"] == []
    assert _instance(Moved, {"value": 2}, 1).version == 7


class Renamed(Object, state_version=2):
    pennies: int = 0
    notes: dict[str, Any] = {}

    @staticmethod
    @migration(from_version=1)
    def _rename(state: dict[str, Any]) -> dict[str, Any]:
        return {"pennies": state["cents"], "notes": state["notes"]}


@pytest.mark.requirement("OBJ-11")
@pytest.mark.parametrize("number", [2**63, -(2**64), 12345678901234567890123, 10**4_000])
def test_a_migration_sees_every_digit(number: int) -> None:
    migrated = vars(_instance(Renamed, {"cents": number, "notes": {"n": [number]}}, 1).object)
    assert (migrated["pennies"], migrated["notes"]) == (number, {"n": [number]})


@pytest.mark.requirement("OBJ-11")
@pytest.mark.parametrize(
    ("cls", "stored", "version", "error", "said"),
    [
        (Moved, {"total": 1}, 4, DataNewer, "has version 4; this class reads versions up to 3"),
        (Moved, {"other": 1}, 1, MethodFailed, "migration of Moved from state version 1 failed"),
        (Moved, {"total": -1}, 2, MethodFailed, "migration of Moved from state version 2 failed"),
        (Moved, {"total": 99}, 2, MethodFailed, "without a JSON form"),
        (Moved, {"total": "x", "names": []}, 3, MethodFailed, "does not fit class Moved"),
    ],
)
def test_a_state_that_cannot_be_read_is_refused(
    cls: type[Any], stored: dict[str, Any], version: int, error: type[GoverseError], said: str
) -> None:
    with pytest.raises(error) as raised:
        _instance(cls, stored, version)
    assert said in raised.value.detail


def takes(
    self: Any,
    number: int,
    ratio: float = 1.0,
    *,
    text: str = "x",
    point: Point | None = None,
    raw: bytes = b"",
    by_number: dict[int, str] = {},  # noqa: B006
    when: datetime | None = None,
    colour: Colour = Colour.RED,
    checked: Annotated[int, AfterValidator(lambda value: 1 // value)] = 1,
) -> None: ...


ARGUMENTS = Arguments("T.takes", takes, takes.__annotations__)


@pytest.mark.requirement("OBJ-1")
def test_arguments_are_read_from_json() -> None:
    assert ARGUMENTS.decode(b'{"number": 1}') == {"number": 1, "by_number": {}}
    decoded = ARGUMENTS.decode(
        b'{"number":1,"ratio":2,"point":{"x":1},"raw":"_w==","by_number":{"1":"a"},'
        b'"when":"2026-01-01T00:00:00Z","colour":"blue"}'
    )
    assert decoded == {
        "number": 1,
        "ratio": 2.0,
        "point": Point(x=1),
        "raw": b"\xff",
        "by_number": {1: "a"},
        "when": datetime(2026, 1, 1, tzinfo=UTC),
        "colour": Colour.BLUE,
    }


@pytest.mark.requirement("OBJ-1")
@pytest.mark.parametrize(
    ("body", "paths"),
    [
        (b"", ["/number"]),
        (b"[]", [""]),
        (b'{"number":"1"}', ["/number"]),
        (b'{"number":1.0}', ["/number"]),
        (b'{"number":true}', ["/number"]),
        (b'{"number":null}', ["/number"]),
        (b'{"number":1,"extra":1}', ["/extra"]),
        (b'{"number":1,"a/b~c":1}', ["/a~1b~0c"]),
        (b'{"number":1,"ratio":"2"}', ["/ratio"]),
        (b'{"number":1,"point":{"x":"one","y":2}}', ["/point/x"]),
        (b'{"number":1,"colour":"green"}', ["/colour"]),
        (b'{"number":"1","text":1}', ["/number", "/text"]),
        (b'{"number":1,"by_number":{"x":"a"}}', ["/by_number/x/[key]"]),
    ],
)
def test_each_invalid_argument_is_reported(body: bytes, paths: list[str]) -> None:
    with pytest.raises(InvalidArguments) as raised:
        ARGUMENTS.decode(body)
    assert [problem["path"] for problem in raised.value.extra["errors"]] == paths
    assert all(problem["message"] for problem in raised.value.extra["errors"])


@pytest.mark.requirement("OBJ-1")
def test_a_misspelt_parameter_is_answered_with_the_list_of_parameters() -> None:
    with pytest.raises(InvalidArguments) as raised:
        ARGUMENTS.decode(b'{"nubmer":1}')
    assert f"(it takes: {', '.join(ARGUMENTS.names)})" in raised.value.detail


@pytest.mark.requirement("OBJ-1", "GATE-9")
@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"number":1',
        b"\xff",
        b'{"number":1}x',
        b"[" * 10_000,
        b'{"text":"\xed\xa0\x80"}',
        b"nope",
        b'{"number":1,"ratio":NaN}',
    ],
)
def test_a_body_that_is_not_json_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedRequest, match="the body is not JSON"):
        ARGUMENTS.decode(body)


@pytest.mark.requirement("OBJ-1", "GATE-1")
@pytest.mark.parametrize("nothing", [b"null", b"null\n", b" \tnull\r\n"])
def test_null_means_no_arguments(nothing: bytes) -> None:
    def greeted(self: Any, name: str = "world", times: Decimal = Decimal("1.5")) -> None: ...

    assert Arguments("T.greeted", greeted, greeted.__annotations__).decode(nothing) == {}
    refusals: list[InvalidArguments] = []
    for body in (nothing, b"{}", b""):
        with pytest.raises(InvalidArguments) as raised:
            ARGUMENTS.decode(body)
        refusals.append(raised.value)
    first = refusals[0]
    assert [problem["path"] for problem in first.extra["errors"]] == [f"/{name}" for name in ARGUMENTS.required]
    assert all((each.detail, each.extra) == (first.detail, first.extra) for each in refusals)


@pytest.mark.requirement("GATE-9")
def test_very_many_invalid_values_are_reported_as_one() -> None:
    def listed(self: Any, values: list[str]) -> None: ...

    arguments = Arguments("T.listed", listed, listed.__annotations__)
    with pytest.raises(InvalidArguments) as raised:
        arguments.decode(b'{"values":[' + b"1," * 1_000 + b"1]}")
    assert raised.value.extra["errors"] == [{"path": "", "message": "1001 values are not of their declared types"}]


@pytest.mark.requirement("OBJ-9")
def test_a_validator_that_raises_fails_the_method() -> None:
    with pytest.raises(MethodFailed, match="a validator of the arguments"):
        ARGUMENTS.decode(b'{"number":1,"checked":0}')


@pytest.mark.requirement("OBJ-8")
def test_arguments_of_an_outgoing_call_are_encoded() -> None:
    body = ARGUMENTS.encode((1, 2.5), {"point": Point(x=1), "raw": b"\xff", "by_number": {1: "a"}})
    assert ARGUMENTS.decode(body) == {
        "number": 1,
        "ratio": 2.5,
        "point": Point(x=1),
        "raw": b"\xff",
        "by_number": {1: "a"},
    }


@pytest.mark.requirement("OBJ-8")
@pytest.mark.parametrize(
    ("positional", "named", "said"),
    [
        ((), {}, "missing required arguments: number"),
        ((1, 2.0, "x"), {}, "takes 2 positional arguments but 3 were given"),
        ((1,), {"number": 1}, "multiple values for argument 'number'"),
        ((1,), {"other": 1}, "unexpected keyword argument 'other'"),
    ],
)
def test_arguments_of_an_outgoing_call_are_counted(
    positional: tuple[Any, ...], named: dict[str, Any], said: str
) -> None:
    with pytest.raises(TypeError, match=said):
        ARGUMENTS.encode(positional, named)


@pytest.mark.requirement("OBJ-8")
def test_a_value_of_a_wrong_type_is_not_sent() -> None:
    with pytest.raises(InvalidArguments) as raised:
        ARGUMENTS.encode(("many",), {})
    assert raised.value.detail == "the arguments do not fit T.takes: /number: Input should be a valid integer"
    assert raised.value.extra["errors"] == [{"path": "/number", "message": "Input should be a valid integer"}]


@pytest.mark.requirement("OBJ-9")
@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, "many"),
        (int, None),
        (float, math.nan),
        (Point, {"x": "y"}),
        (list[int], ["a"]),
        (None, 1),
        (Any, object()),
    ],
)
def test_a_result_of_another_type_is_refused(annotation: Any, value: Any) -> None:
    with pytest.raises(MethodFailed, match="not of its declared type"):
        Result("T.m", annotation).encode(value)


@pytest.mark.requirement("OBJ-1")
@pytest.mark.parametrize(
    ("annotation", "value", "body"),
    [
        (int, 5.0, b"5"),
        (int, "5", b"5"),
        (int, True, b"1"),
        (float, 1, b"1.0"),
        (float, "1.5", b"1.5"),
        (bool, "no", b"false"),
        (date, "2026-01-31", b'"2026-01-31"'),
        (Colour, "red", b'"red"'),
        (list[int], ("1", 2), b"[1,2]"),
        (list[int], iter([1, 2]), b"[1,2]"),
        (Point, {"x": "1"}, b'{"x":1,"label":null,"children":[]}'),
        (Any, [1, "2"], b'[1,"2"]'),
    ],
)
def test_a_result_is_converted_to_its_declared_type(annotation: Any, value: Any, body: bytes) -> None:
    assert Result("T.m", annotation).encode(value) == body


@pytest.mark.requirement("OBJ-8")
@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, 1),
        (bytes, b"\xff"),
        (Point, Point(x=1)),
        (Pair, Pair(1, Decimal("1.5"))),
        (dict[int, Colour], {1: Colour.RED}),
    ],
)
def test_a_result_is_encoded_and_decoded_unchanged(annotation: Any, value: Any) -> None:
    result = Result("T.m", annotation)
    assert result.decode(result.encode(value)) == value


@pytest.mark.requirement("OBJ-1")
def test_schemas_contain_types_bounds_and_defaults() -> None:
    spec = TypeSpec.of(Everything)
    state = spec.state.json_schema("#/$defs/{model}")
    arguments = ARGUMENTS.json_schema("#/$defs/{model}")

    assert set(state["required"]) == set(spec.state.fields)
    assert state["properties"]["bounded"] == {
        "default": 0,
        "maximum": 5,
        "minimum": -5,
        "title": "Bounded",
        "type": "integer",
    }
    assert state["properties"]["raw"] == {"default": "", "format": "base64url", "title": "Raw", "type": "string"}
    assert state["properties"]["money"]["default"] == "0"
    assert arguments["required"] == ["number"]
    assert arguments["additionalProperties"] is False
    assert arguments["properties"]["colour"]["default"] == "red"
    described = TypeSpec.of(Defaults).state.json_schema("#/$defs/{model}")["properties"]["described"]
    assert (described["description"], described["default"], described["minimum"]) == ("how many", 3, 0)


class Empty(Object):
    @call
    def nothing(self) -> None: ...


@pytest.mark.requirement("OBJ-1")
def test_an_object_needs_no_state() -> None:
    spec = TypeSpec.of(Empty)
    assert spec.state.dump({}) == b"{}"
    assert "required" not in spec.state.json_schema("#/$defs/{model}")
    assert spec.methods["nothing"].result.encode(None) == b"null"


@pytest.mark.requirement("OBJ-1")
def test_a_default_is_checked_against_the_bounds_of_field() -> None:
    class Odd(Object):
        level: int = Field(0, ge=1)

    with pytest.raises(DefinitionError, match=r"Odd\.level"):
        TypeSpec.of(Odd)


def test_the_encoded_state_of_an_object_takes_no_more_memory_than_its_text() -> None:
    class Seat(Object):
        row: int = 0
        label: str = ""

    state = TypeSpec.of(Seat).state
    count = 200
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        kept = [state.dump_plain({"row": row, "label": "window"}) for row in range(count)]
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert kept[7] == b'{"row":7,"label":"window"}'
    assert (after - before) / count < 200
