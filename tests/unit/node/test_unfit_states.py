"""An object whose stored state does not fit its class: every call reports it, and the object can be deleted."""

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import orjson
import pytest
from pydantic import AfterValidator, Field

from goverse import Object, call, migration
from goverse.model.records import CommitRecord
from tests.nodes import Bench, Meeting, bench, code, key_of, problem, value

PLACE = Meeting()
CLOCK = {"now": datetime(2026, 1, 1, tzinfo=UTC)}


def in_the_future(given: datetime) -> datetime:
    if given <= CLOCK["now"]:
        raise ValueError("it has expired")
    return given


class Coupon(Object, delete="anyone"):
    expires: Annotated[datetime, AfterValidator(in_the_future)] = datetime(2026, 6, 1, tzinfo=UTC)
    uses: Annotated[int, Field(le=10)] = 0

    def on_delete(self) -> None:
        PLACE.note("on_delete")

    @call
    def use(self) -> int:
        self.uses += 1
        return self.uses

    @call
    async def use_later(self) -> int:
        self.uses += 1
        return self.uses

    @call
    def fail(self) -> None:
        self.uses += 1
        raise ValueError

    @call(readonly=True)
    async def look(self) -> int:
        await PLACE.wait("look")
        return self.uses

    @call(readonly=True)
    def peek(self) -> int:
        return self.uses

    @call(readonly=True)
    async def touch(self) -> int:
        self.uses += 1
        return self.uses

    @call
    async def relay(self, target: str) -> int:
        return await self.ref(Coupon, target).use_later()


class Broken(Object, state_version=2, delete="anyone"):
    total: int = 0

    @staticmethod
    @migration(from_version=1)
    def _grow(state: dict[str, Any]) -> dict[str, Any]:
        return {"total": state["missing"]}

    @call
    def add(self) -> int:
        self.total += 1
        return self.total


@pytest.fixture(autouse=True)
def before_the_expiry() -> None:
    CLOCK["now"] = datetime(2026, 1, 1, tzinfo=UTC)


@asynccontextmanager
async def unfit(state: dict[str, Any]) -> AsyncGenerator[Bench]:
    """Host a coupon that is stored at version 7."""
    async with bench(Coupon, Broken) as b:
        await _store(b, Coupon, state, 1)
        yield b


async def _store(b: Bench, target: type[Any], state: dict[str, Any], state_version: int) -> None:
    key, body = key_of(target, "c"), orjson.dumps(state)
    await b.store.commit([CommitRecord(key, version, version + 1, body, state_version, 0) for version in range(7)])


EXPIRED = {"expires": "2025-06-01T00:00:00Z", "uses": 1}
WRONG = {"expires": "2027-06-01T00:00:00Z", "uses": "many"}


@pytest.mark.parametrize(("state", "field"), [(EXPIRED, "/expires"), (WRONG, "/uses")])
@pytest.mark.requirement("OBJ-11")
async def test_every_answer_names_the_field_and_what_can_be_done(state: dict[str, Any], field: str) -> None:
    async with unfit(state) as b:
        replies = [
            await b.call(Coupon, "c", "use"),
            await b.call(Coupon, "c", "peek"),
            await b.read(Coupon, "c"),
            await b.create(Coupon, "c"),
            await b.call(Coupon, "other", "relay", {"target": "c"}),
        ]
        for reply in replies:
            told = problem(reply)
            assert (told.code, told.retryable) == ("state_invalid", False)
            assert field in told.detail
            assert "goverse dump" in told.detail
            assert "DELETE" in told.detail
            assert [wrong["path"] for wrong in told.extra["errors"]] == [field]
        assert not b.resident(Coupon, "c")


@pytest.mark.parametrize("state", [EXPIRED, WRONG])
@pytest.mark.requirement("OBJ-3")
async def test_it_can_be_deleted_and_begun_again(
    state: dict[str, Any], meeting: Meeting, caplog: pytest.LogCaptureFixture
) -> None:
    async with unfit(state) as b:
        assert code(await b.delete(Coupon, "c", if_match=3)) == "version_mismatch"
        with caplog.at_level(logging.WARNING, "goverse.node"):
            deleted = await b.delete(Coupon, "c", if_match=7, idempotency_key="k")
        assert (code(deleted), deleted.version) == ("", 8)
        assert any("without on_delete" in record.message for record in caplog.records)
        assert meeting.happened == []
        assert code(await b.read(Coupon, "c")) == "object_not_found"
        assert (await b.delete(Coupon, "c", if_match=7, idempotency_key="k")).replayed
        created = await b.call(Coupon, "c", "use")
        assert (value(created), created.version) == (1, 9)


@pytest.mark.requirement("DUR-1")
async def test_calls_around_a_delete_are_answered_in_order() -> None:
    async with unfit(WRONG) as b:
        b.store.deferring = True
        asked = [
            b.call(Coupon, "c", "use"),
            b.delete(Coupon, "c"),
            b.call(Coupon, "c", "use"),
            b.delete(Coupon, "c"),
        ]
        replies = [await b.finish(each) for each in asked]
        assert [code(reply) for reply in replies] == ["state_invalid", "", "", ""]
        assert [reply.version for reply in replies[1:]] == [8, 9, 10]


@pytest.mark.requirement("OBJ-11")
async def test_a_state_whose_migration_fails_can_be_deleted() -> None:
    async with bench(Broken) as b:
        await _store(b, Broken, {"total": 1}, 1)
        told = problem(await b.call(Broken, "c", "add"))
        assert told.code == "state_invalid"
        assert "migration of Broken from state version 1 failed" in told.detail
        assert code(await b.delete(Broken, "c")) == ""
        assert value(await b.call(Broken, "c", "add")) == 1


@pytest.mark.parametrize("method", ["use", "use_later", "fail", "touch"])
@pytest.mark.requirement("OBJ-9")
async def test_a_live_object_whose_state_stops_fitting_fails_for_good(method: str, meeting: Meeting) -> None:
    async with bench(Coupon) as b:
        assert value(await b.call(Coupon, "c", "use")) == 1
        beside = b.call(Coupon, "c", "look") if method == "touch" else None
        if beside is not None:
            await meeting.reached("look")
        CLOCK["now"] += timedelta(days=365)

        reply = await b.call(Coupon, "c", method)
        assert (code(reply), problem(reply).retryable) == (
            ("method_failed", False) if beside is not None else ("state_invalid", False)
        )
        if beside is not None:
            meeting.let_go("look")
            assert value(await beside) == 1
            await b.passivate()
        for _ in range(2):
            again = await b.call(Coupon, "c", "use")
            assert (code(again), problem(again).retryable) == ("state_invalid", False)
        assert "/expires" in problem(await b.read(Coupon, "c")).detail
        assert code(await b.delete(Coupon, "c")) == ""


@pytest.mark.requirement("DUR-1")
async def test_what_is_on_its_way_to_the_store_is_kept_when_the_state_stops_fitting() -> None:
    async with bench(Coupon) as b:
        b.store.hold()
        first = b.call(Coupon, "c", "use")
        CLOCK["now"] += timedelta(days=365)
        second, third = b.call(Coupon, "c", "use"), b.call(Coupon, "c", "use")
        b.store.release()
        assert value(await first) == 1
        assert [code(await second), code(await third)] == ["state_invalid"] * 2
        CLOCK["now"] -= timedelta(days=365)
        assert value(await b.call(Coupon, "c", "use")) == 2
