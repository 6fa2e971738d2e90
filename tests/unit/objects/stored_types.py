"""Annotated types of every kind that Pydantic supports, each with values and the expected outcome of storing them."""

import ipaddress
import math
import re
import threading
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, MutableSequence, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    TypeVar,
    Union,
)
from uuid import UUID
from zoneinfo import ZoneInfo

from annotated_types import Len
from pydantic import (
    AfterValidator,
    AliasChoices,
    AnyUrl,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    HttpUrl,
    Json,
    PlainSerializer,
    PrivateAttr,
    RootModel,
    Secret,
    SecretBytes,
    SecretStr,
    StringConstraints,
    computed_field,
    model_validator,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass
from typing_extensions import TypedDict

T = TypeVar("T")


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Number(Enum):
    ONE = 1
    TWO = 2


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Status(StrEnum):
    OPEN = "open"


class Old(str, Enum):  # noqa: UP042  # people still write it
    OPEN = "open"


class Pairs(Enum):
    A = (1, 2)


class Animal(BaseModel):
    name: str = "rex"


class Dog(Animal):
    breed: str = "pug"


class Deposit(BaseModel):
    amount: int = 0


class Withdraw(BaseModel):
    amount: int = 0


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = 9


class Fish(BaseModel):
    kind: Literal["fish"] = "fish"
    lives: int = 9


class Tree(BaseModel):
    leaf: int = 0
    kids: list["Tree"] = []


class Ratio(BaseModel):
    value: float | None = 0.0
    plain: float = 0.0


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)
    x: int = 1


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    x: int = 1


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    x: int = 1


class Hidden(BaseModel):
    x: int = 1
    cache: int = Field(default=0, exclude=True)


class HiddenRequired(BaseModel):
    x: int = Field(exclude=True)


class Private(BaseModel):
    x: int = 1
    _hits: int = PrivateAttr(0)

    def hit(self) -> "Private":
        self._hits += 1
        return self


class Opaque(BaseModel):
    x: int = 1
    _token: Any = PrivateAttr(default_factory=object)


class Computed(BaseModel):
    x: int = 1

    @computed_field  # type: ignore[prop-decorator]
    @property
    def double(self) -> int:
        return 2 * self.x


class ComputedClosed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    x: int = 1

    @computed_field  # type: ignore[prop-decorator]
    @property
    def double(self) -> int:
        return 2 * self.x


class Camel(BaseModel):
    first: int = Field(1, alias="firstName")


class Serialized(BaseModel):
    first: int = Field(1, serialization_alias="firstName")


class TwoAliases(BaseModel):
    first: int = Field(1, validation_alias="a", serialization_alias="b")


class Choices(BaseModel):
    first: int = Field(1, validation_alias=AliasChoices("a", "b"))


class Stubborn(BaseModel):
    """A value that equals every other value."""

    x: Any = 0

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


class Rounded(BaseModel):
    x: Annotated[float, PlainSerializer(lambda value: round(value, 1))] = 0.0


class Wallet(BaseModel):
    secret: SecretStr = SecretStr("")


class ShownWallet(BaseModel):
    secret: Annotated[SecretStr, PlainSerializer(lambda value: value.get_secret_value())] = SecretStr("")


class Page(BaseModel, Generic[T]):
    items: list[T] = []


class Numbers(RootModel[list[int]]):
    root: list[int] = []


class Window(BaseModel):
    recent: deque[int] = deque(maxlen=3)


class Shouting(BaseModel):
    name: Annotated[str, AfterValidator(str.upper)] = ""


class Counting(BaseModel):
    n: int = 0

    @model_validator(mode="after")
    def _count(self) -> "Counting":
        self.n += 1
        return self


class Bytes(BaseModel):
    raw: bytes = b""


@dataclass
class Pair:
    left: int = 0
    right: Decimal = Decimal(0)


@dataclass
class Triple(Pair):
    third: int = 3


@dataclass(eq=False)
class Unequal:
    x: Any = 0


@dataclass(frozen=True)
class Still:
    x: int = 0


@dataclass(slots=True)
class Slotted:
    x: int = 0


@dataclass
class Uninitialised:
    x: int = 0
    seen: int = field(default=0, init=False)


@dataclass
class Uncompared:
    x: int = 0
    note: str = field(default="", compare=False)


@pydantic_dataclass
class Checked:
    x: int = 0
    y: list[Animal] = field(default_factory=list)


class Spot(NamedTuple):
    x: int
    y: float = 0.0


class Shape(TypedDict):
    sides: int
    colours: NotRequired[list[Colour]]


UserId = NewType("UserId", int)
IntList = list[int]
BERLIN = ZoneInfo("Europe/Berlin")
SAMPLE = UUID(int=5)


@dataclass(frozen=True)
class Case:
    """One field declaration and the expected outcome.

    Attributes:
        annotation: the type of the field.
        value: the value that a method assigns.
        outcome: ``kept``, ``refused`` by the call, or ``unloadable`` if the class is rejected.
        default: the field's default; if omitted, the value itself, or no default if the value is refused.
        becomes: the value after the call, if the declared type promotes it.
    """

    annotation: Any
    value: Any
    outcome: str
    default: Any
    becomes: Any


CASES: list[Case] = []
NO_DEFAULT: Any = object()
_SAME: Any = object()


def _add(outcome: str, annotation: Any, *values: Any, default: Any = _SAME, becomes: Any = _SAME) -> None:
    CASES.extend(
        Case(
            annotation,
            value,
            outcome,
            (NO_DEFAULT if outcome == "refused" else value) if default is _SAME else default,
            value if becomes is _SAME else becomes,
        )
        for value in values
    )


def kept(annotation: Any, *values: Any, default: Any = _SAME, becomes: Any = _SAME) -> None:
    _add("kept", annotation, *values, default=default, becomes=becomes)


def refused(annotation: Any, *values: Any, default: Any = _SAME) -> None:
    _add("refused", annotation, *values, default=default)


def unloadable(annotation: Any, *values: Any, default: Any = _SAME) -> None:
    _add("unloadable", annotation, *values or (None,), default=default)


def frozen_set() -> Any:
    made: Any = Frozen(x=2)
    return {made}


def frozen_key() -> Any:
    made: Any = Frozen()
    return {made: "a"}


def _private(**values: Any) -> Private:
    made = Private(**values)
    return made.hit()


def _seen() -> Uninitialised:
    made = Uninitialised(2)
    made.seen = 3
    return made


# Numbers and text
kept(int, 0, -1, 10**30)
kept(int, True, becomes=1)
refused(int, Level.HIGH)
kept(float, 0.5, -0.0, 1e-300)
kept(float, 5, becomes=5.0)
refused(float, math.nan, math.inf, 10**30, 2**53 + 1)
refused(float | None, math.nan, -math.inf)
kept(float | None, None, 1.5)
kept(bool, True, False)
kept(str, "", "é\u0000\U0001f600", "NaN")
refused(str, Status.OPEN, Old.OPEN)
kept(bytes, b"", b"\xff\x00")
kept(complex, 1 + 2j)
kept(Decimal, Decimal("1.10"), Decimal("1E+5"), Decimal("-0"), Decimal("0.000000000000000000000000001"))
refused(Decimal, Decimal("NaN"), Decimal("Infinity"))
kept(Fraction, Fraction(1, 3))
kept(None, None)
kept(UserId, UserId(3))
kept(ByteSize, ByteSize(1024))
kept(Annotated[int, Field(ge=-5, le=5)], 5)
refused(Annotated[int, Field(ge=-5, le=5)], 6, default=0)
kept(Annotated[str, StringConstraints(max_length=3)], "abc")
refused(Annotated[str, StringConstraints(max_length=3)], "abcd", default="")
refused(Annotated[str, StringConstraints(strip_whitespace=True)], " a ", default="")
kept(Annotated[str, StringConstraints(to_lower=True)], "a")
refused(Annotated[str, StringConstraints(to_lower=True)], "A", default="")
refused(Annotated[str, AfterValidator(str.upper)], "a", default="")
kept(Annotated[str, AfterValidator(str.upper)], "A")
kept(Annotated[Decimal, Field(decimal_places=2)], Decimal("1.25"))
refused(Annotated[Decimal, Field(decimal_places=2)], Decimal("1.255"), default=Decimal(0))
refused(Annotated[float, PlainSerializer(lambda value: round(value, 1))], 1.25, default=0.5)

# Time
kept(datetime, datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC), datetime(2026, 1, 1))  # noqa: DTZ001
kept(datetime, datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=5, minutes=30))))
kept(datetime, datetime(2026, 1, 1, tzinfo=ZoneInfo("UTC")))
refused(datetime, datetime(2026, 1, 1, tzinfo=BERLIN))
kept(date, date(2026, 2, 28), date.min, date.max)
refused(date, datetime(2026, 1, 1, 5, tzinfo=UTC))
kept(time, time(1, 2, 3, 4), time(1, tzinfo=UTC))
kept(timedelta, timedelta(days=-3, microseconds=1), timedelta(days=10_000, seconds=1))
kept(ZoneInfo, BERLIN)
kept(timedelta | int, timedelta(seconds=1), 5)

# Enums and literals
kept(Colour, Colour.RED)
kept(Number, Number.TWO)
kept(Level, Level.HIGH)
refused(Level, 1)
kept(Status, Status.OPEN)
kept(Old, Old.OPEN)
kept(Colour | None, None, Colour.BLUE)
kept(Literal["a", 1, None], "a", 1, None)
unloadable(Literal[Colour.RED], Colour.RED)
refused(Pairs | None, Pairs.A)
kept(Colour | str, "red", "other")
refused(Colour | str, Colour.RED)
kept(Level | int, 1)
refused(Level | int, Level.LOW)

# Identifiers, addresses, paths
kept(UUID, SAMPLE)
kept(Path, Path("/a/b"))
kept(PurePosixPath, PurePosixPath("a"))
kept(ipaddress.IPv4Address, ipaddress.IPv4Address("10.0.0.1"))
kept(ipaddress.IPv6Network, ipaddress.IPv6Network("fd00::/8"))
kept(ipaddress.IPv4Interface, ipaddress.IPv4Interface("10.0.0.1/8"))
kept(AnyUrl, AnyUrl("http://a/b?c=d"))
kept(HttpUrl, HttpUrl("https://a/"))
kept(re.Pattern, re.compile("a+"))
refused(re.Pattern, re.compile("a+", re.IGNORECASE))
refused(UUID | str, str(SAMPLE))
kept(UUID | str, SAMPLE, "x")

# Sequences and sets
kept(list[int], [], [1, 2, 3])
kept(list[int], [True, 2], becomes=[1, 2])
kept(list[float], [1, 2.5], becomes=[1.0, 2.5])
refused(list[float], [math.nan])
refused(list[int], [Level.LOW])
kept(list[list[str]], [["a"], []])
kept(list[int | None], [1, None])
kept(list[bytes], [b"\xff"])
kept(IntList, [1])
kept(tuple[int, str], (1, "a"))
kept(tuple[float, str], (1, "a"), becomes=(1.0, "a"))
kept(tuple[int, ...], (), (1, 2))
kept(tuple[()], ())
kept(set[int], set(), {1, 2})
kept(set[float], {1, 2}, becomes={1.0, 2.0})
kept(set[tuple[int, int]], {(1, 2)})
kept(set[Frozen], frozen_set())
kept(frozenset[str], frozenset({"a"}))
kept(deque[int], deque([1, 2]), deque())
refused(deque[int], deque([1], maxlen=3), default=deque())
kept(deque[int], deque([1], maxlen=3))
refused(deque[int], deque([1], maxlen=4), default=deque(maxlen=3))
kept(Annotated[deque[int], Len(0, 3)], deque([1], maxlen=3))
kept(Sequence[int], [1, 2])
refused(Sequence[int], (1, 2), default=[])
kept(MutableSequence[int], [1])
kept(Spot, Spot(1, 2.0))
kept(Spot, Spot(1, 2), becomes=Spot(1, 2.0))
kept(list[Spot], [Spot(1, 2.0)])
unloadable(Iterable[int], [1])
unloadable(Iterator[int])
refused(list, [(1, 2)], [{1: 2}], [datetime(2026, 1, 1, tzinfo=UTC)], default=[])
kept(list, [1, "a", None, 2.5, {"b": [True]}])

# Mappings
kept(dict[str, int], {}, {"b": 1, "a": 2})
kept(dict[int, str], {1: "a", -2: "b"})
kept(dict[float, int], {1.5: 1})
kept(dict[bool, int], {True: 1})
kept(dict[UUID, int], {SAMPLE: 1})
kept(dict[date, int], {date(2026, 1, 1): 1})
kept(dict[datetime, int], {datetime(2026, 1, 1, tzinfo=UTC): 1})
kept(dict[Decimal, int], {Decimal("1.50"): 1})
kept(dict[Colour, int], {Colour.RED: 1})
kept(dict[Status, int], {Status.OPEN: 1})
kept(dict[Level, int], {Level.LOW: 1})
kept(dict[Literal["a"], int], {"a": 1})
unloadable(dict[Number, int], {Number.ONE: 1})
unloadable(dict[Literal[1, 2], int], {1: 1})
unloadable(dict[tuple[int, int], str], {(1, 2): "a"})
unloadable(dict[Frozen, str], frozen_key())
unloadable(dict[frozenset[int], str], {})
unloadable(list[dict[tuple[int, int], str]], [])
unloadable(dict[str, dict[tuple[int, int], str]], {})
refused(dict[int | str, str], {1: "int", "1": "str"}, {1: "a"}, default={})
kept(dict[int | str, str], {"a": "b"})
refused(dict[str | None, int], {None: 1}, default={})
kept(dict[str, float], {"a": 1}, becomes={"a": 1.0})
kept(dict[str, list[dict[str, int]]], {"a": [{"b": 1}]})
kept(Mapping[str, int], {"a": 1})
kept(MutableMapping[str, int], {"a": 1})
kept(OrderedDict[str, int], OrderedDict(a=1))
kept(Counter[str], Counter("aab"))
kept(defaultdict[str, int], defaultdict(int, a=1))
kept(defaultdict[str, list[int]], defaultdict(list, a=[1]))
kept(dict[str, int], defaultdict(int, a=1))
refused(dict[str, int], defaultdict(int, a=1), OrderedDict(a=1), default={})
unloadable(dict[str, int], Counter("a"))
kept(Shape, {"sides": 3}, {"sides": 3, "colours": [Colour.RED]}, {"colours": [], "sides": 1})
kept(list[Shape], [{"sides": 3}])
refused(dict, {1: 2}, {"a": (1,)}, {"a": Dog()}, default={})
kept(dict[str, Any], {"a": [1, "b", None, {"c": 1.5}]})
refused(dict[str, Any], {"a": math.nan}, {"a": {1: 2}}, {"a": {1}}, {"a": date(2026, 1, 1)}, {"a": Dog()}, default={})
refused(dict[str, Any], {"a": Decimal(1)}, {"a": b"x"}, {"a": Level.LOW}, {"a": SecretStr("x")}, default={})
kept(Any, None, 1, "a", [1], {"a": 1})
refused(Any, (1,), math.inf, datetime(2026, 1, 1, tzinfo=UTC), SecretStr("x"), default=None)
kept(object, 1, "a")
refused(object, Dog(), {1}, default=None)

# Unions
kept(int | str, 1, "a", "1")
kept(str | int | None, None, 1)
kept(int | float, 1, 1.5)
kept(bytes | str, b"a", default="a")
refused(bytes | str, "YQ==", default="a")
kept(bytes | None, b"a")
kept(bool | int, True, 1)
kept(Optional[Animal], None, Animal(name="a"))  # noqa: UP045
kept(Union[int, list[int]], 1, [1])  # noqa: UP007
refused(list[Deposit | Withdraw], [Withdraw(amount=5)], default=[])
kept(list[Deposit | Withdraw], [Deposit(amount=5)])
kept(list[Annotated[Cat | Fish, Field(discriminator="kind")]], [Fish(), Cat()])
kept(Cat | Fish, Fish())
refused(Deposit | dict[str, int], {"amount": 1}, default=Deposit())
kept(date | datetime, datetime(2026, 1, 1, tzinfo=UTC), date(2026, 1, 1))
kept(date | str, date(2026, 1, 1), "x")
refused(date | str, "2026-01-01", default="x")
refused(int | list[int] | tuple[int, ...], (1, 2), default=0)

# Models
kept(Animal, Animal(name="a"))
refused(Animal, Dog(), default=Animal())
refused(list[Animal], [Animal(), Dog()], default=[])
refused(dict[str, Animal], {"a": Dog()}, default={})
refused(tuple[Animal, ...], (Dog(),), default=())
kept(list[Animal | Dog], [Dog(breed="x")])
kept(list[Dog], [Dog(breed="x")])
kept(Tree, Tree(leaf=1, kids=[Tree(leaf=2)]))
kept(list[Tree], [Tree(kids=[Tree()])])
kept(Ratio, Ratio(value=1.5))
kept(Ratio, Ratio.model_construct(value=None, plain=1), becomes=Ratio(value=None, plain=1.0))
refused(Ratio, Ratio(value=math.nan), Ratio(value=math.inf), Ratio(plain=math.inf), default=Ratio())
kept(Frozen, Frozen(x=3))
kept(Open, Open(x=1), Open.model_validate({"x": 1, "more": [1]}))
refused(Open, Open.model_validate({"x": 1, "more": (1,)}), default=Open())
kept(Closed, Closed(x=2))
kept(Hidden, Hidden(x=2))
refused(Hidden, Hidden(cache=5), default=Hidden())
unloadable(HiddenRequired, HiddenRequired(x=1))
kept(Private, Private(x=2))
refused(Private, _private(x=2), default=Private())
kept(Opaque, Opaque(x=2), default=Opaque())
kept(Computed, Computed(x=2))
unloadable(ComputedClosed, ComputedClosed())
kept(Camel, Camel(firstName=2))
unloadable(Serialized, Serialized(first=2))
unloadable(TwoAliases, TwoAliases.model_validate({"a": 2}))
kept(Choices, Choices.model_validate({"a": 2}))
refused(Stubborn, Stubborn(x=(1, 2)), default=Stubborn())
refused(Rounded, Rounded(x=1.25), default=Rounded())
unloadable(Wallet, Wallet(secret=SecretStr("hunter2")))
kept(ShownWallet, ShownWallet(secret=SecretStr("hunter2")))
kept(Page[int], Page[int](items=[1]))
kept(Page[Animal], Page[Animal](items=[Animal(name="a")]))
refused(Page[Animal], Page[Animal](items=[Dog()]), default=Page[Animal]())
refused(Page, Page(items=[Animal()]), default=Page())
kept(Numbers, Numbers([1, 2]))
unloadable(Window, Window())
refused(Shouting, Shouting.model_construct(name="a"), default=Shouting())
unloadable(Counting, Counting())
kept(Bytes, Bytes(raw=b"abc"))
refused(Bytes, Bytes(raw=b"\xff"), default=Bytes())
kept(Annotated[Animal, BeforeValidator(lambda value: value)], Animal(name="b"))

# Dataclasses
kept(Pair, Pair(1, Decimal("1.50")))
refused(Pair, Triple(), default=Pair())
kept(list[Pair | Triple], [Triple(third=4)])
kept(Unequal, Unequal(1))
refused(Unequal, Unequal((1,)), default=Unequal())
kept(Still, Still(2))
kept(dict[str, Still], {"a": Still(2)})
kept(Slotted, Slotted(2))
kept(Uninitialised, Uninitialised(2))
refused(Uninitialised, _seen(), default=Uninitialised())
kept(Uncompared, Uncompared(1, "a"))
kept(Checked, Checked(1, [Animal()]))
refused(Checked, Checked(1, [Dog()]), default=Checked())

# Never JSON
unloadable(SecretStr, SecretStr("hunter2"), SecretStr(""))
unloadable(SecretBytes, SecretBytes(b"x"))
unloadable(Secret[int], Secret[int](5))
unloadable(list[SecretStr], [])
unloadable(SecretStr | None)
unloadable(dict[str, SecretStr], {})
kept(Annotated[SecretStr, PlainSerializer(lambda value: value.get_secret_value())], SecretStr("hunter2"))
unloadable(Callable[[int], int])
unloadable(type[int], int)
unloadable(Json[list[int]], [])
unloadable(bytearray, bytearray())
unloadable(memoryview)
unloadable(threading.Lock)
unloadable(range, range(3))
unloadable(T)
unloadable(list[T], [])  # type: ignore[valid-type]
