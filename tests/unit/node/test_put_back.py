"""Undoing a turn beside another that waits: references of the other into the state stay valid."""

import asyncio
from collections import OrderedDict, defaultdict, deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

import orjson
import pytest
from pydantic import BaseModel, ConfigDict, Field

from goverse import BusinessError, Object, call
from goverse.errors import GoverseError
from tests.nodes import Bench, Meeting, bench, code, settle, value

PLACE = Meeting()


class No(BusinessError):
    """No."""

    code = "no_in_put_back"


class Line(BaseModel):
    model_config = ConfigDict(extra="allow")

    names: list[str] = []


@dataclass
class Note:
    names: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Slotted:
    names: list[str] = field(default_factory=list)


class Shelf(Object, reentrant=True):
    items: list[str] = []
    by_name: dict[str, list[str]] = {"a": []}
    tags: set[str] = set()
    recent: deque[str] = deque()
    lines: list[Line] = [Line()]
    note: Note = Note()
    slotted: Slotted = Slotted()
    pair: tuple[list[str], int] = ([], 0)

    def alias(self, kind: str) -> Any:
        found: dict[str, Callable[[], Any]] = {
            "list": lambda: self.items,
            "dict": lambda: self.by_name,
            "list in a dict": lambda: self.by_name["a"],
            "set": lambda: self.tags,
            "deque": lambda: self.recent,
            "list of models": lambda: self.lines,
            "model": lambda: self.lines[0],
            "list in a model": lambda: self.lines[0].names,
            "dataclass": lambda: self.note,
            "list in a dataclass": lambda: self.note.names,
            "dataclass with slots": lambda: self.slotted,
            "list in a tuple": lambda: self.pair[0],
        }
        return found[kind]()

    @call
    async def add(self, kind: str, name: str, refused: bool, helper: str) -> str:
        """Hold a reference, let the chain return to this object and fail, then use the reference."""
        held = self.alias(kind)
        try:
            await self.ref(Helper, helper).send_back(target=self.id, kind=kind, refused=refused)
        except GoverseError as error:
            put(held, name)
            return error.code
        return "no error"

    @call
    def spoil(self, kind: str, refused: bool) -> None:
        self._spoil(kind)
        if refused:
            raise No
        raise ValueError

    @call
    async def spoil_later(self, kind: str, refused: bool) -> None:
        self._spoil(kind)
        await asyncio.sleep(0)
        self.spoil(kind, refused)

    def _spoil(self, kind: str) -> None:
        put(self.alias(kind), "ghost")
        self.lines.insert(0, Line(names=["in front"]))
        self.items = ["replaced"]
        self.note = Note(["replaced"])
        self.by_name["a"] = ["replaced"]

    @call(readonly=True)
    async def hold(self, kind: str) -> Any:
        held = self.alias(kind)
        await PLACE.wait("holding")
        return shown(held)

    @call(readonly=True)
    def touch(self, kind: str) -> None:
        self._spoil(kind)

    @call(readonly=True)
    async def touch_and_show(self, kind: str) -> Any:
        held = self.alias(kind)
        self._spoil(kind)
        try:
            await asyncio.sleep(0)
        except GoverseError:
            PLACE.note("caught")
        return shown(held)

    @call
    def fill(self, kind: str, name: str) -> None:
        put(self.alias(kind), name)


class Helper(Object):
    @call
    async def send_back(self, target: str, kind: str, refused: bool) -> None:
        shelf = self.ref("Shelf", target)
        await (shelf.spoil_later if self.id.endswith("later") else shelf.spoil)(kind=kind, refused=refused)


def put(held: Any, name: str) -> None:
    if isinstance(held, dict):
        held[name] = [name]
    elif isinstance(held, set):
        held.add(name)
    elif isinstance(held, Line | Note | Slotted):
        held.names.append(name)
    elif held and isinstance(held[0], Line):
        held.append(Line(names=[name]))
    else:
        held.append(name)


def shown(held: Any) -> Any:
    if isinstance(held, set):
        return sorted(held)
    if isinstance(held, Line | Note | Slotted):
        return list(held.names)
    if isinstance(held, list) and held and isinstance(held[0], Line):
        return [line.names for line in held]
    return dict(held) if isinstance(held, dict) else list(held)


KINDS = [
    "list",
    "dict",
    "list in a dict",
    "set",
    "deque",
    "list of models",
    "model",
    "list in a model",
    "dataclass",
    "list in a dataclass",
    "dataclass with slots",
    "list in a tuple",
]


@asynccontextmanager
async def shelf() -> AsyncGenerator[Bench]:
    async with bench(Shelf, Helper) as b:
        yield b


async def _stored(b: Bench) -> dict[str, Any]:
    await b.passivate()
    found = orjson.loads((await b.read(Shelf, "s")).body)
    assert "ghost" not in str(found)
    assert "replaced" not in str(found)
    found["tags"].sort()
    return dict(found)


@pytest.mark.parametrize("helper", ["now", "later"])
@pytest.mark.parametrize("refused", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.requirement("OBJ-2", "OBJ-9", "DUR-1")
async def test_what_a_waiting_turn_adds_after_a_nested_one_was_undone_is_kept(
    kind: str, refused: bool, helper: str
) -> None:
    async with shelf() as b:
        assert code(await b.call(Shelf, "s", "fill", {"kind": kind, "name": "first"})) == ""
        added = {"kind": kind, "name": "book", "refused": refused, "helper": helper}
        assert value(await b.call(Shelf, "s", "add", added)) == ("no_in_put_back" if refused else "method_failed")
        found = await _stored(b)

        assert code(await b.call(Shelf, "t", "fill", {"kind": kind, "name": "first"})) == ""
        assert code(await b.call(Shelf, "t", "fill", {"kind": kind, "name": "book"})) == ""
        expected = orjson.loads((await b.read(Shelf, "t")).body)
        expected["tags"].sort()
        assert found == expected


@pytest.mark.parametrize("guilty", ["touch", "touch_and_show"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.requirement("OBJ-2", "OBJ-9")
async def test_a_readonly_turn_never_shows_what_another_one_was_not_allowed_to_do(
    kind: str, guilty: str, meeting: Meeting
) -> None:
    async with shelf() as b:
        assert code(await b.call(Shelf, "s", "fill", {"kind": kind, "name": "first"})) == ""
        innocent = b.call(Shelf, "s", "hold", {"kind": kind})
        await meeting.reached("holding")
        assert code(await b.call(Shelf, "s", guilty, {"kind": kind})) == "method_failed"
        meeting.let_go("holding")
        seen = str(value(await innocent))
        assert "first" in seen
        assert "ghost" not in seen
        assert "replaced" not in seen


@pytest.mark.parametrize("kind", KINDS)
async def test_a_readonly_turn_that_catches_its_violation_fails_all_the_same(kind: str, meeting: Meeting) -> None:
    async with shelf() as b:
        assert code(await b.call(Shelf, "s", "touch_and_show", {"kind": kind})) == "method_failed"
        assert meeting.happened == ["caught"]


class Two(Object, reentrant=True):
    items: list[str] = []
    lines: list[Line] = [Line()]

    @call
    async def both(self) -> list[str]:
        """Let two chains return to this object at the same time; return their outcomes."""
        calls = [self.ref(TwoHelper, name).send_back(target=self.id, name=name) for name in ("first", "second")]
        ended = await asyncio.gather(*calls, return_exceptions=True)
        self.items.append("end")
        return [one.code if isinstance(one, GoverseError) else str(one) for one in ended]

    @call
    async def change(self, name: str) -> str:
        items, line = self.items, self.lines[0]
        if name == "first":
            items.append(name)
            line.names.append(name)
            await PLACE.wait("first")
            items.append("first again")
            line.names.append("first again")
        else:
            await PLACE.wait("second")
            self.lines.insert(0, Line(names=["ghost"]))
            self.items = ["ghost"]
            line.names.append("ghost")
        return "kept"


class TwoHelper(Object):
    @call
    async def send_back(self, target: str, name: str) -> str:
        return await self.ref(Two, target).change(name=name)


@pytest.mark.requirement("OBJ-9")
async def test_a_turn_with_changes_keeps_its_references_when_another_one_is_put_back(meeting: Meeting) -> None:
    async with bench(Two, TwoHelper) as b:
        assert code(await b.create(Two, "t")) == ""
        ended = b.call(Two, "t", "both")
        await meeting.reached("first")
        await meeting.reached("second")
        meeting.let_go("second")
        await settle()
        meeting.let_go("first")
        assert value(await ended) == ["kept", "reentrancy_conflict"]
        await b.passivate()
        found = orjson.loads((await b.read(Two, "t")).body)
        assert found["items"] == ["first", "first again", "end"]
        assert [line["names"] for line in found["lines"]] == [["first", "first again"]]


class Odd:
    """A mutable value that a memento cannot restore, because its content is not in Python attributes."""

    def __init__(self, names: list[str]) -> None:
        self.peek: Callable[[], list[str]] = lambda: names

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Odd) and other.peek() == self.peek()

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(
            lambda given: given if isinstance(given, Odd) else cls(list(given)),
            core_schema.union_schema(
                [core_schema.is_instance_schema(Odd), core_schema.list_schema(core_schema.str_schema())]
            ),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda odd: odd.peek()),
        )


class Strange(Object, reentrant=True):
    odd: Odd = Odd([])

    @call
    async def add(self) -> str:
        held = self.odd.peek()
        try:
            await self.ref(StrangeHelper, "h").send_back(target=self.id)
        except GoverseError:
            held.append("book")
        return "done"

    @call
    def spoil(self) -> None:
        self.odd.peek().append("ghost")
        raise No


class StrangeHelper(Object):
    @call
    async def send_back(self, target: str) -> None:
        await self.ref("Strange", target).spoil()


@pytest.mark.requirement("OBJ-9")
async def test_a_turn_whose_references_cannot_be_kept_ends_with_an_error_that_can_be_retried() -> None:
    async with bench(Strange, StrangeHelper) as b:
        refused = await b.call(Strange, "s", "add")
        assert code(refused) == "reentrancy_conflict"
        assert refused.problem is not None
        assert refused.problem.retryable
        assert code(await b.read(Strange, "s")) == "object_not_found"


class HalfWay(Object):
    """Breaks its constraint for a moment, beside a turn that cannot be undone in place."""

    level: Annotated[int, Field(ge=0)] = 0
    odd: Odd = Odd([])

    @call
    async def dip(self) -> None:
        self.level = -1
        await PLACE.wait("below")
        self.level = 1

    @call(reentrant=True)
    async def interrupt(self) -> None:
        call_back = asyncio.gather(self.ref(HalfWayHelper, "h").send_back(target=self.id), return_exceptions=True)
        await PLACE.wait("interrupting")
        self.odd.peek().append("ghost")
        await asyncio.wait([call_back])

    @call(readonly=True)
    def look(self) -> list[Any]:
        return [self.level, self.odd.peek()]


class HalfWayHelper(Object):
    @call
    async def send_back(self, target: str) -> None:
        await self.ref(HalfWay, target).dip()


@pytest.mark.requirement("OBJ-2", "OBJ-9")
async def test_a_state_half_way_that_cannot_be_put_back_ends_the_turn_that_left_it(meeting: Meeting) -> None:
    async with bench(HalfWay, HalfWayHelper) as b:
        outer = b.call(HalfWay, "a", "interrupt")
        await meeting.reached("below")
        await meeting.reached("interrupting")
        meeting.let_go("interrupting")

        assert code(await outer) == "reentrancy_conflict"
        assert value(await b.call(HalfWay, "a", "look")) == [0, []]
        assert code(await b.read(HalfWay, "a")) == "object_not_found"


class Kinds(Object):
    counted: defaultdict[str, list[int]] = defaultdict(list)
    ordered: OrderedDict[str, int] = OrderedDict(b=1, a=2)
    data: dict[str, Any] = {"itself": [1, {"deep": [2]}]}

    @call(readonly=True)
    async def hold(self) -> list[Any]:
        held = self.counted, self.ordered, self.data["itself"][1]["deep"]
        await PLACE.wait("holding")
        return [dict(held[0]), list(map(list, held[1].items())), held[2]]

    @call(readonly=True)
    def touch(self) -> None:
        self.counted["x"].append(1)
        self.ordered.move_to_end("b")
        self.data["itself"][1]["deep"].clear()
        del self.data["itself"][1]


async def test_dictionaries_keep_their_kind_and_order(meeting: Meeting) -> None:
    async with bench(Kinds) as b:
        assert code(await b.create(Kinds, "k")) == ""
        held = b.call(Kinds, "k", "hold")
        await meeting.reached("holding")
        assert code(await b.call(Kinds, "k", "touch")) == "method_failed"
        meeting.let_go("holding")
        assert value(await held) == [{}, [["b", 1], ["a", 2]], [2]]
