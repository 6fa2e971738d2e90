"""Body of a read: the state without hidden fields, or the result of the class's view."""

import asyncio
from typing import Annotated, Any

import orjson
import pytest
from pydantic import AfterValidator, BaseModel

from goverse import BusinessError, Object, call, field, view
from goverse.model.records import CommitRecord
from goverse.testing import ObjectHost
from tests.gated_store import GatedStore
from tests.nodes import Bench, bench, code, key_of, problem, value


class Wallet(Object):
    owner: str = ""
    pin: str = field(default="", hidden=True)
    big: int = 2**80
    share: float = 0.1

    def on_create(self, owner: str = "", pin: str = "") -> None:
        self.owner, self.pin = owner, pin

    @call
    async def set_pin(self, pin: str) -> None:
        self.pin = pin

    @call
    async def set_number(self, pin: int) -> None:
        self.pin = pin  # type: ignore[assignment]  # pyright: ignore


def _refuse_nines(pin: str) -> str:
    if pin.startswith("9"):
        raise ValueError(f"{pin} begins with a nine")
    return pin


class OrderView(BaseModel):
    id: str
    seats: int


class Order(Object):
    seats: list[str] = []
    margin: int = 0
    _activated: bool = False

    async def on_activate(self) -> None:
        self._activated = True

    @call
    async def add(self, seat: str) -> None:
        self.seats.append(seat)

    @view
    def public(self) -> OrderView:
        assert not self._activated, "a view runs on an instance of its own"
        return OrderView(id=self.id, seats=len(self.seats))


class NotForYou(BusinessError):
    status = 403
    code = "not_for_you_in_views"


class Faulty(Object):
    kind: str = ""
    seen: list[str] = []

    @call
    async def be(self, kind: str) -> None:
        self.kind = kind

    @view
    def public(self) -> str:
        match self.kind:
            case "raises":
                raise ValueError("the pin is 1234")
            case "refuses":
                raise NotForYou("the pin is 1234")
            case "changes":
                self.seen.append("x")
            case "wrong type":
                return 3  # type: ignore[return-value]  # pyright: ignore
            case "asks who calls":
                return str(self.context.caller)
            case "too large":
                return "x" * 100_000
            case "exits":
                raise SystemExit(1)
        return self.kind


async def _both_ways(b: Bench, target: type[Any], object_id: str) -> list[Any]:
    """Return the body of a read with the object in memory, out of memory, and after a restart."""
    shown = [value(await b.read(target, object_id))]
    await b.passivate()
    shown.append(value(await b.read(target, object_id)))
    assert not b.resident(target, object_id)
    await b.restart()
    return [*shown, value(await b.read(target, object_id))]


@pytest.mark.requirement("OBJ-14")
async def test_a_hidden_field_is_kept_and_never_shown() -> None:
    async with bench(Wallet) as b:
        created = await b.create(Wallet, "w", arguments={"owner": "ann", "pin": "1234"}, idempotency_key="k")
        again = await b.create(Wallet, "w", arguments={"owner": "ann", "pin": "1234"}, idempotency_key="k")
        assert b"1234" not in created.body + again.body

        expected = {"owner": "ann", "big": 2**80, "share": 0.1}
        await b.call(Wallet, "w", "set_pin", {"pin": "9876"})
        body = (await b.read(Wallet, "w")).body
        await b.passivate()
        assert (await b.read(Wallet, "w")).body == body
        assert b"9876" not in body
        assert [orjson.loads(body)["owner"], body.count(b"1208925819614629174706176")] == ["ann", 1]
        stored = b.store.load(key_of(Wallet, "w"))
        assert b"9876" in (stored.state or b"")  # type: ignore[union-attr]
    async with ObjectHost(Wallet) as host:
        await host.create(Wallet, "w", owner="ann", pin="1234")
        assert await host.shown(Wallet, "w") == expected
        assert await host.state(Wallet, "w") == expected | {"pin": "1234"}


@pytest.mark.requirement("OBJ-14")
async def test_a_failure_does_not_show_the_value_of_a_hidden_field() -> None:
    async with bench(Wallet) as b:
        failed = problem(await b.call(Wallet, "w", "set_number", {"pin": 90210}))
        assert failed.code == "method_failed"
        assert "hidden field pin of Wallet must be str, got int" in failed.detail
        assert "90210" not in str(failed)


class Safe(Object):
    pin: Annotated[str, AfterValidator(_refuse_nines)] = field(default="", hidden=True)

    @call
    async def set_pin(self, pin: str) -> None:
        self.pin = pin


@pytest.mark.requirement("OBJ-14")
async def test_the_message_of_a_validator_does_not_show_the_value_of_a_hidden_field() -> None:
    async with bench(Safe) as b:
        failed = problem(await b.call(Safe, "s", "set_pin", {"pin": "90210"}))
        assert failed.code == "method_failed"
        assert failed.extra["errors"] == [
            {"path": "/pin", "message": "is hidden and is refused by the validator of its declaration as str"}
        ]
        assert "90210" not in str(failed)
        await b.store.commit([CommitRecord(key_of(Safe, "t"), 0, 1, b'{"pin":"90210"}', 1, at_ms=0)])
        for reply in (await b.read(Safe, "t"), await b.call(Safe, "t", "set_pin", {"pin": "1"})):
            unfit = problem(reply)
            assert unfit.code == "state_invalid"
            assert "/pin" in unfit.detail
            assert "90210" not in str(unfit)


class Tagged(Object):
    tag: str
    pin: int = field(hidden=True)

    @call
    async def touch(self) -> None: ...

    @view
    def public(self) -> str:
        return ""


@pytest.mark.requirement("OBJ-14", "OBJ-11")
async def test_a_new_field_without_a_default_is_missing_in_an_old_object_and_the_error_says_to_give_it_one() -> None:
    store = GatedStore()
    await store.open()
    await store.commit([CommitRecord(key_of(Tagged, "t"), 0, 1, b"{}", 1, at_ms=0)])
    async with bench(Tagged, store=store) as b:
        for reply in (await b.read(Tagged, "t"), await b.call(Tagged, "t", "touch")):
            unfit = problem(reply)
            assert unfit.extra["errors"] == [
                {"path": "/tag", "message": "is missing"},
                {"path": "/pin", "message": "is missing"},
            ]
            assert ". Give tag, pin a default, or raise its state_version and add" in unfit.detail


@pytest.mark.requirement("OBJ-4")
async def test_a_new_object_without_a_value_for_a_field_is_refused_with_the_remedy() -> None:
    async with bench(Tagged) as b:
        failed = problem(await b.create(Tagged, "new"))
    assert failed.code == "method_failed"
    assert failed.detail.endswith(
        "fields of Tagged have no value: tag, pin; give them defaults, or set them in on_create"
    )


@pytest.mark.requirement("OBJ-14", "OBJ-11")
async def test_a_member_that_the_class_does_not_declare_is_kept_and_not_shown() -> None:
    """The member may be a hidden field of the previous release, or of the next one."""
    store = GatedStore()
    await store.open()
    state = b'{"seats":["A1"],"margin":7,"pin":"1234"}'
    await store.commit([CommitRecord(key_of(Plain, "p"), 0, 1, state, 1, at_ms=1)])
    async with bench(Plain, store=store) as b:
        assert value(await b.read(Plain, "p")) == {"seats": ["A1"], "margin": 7}
        await b.call(Plain, "p", "add", {"seat": "A2"})
        assert value(await b.read(Plain, "p")) == {"seats": ["A1", "A2"], "margin": 7}
        stored = b.store.load(key_of(Plain, "p"))
        assert b'"pin":"1234"' in (stored.state or b"")  # type: ignore[union-attr]


class Plain(Object):
    seats: list[str] = []
    margin: int = 0

    @call
    async def add(self, seat: str) -> None:
        self.seats.append(seat)


@pytest.mark.requirement("OBJ-14")
async def test_a_view_shows_the_same_in_memory_and_out_of_it() -> None:
    async with bench(Order) as b:
        await b.call(Order, "o", "add", {"seat": "A1"})
        assert await _both_ways(b, Order, "o") == [{"id": "o", "seats": 1}] * 3
        reply = await b.read(Order, "o")
        assert reply.version == 1
        assert code(await b.read(Order, "none")) == "object_not_found"


@pytest.mark.requirement("OBJ-14")
async def test_a_view_shows_what_is_durable_and_not_what_a_turn_is_about_to_commit() -> None:
    store = GatedStore()
    async with bench(Order, store=store) as b:
        await b.call(Order, "o", "add", {"seat": "A1"})
        store.hold()
        pending = b.call(Order, "o", "add", {"seat": "A2"})
        await asyncio.sleep(0)
        shown = await b.finish(b.read(Order, "o"))
        assert (value(shown)["seats"], shown.version) == (1, 1)
        store.release()
        assert code(await pending) == ""
        assert value(await b.read(Order, "o"))["seats"] == 2


@pytest.mark.requirement("OBJ-14", "OBJ-9")
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("raises", "method_failed"),
        ("refuses", "method_failed"),
        ("changes", "method_failed"),
        ("wrong type", "method_failed"),
        ("asks who calls", "method_failed"),
        ("exits", "method_failed"),
        ("too large", "too_large"),
    ],
)
async def test_a_view_that_fails_fails_the_read_alone(
    kind: str, expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench(Faulty, result_bytes_max=10_000) as b:
        await b.call(Faulty, "f", "be", {"kind": kind})
        requests: list[str] = []
        for _ in range(2):
            failed = problem(await b.read(Faulty, "f"))
            requests.append(failed.request_id)
            assert failed.code == expected
            assert "1234" not in failed.detail
            assert "Faulty.public" in failed.detail
            await b.passivate()
        assert code(await b.call(Faulty, "f", "be", {"kind": "fine"})) == ""
        assert value(await b.read(Faulty, "f")) == "fine"
        logged = [vars(record) for record in caplog.records]
        assert len(logged) == (0 if kind == "too large" else 2)
        for place in logged:
            assert (place["msg"], place["object"], place["view"]) == ("view failed", "Faulty/f", "public")
        assert [place["request_id"] for place in logged] == (requests if logged else [])
