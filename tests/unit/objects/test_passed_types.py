"""A value is the same for the called and the calling object; otherwise the call or the class is rejected."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

import pytest
from pydantic import (
    AfterValidator,
    AwareDatetime,
    Base64Bytes,
    BaseModel,
    Field,
    InstanceOf,
    Json,
    PlainValidator,
    SecretBytes,
    SecretStr,
    SkipValidation,
    TypeAdapter,
)
from typing_extensions import TypedDict

from goverse import DefinitionError, InvalidArguments, MethodFailed, Object, call, handler, view
from goverse.errors import MalformedRequest
from goverse.objects.codec import Arguments
from goverse.objects.describe import describe
from goverse.objects.registry import Registry
from goverse.objects.results import Result
from goverse.objects.spec import TypeSpec
from goverse.testing import ObjectHost
from goverse_gate.openapi.document import ApiDocument
from tests.unit.objects.stored_types import BERLIN, CASES, Animal, Case, Choices, Dog, Hidden, Status, Uninitialised
from tests.unit.objects.test_stored_types import _in_full as in_full

T = TypeVar("T")
IDS = [f"{number}-{case.annotation!r:.40}" for number, case in enumerate(CASES)]
# Arguments are read by alias and without members that callers cannot set
STATE_ONLY = (Choices, Uninitialised)


@dataclass
class Job:
    work: Callable[[], int]


class Plan(BaseModel):
    jobs: list[Job] = []


class Step(TypedDict):
    check: Callable[[], bool] | None


class Login(NamedTuple):
    name: str
    password: SecretStr


class Box(BaseModel, Generic[T]):
    item: T


class Reply(BaseModel):
    text: str
    token: str = Field(default="", exclude=True)


NEVER = [
    Callable[[int], int],
    Callable[[int], int] | None,
    list[Callable[[], int]],
    type[int],
    dict[str, type[int]],
    Job,
    Plan,
    Step,
    Login,
    Box[Callable[[], int]],
    list[Box[type[int]]],
    SecretStr,
    SecretBytes | None,
    Box[SecretStr],
]
OTHERS = [
    InstanceOf[int],
    InstanceOf[Animal],
    Annotated[int, PlainValidator(int)],
    AwareDatetime,
    Base64Bytes,
    SkipValidation[int],
    Json[list[int]],
    Iterable[int],
    Annotated[int, Field(json_schema_extra={"x": object()})],  # type: ignore[dict-item]
]


def arguments_of(annotation: Any) -> Arguments:
    async def take(self: Any, x: Any) -> None: ...

    return Arguments("A.take", take, {"x": annotation})


def meant(annotation: Any, value: Any) -> list[str]:
    """Return the value in full, and as its declared type converts it."""
    found = [in_full(value)]
    try:
        found.append(in_full(TypeAdapter(annotation).validate_python(value)))
    except Exception:  # it is not of the type, so it has to arrive as it is or be refused
        return found
    return found


def may_be_refused(case: Case) -> bool:
    """True if a field cannot hold the value, or holds it only because its default restores the ``maxlen``."""
    return case.outcome != "kept" or "maxlen=3" in repr(case.value)


@pytest.mark.requirement("OBJ-13")
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_an_argument_arrives_unchanged_or_is_refused(case: Case) -> None:
    try:
        codec = arguments_of(case.annotation)
        arrived = codec.decode(codec.encode((), {"x": case.value}))["x"]
    except (DefinitionError, InvalidArguments, MalformedRequest):
        assert may_be_refused(case) or case.annotation in STATE_ONLY
        return
    assert in_full(arrived) in [*meant(case.annotation, case.value), in_full(case.becomes)]


@pytest.mark.requirement("OBJ-13")
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_a_result_arrives_unchanged_or_is_refused(case: Case) -> None:
    try:
        codec = Result("A.give", case.annotation)
        arrived = codec.decode(codec.encode(case.value))
    except (DefinitionError, MethodFailed):
        assert may_be_refused(case)
        return
    assert in_full(arrived) in [*meant(case.annotation, case.value), in_full(case.becomes)]


def declared(annotation: Any, place: str) -> type[Any]:
    """Return a class with the type in one place."""

    async def take(self: Any, x: Any) -> None: ...
    def give(self: Any) -> Any: ...

    take.__annotations__["x"] = give.__annotations__["return"] = annotation
    take.__qualname__, give.__qualname__ = "Odd.take", "Odd.give"
    members: dict[str, Callable[[], dict[str, Any]]] = {
        "parameter": lambda: {"take": call(take)},
        "result": lambda: {"give": call(give)},
        "handler": lambda: {"take": handler(take)},
        "hook": lambda: {"on_create": take},
        "view": lambda: {"give": view(give)},
        "field": lambda: {"__annotations__": {"x": annotation}},
    }
    return type("Odd", (Object,), {"__module__": __name__, **members[place]()})


PLACES = ("parameter", "result", "handler", "hook", "view", "field")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("annotation", NEVER, ids=repr)
def test_a_type_that_is_never_json_is_refused_when_the_class_is_loaded(annotation: Any, place: str) -> None:
    with pytest.raises(DefinitionError, match=r"^Odd\."):
        TypeSpec.of(declared(annotation, place))


@pytest.mark.parametrize("place", PLACES)
def test_every_type_is_refused_or_described_in_the_api_document(place: str) -> None:
    described = 0
    for annotation in [*(case.annotation for case in CASES), *NEVER, *OTHERS]:
        try:
            registry = Registry([declared(annotation, place)])
        except DefinitionError:
            continue
        document = ApiDocument(describe(registry), {}).as_json("Odd", "1")
        assert "/objects/Odd/{id}" in document["paths"]
        described += 1
    assert described > 100


@pytest.mark.parametrize(
    ("annotation", "place", "message"),
    [
        (
            Callable[[int], int],
            "parameter",
            "Odd.take: parameter x: a function has no JSON form; declare a str that names it",
        ),
        (type[int], "result", "Odd.give: the result: a class has no JSON form; declare a str that names it"),
        (Plan, "hook", "Odd.on_create: parameter x.jobs.*.work: a function has no JSON form; declare a str that"),
        (
            SecretStr,
            "parameter",
            "Odd.take: parameter x: a secret is written as asterisks and would be lost; keep the text in a str field",
        ),
        (Login, "result", "Odd.give: the result password: a secret is written as asterisks"),
        (SecretStr, "view", "Odd.give: the result: a secret is written as asterisks"),
    ],
    ids=str,
)
def test_the_error_names_the_method_the_parameter_and_the_remedy(annotation: Any, place: str, message: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        TypeSpec.of(declared(annotation, place))

    assert refused.value.detail.startswith(message)


class Keeper(Object):
    seen: str = ""

    @call
    async def take(self, animals: list[Animal]) -> None:
        self.seen = repr(animals)

    @call
    async def take_any(self, value: Any) -> None:
        self.seen = repr(value)

    @call
    async def take_text(self, text: Annotated[str, AfterValidator(str.upper)]) -> str:
        self.seen = text
        return text

    @call
    async def give(self, kind: str) -> Animal:
        return Dog() if kind == "dog" else Animal(name=kind)

    @call
    async def give_reply(self, token: str) -> Reply:
        return Reply(text="a", token=token)

    @call
    async def give_any(self) -> Any:
        return (1, 2)

    @call
    async def give_time(self, zone: str) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC if zone == "UTC" else BERLIN)


@pytest.mark.requirement("OBJ-13")
async def test_an_argument_that_would_change_reaches_no_object() -> None:
    async with ObjectHost(Keeper) as host:
        keeper = host.ref(Keeper, "k")

        with pytest.raises(InvalidArguments, match=r"/animals/1: would arrive as Animal instead of Dog; declare"):
            await keeper.take([Animal(), Dog()])
        with pytest.raises(InvalidArguments, match="/value: would arrive as list instead of tuple"):
            await keeper.take_any((1, 2))
        with pytest.raises(InvalidArguments, match="/value: would arrive as str instead of SecretStr; pass the text"):
            await keeper.take_any(SecretStr("hunter2"))
        with pytest.raises(InvalidArguments, match="/value: would arrive as str instead of Status; declare the enum"):
            await keeper.take_any(Status.OPEN)

        assert await host.state(Keeper, "k") is None


async def test_a_validator_of_a_parameter_may_change_an_argument() -> None:
    async with ObjectHost(Keeper) as host:
        assert await host.ref(Keeper, "k").take_text(text="loud") == "LOUD"


@pytest.mark.requirement("OBJ-13")
async def test_a_result_that_would_change_fails_its_call() -> None:
    async with ObjectHost(Keeper) as host:
        keeper = host.ref(Keeper, "k")

        assert await keeper.give("rex") == Animal(name="rex")
        with pytest.raises(MethodFailed, match=r"Keeper\.give returned a value that its caller would"):
            await keeper.give("dog")
        assert await keeper.give_reply("") == Reply(text="a")
        with pytest.raises(MethodFailed, match="/token: is private or excluded"):
            await keeper.give_reply("hunter2")
        with pytest.raises(MethodFailed, match="would arrive as list instead of tuple"):
            await keeper.give_any()
        assert await keeper.give_time("UTC") == datetime(2026, 1, 1, tzinfo=UTC)
        with pytest.raises(MethodFailed, match="convert it with astimezone"):
            await keeper.give_time("Berlin")


class Forwarder(Object):
    @call
    async def forward(self, what: str) -> str:
        values: dict[str, Any] = {"secret": SecretStr("hunter2"), "tuple": (1, 2), "list": [1, 2], "nan": math.nan}
        try:
            await self.ref("Keeper", "k").take_any(value=values[what])
        except InvalidArguments as error:
            return error.detail
        return "sent"


async def test_an_argument_of_a_call_by_name_that_would_change_is_refused_too() -> None:
    async with ObjectHost(Keeper, Forwarder) as host:
        forwarder = host.ref(Forwarder, "f")

        assert await forwarder.forward("list") == "sent"
        for what in ("secret", "tuple", "nan"):
            assert (await forwarder.forward(what)).startswith("the arguments of Keeper.take_any")


def test_an_excluded_value_of_a_model_is_refused_as_an_argument() -> None:
    codec = arguments_of(Hidden)

    assert codec.decode(codec.encode((), {"x": Hidden(x=2)})) == {"x": Hidden(x=2)}
    with pytest.raises(InvalidArguments, match="/x/cache: is private or excluded, so it would not arrive"):
        codec.encode((), {"x": Hidden(cache=5)})
