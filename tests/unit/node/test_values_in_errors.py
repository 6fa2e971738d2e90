"""Errors contain no value that ``GET`` hides: hidden fields, fields behind a view, excluded parts of models."""

import logging
import re
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from pydantic import AfterValidator, BaseModel, Field, PrivateAttr

from goverse import Object, call, field, view
from goverse.model.records import CommitRecord
from tests.nodes import bench, key_of, problem, value

SECRET = "hunter2"


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"


def _picky(text: str) -> str:
    if text == SECRET:
        raise ValueError(f"{text} is too well known")
    return text


class _Vault(Object, abstract=True):
    number: int = 0
    share: float = 0.0
    loose: Any = None
    by_name: dict[str, Annotated[int, Field(ge=0)]] = {}
    picky: Annotated[str, AfterValidator(_picky)] = ""
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] = Cat()

    @call
    async def spoil(self, how: str) -> None:
        match how:
            case "wrong type":
                self.number = SECRET  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
            case "infinite":
                self.share = float("inf")
            case "not storable":
                self.loose = (SECRET,)
            case "not storable below a key":
                self.loose = {SECRET: (Decimal(1),)}
            case "constraint below a key":
                self.by_name = {SECRET: -1}
            case "validator":
                self.picky = SECRET
            case _:
                raise AssertionError(how)


class Viewed(_Vault):
    @view
    def public(self) -> str:
        return "nothing to see"


class Hidden(_Vault):
    number: int = field(default=0, hidden=True)
    share: float = field(default=0.0, hidden=True)
    loose: Any = field(default=None, hidden=True)
    by_name: dict[str, Annotated[int, Field(ge=0)]] = field(default_factory=dict, hidden=True)
    picky: Annotated[str, AfterValidator(_picky)] = field(default="", hidden=True)
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] = field(default=Cat(), hidden=True)


SPOILED = {
    "wrong type": ("method_failed", "number"),
    "infinite": ("state_not_storable", "share"),
    "not storable": ("state_not_storable", "loose"),
    "not storable below a key": ("state_not_storable", "loose"),
    "constraint below a key": ("method_failed", "by_name"),
    "validator": ("method_failed", "picky"),
}


@pytest.mark.requirement("OBJ-14")
@pytest.mark.parametrize("how", SPOILED)
@pytest.mark.parametrize("target", [Viewed, Hidden])
async def test_a_state_that_is_refused_names_the_field_and_not_its_value(target: type[_Vault], how: str) -> None:
    async with bench(target) as b:
        code, name = SPOILED[how]
        refused = problem(await b.call(target, "v", "spoil", {"how": how}))
        assert refused.code == code
        assert name in refused.detail
        assert not _tells(refused)
        assert all(error["path"] == f"/{name}" for error in refused.extra.get("errors", ()))


@pytest.mark.requirement("OBJ-14")
@pytest.mark.parametrize("target", [Viewed, Hidden])
@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("number", b'"hunter2"'),
        ("by_name", b'{"hunter2":-1}'),
        ("picky", b'"hunter2"'),
        ("pet", b'{"kind":"hunter2"}'),
    ],
)
async def test_a_stored_state_that_does_not_fit_names_the_field_and_not_its_value(
    target: type[_Vault], name: str, stored: bytes
) -> None:
    async with bench(target) as b:
        await b.store.commit(
            [CommitRecord(key_of(target, "v"), 0, 1, b'{"%b":%b}' % (name.encode(), stored), 1, at_ms=0)]
        )
        for reply in (await b.read(target, "v"), await b.call(target, "v", "spoil", {"how": "validator"})):
            unfit = problem(reply)
            assert unfit.code == "state_invalid"
            assert f"/{name}" in unfit.detail
            assert not _tells(unfit)


@pytest.mark.requirement("OBJ-14")
async def test_the_log_names_the_field_behind_a_view_that_the_error_hides(caplog: pytest.LogCaptureFixture) -> None:
    async with bench(Viewed) as b:
        for how, (_, name) in SPOILED.items():
            caplog.clear()
            await b.call(Viewed, "v", "spoil", {"how": how})
            [record] = [each for each in caplog.records if each.levelno == logging.ERROR]
            assert name in record.__dict__["reason"]
            assert not _tells_text(record.__dict__["reason"])
            assert _tells_text(record.__dict__["values"])


@pytest.mark.requirement("OBJ-14")
async def test_the_log_does_not_have_the_value_of_a_hidden_field(caplog: pytest.LogCaptureFixture) -> None:
    async with bench(Hidden) as b:
        for how in SPOILED:
            await b.call(Hidden, "v", "spoil", {"how": how})
        await b.store.commit([CommitRecord(key_of(Hidden, "w"), 0, 1, b'{"number":"hunter2"}', 1, at_ms=0)])
        await b.call(Hidden, "w", "spoil", {"how": "validator"})
        assert "a stored state does not fit its class" in caplog.text
        assert SECRET not in caplog.text


class Member(BaseModel):
    name: str = ""
    password: str = Field(default="", exclude=True)
    _session: str = PrivateAttr(default="")


class Special(Member):
    more: int = 0


class Club(Object):
    members: list[Member] = []
    by_name: dict[str, Member] = {}

    @call
    async def join(self, how: str) -> None:
        match how:
            case "excluded":
                self.members.append(Member(name="ann", password=SECRET))
            case "private":
                member = Member(name="ann")
                member._session = SECRET  # pyright: ignore[reportPrivateUsage]
                self.members.append(member)
            case "inside what differs":
                self.members.append(Special(name="ann", password=SECRET))
            case "inside of a list that differs":
                self.by_name["a"] = [Member(password=SECRET)]  # type: ignore[assignment]  # pyright: ignore
            case _:
                raise AssertionError(how)


@pytest.mark.requirement("OBJ-14")
@pytest.mark.parametrize("how", ["excluded", "private", "inside what differs", "inside of a list that differs"])
async def test_excluded_and_private_parts_of_models_are_not_revealed(how: str) -> None:
    async with bench(Club) as b:
        refused = problem(await b.call(Club, "c", "join", {"how": how}))
        assert refused.code in ("state_not_storable", "method_failed")
        assert not _tells(refused)


def _tells(refused: Any) -> bool:
    return _tells_text(f"{refused.detail} {refused.extra}")


def _tells_text(text: str) -> bool:
    return re.search(rf"{SECRET}|\binf\b", text) is not None


class Checked(BaseModel):
    digits: dict[str, int]


class Answering(Object):
    pin: str = field(default=SECRET, hidden=True)

    @call
    async def owner(self) -> Annotated[Cat | Dog, Field(discriminator="kind")]:
        return {"kind": self.pin}  # type: ignore[return-value]  # pyright: ignore

    @call(raises=(ValueError,))
    async def check(self) -> None:
        Checked.model_validate({"digits": {"pin": self.pin}})

    @call
    async def peek(self) -> int:
        return 1


@pytest.mark.requirement("OBJ-14")
async def test_a_result_of_the_wrong_type_does_not_name_its_tag() -> None:
    async with bench(Answering) as b:
        refused = problem(await b.call(Answering, "a", "owner"))
        assert refused.code == "method_failed"
        assert SECRET not in refused.detail
        assert value(await b.call(Answering, "a", "peek")) == 1


@pytest.mark.requirement("OBJ-14", "OBJ-9")
async def test_a_validation_error_among_the_public_exceptions_does_not_name_its_input() -> None:
    async with bench(Answering) as b:
        refused = problem(await b.call(Answering, "a", "check"))
        assert refused.extra == {"exception": "ValidationError"}
        assert refused.detail.startswith(
            "Answering.check raised ValidationError: Checked: /digits/pin: Input should be"
        )
        assert SECRET not in refused.detail
