"""A repeated create: with the same arguments it succeeds, with others it conflicts."""

from datetime import date
from typing import Any

import orjson
import pytest
from pydantic import BaseModel, Field

from goverse import Object, call, field, migration, view
from goverse.model.frames import Operation
from goverse.model.records import CommitRecord
from tests.gated_store import GatedStore
from tests.nodes import PATIENCE_S, Bench, bench, code, key_of, problem


class Event(Object, delete="anyone"):
    title: str = ""
    sold: int = 0

    def on_create(
        self,
        title: str = "untitled",
        price: float = 1.5,
        day: date | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        self.title = title

    @call
    async def sell(self) -> int:
        self.sold += 1
        return self.sold


class Plain(Object):
    value: int = 0

    @call
    async def add(self) -> int:
        self.value += 1
        return self.value


async def _put(b: Bench, target: type[Any], object_id: str, body: bytes, **further: Any) -> tuple[str, bool, int]:
    reply = await b.submit(Operation.CREATE, key_of(target, object_id), "", body, timeout_s=PATIENCE_S, **further)
    return code(reply), reply.created, reply.version


@pytest.mark.requirement("OBJ-3")
async def test_the_same_arguments_meet_the_object_and_others_are_refused() -> None:
    async with bench(Event) as b:
        assert await _put(b, Event, "e", b'{"title":"Gala","price":2}') == ("", True, 1)
        assert await _put(b, Event, "e", b'{"title":"Gala","price":2}') == ("", False, 1)
        assert (await _put(b, Event, "e", b'{"title":"Ball","price":2}'))[0] == "object_exists"
        assert (await _put(b, Event, "e", b""))[0] == "object_exists"

        await b.call(Event, "e", "sell")
        assert await _put(b, Event, "e", b'{"title":"Gala","price":2}') == ("", False, 2)
        refused = problem(await b.create(Event, "e", arguments={"title": "Ball"}))
        assert refused.detail == "Event/e already exists and was created with other arguments"
        assert refused.extra == {"object": "Event/e", "version": 2}


@pytest.mark.requirement("OBJ-3")
@pytest.mark.parametrize(
    "same",
    [
        b' {"price": 2.0, "title": "Gala", "extra": {"b": [1], "a": null}} ',
        b'{"title":"\\u0047ala","price":2e0,"extra":{"a":null,"b":[1.0]},"day":null}',
    ],
)
async def test_arguments_are_compared_as_json_values_and_defaults_need_not_be_written(same: bytes) -> None:
    async with bench(Event) as b:
        await _put(b, Event, "e", b'{"title":"Gala","price":2,"extra":{"a":null,"b":[1]}}')
        assert await _put(b, Event, "e", same) == ("", False, 1)
        assert (await _put(b, Event, "e", b'{"title":"Gala","price":2,"extra":{"b":[1]}}'))[0] == "object_exists"
        assert (await _put(b, Event, "e", b'{"title":"Gala","price":2,"extra":{"a":null,"b":[true]}}'))[0] != ""


@pytest.mark.requirement("OBJ-3")
async def test_an_object_that_a_call_created_was_created_without_arguments() -> None:
    async with bench(Event, Plain) as b:
        await b.call(Event, "e", "sell")
        await b.call(Plain, "p", "add")
        for _ in range(2):
            assert (await _put(b, Event, "e", b"{}"))[0] == ""
            assert (await _put(b, Event, "e", b'{"title":"untitled"}'))[0] == ""
            assert (await _put(b, Event, "e", b'{"title":"Gala"}'))[0] == "object_exists"
            assert (await _put(b, Plain, "p", b""))[0] == ""
            await b.restart()


@pytest.mark.requirement("OBJ-3", "OBJ-5", "OBJ-11")
async def test_the_arguments_are_remembered_after_passivation_restart_and_migration() -> None:
    class Versioned(Event, name="Event", state_version=2):
        @migration(from_version=1)
        @staticmethod
        def _same(state: dict[str, Any]) -> dict[str, Any]:
            return state

    store = GatedStore()
    async with bench(Event, store=store) as b:
        await _put(b, Event, "e", b'{"title":"Gala"}')
        await b.call(Event, "e", "sell")
        await b.passivate()
        assert (await _put(b, Event, "e", b'{"title":"Ball"}'))[0] == "object_exists"
        await b.restart()
        assert (await _put(b, Event, "e", b'{"title":"Gala"}'))[0] == ""
    async with bench(Versioned, store=store) as b:
        assert (await _put(b, Versioned, "e", b'{"title":"Ball"}'))[0] == "object_exists"
        await b.call(Versioned, "e", "sell")
        assert (await _put(b, Versioned, "e", b'{"title":"Gala"}'))[0] == ""
        await b.delete(Versioned, "e")
        assert await _put(b, Versioned, "e", b'{"title":"Ball"}') == ("", True, 5)


@pytest.mark.requirement("OBJ-3")
async def test_an_object_of_an_earlier_release_meets_any_arguments() -> None:
    store = GatedStore()
    await store.open()
    state = orjson.dumps({"title": "Gala", "sold": 0})
    await store.commit([CommitRecord(key_of(Event, "e"), 0, 1, state, 1, at_ms=1)])
    async with bench(Event, store=store) as b:
        assert await _put(b, Event, "e", b'{"title":"Ball"}') == ("", False, 1)
        await b.call(Event, "e", "sell")
        await b.restart()
        assert await _put(b, Event, "e", b'{"title":"Ball"}') == ("", False, 2)


@pytest.mark.requirement("OBJ-3")
async def test_an_exclusive_create_meets_no_object() -> None:
    async with bench(Event) as b:
        await _put(b, Event, "e", b'{"title":"Gala"}')
        assert (await _put(b, Event, "e", b'{"title":"Gala"}', if_match=0))[0] == "object_exists"
        assert (await _put(b, Event, "e", b'{"title":"Gala"}', if_match=7))[0] == "version_mismatch"
        assert (await _put(b, Event, "e", b'{"title":"Ball"}', if_match=1))[0] == "object_exists"


@pytest.mark.requirement("OBJ-3", "OBJ-9")
async def test_a_creation_that_failed_leaves_no_arguments_behind() -> None:
    class Picky(Object):
        title: str = ""

        def on_create(self, title: str = "") -> None:
            if title == "bad":
                raise ValueError(title)

        @call
        async def poke(self) -> None: ...

    async with bench(Picky) as b:
        assert (await _put(b, Picky, "p", b'{"title":"bad"}'))[0] == "method_failed"
        await b.call(Picky, "p", "poke")
        assert (await _put(b, Picky, "p", b'{"title":"good"}'))[0] == "object_exists"
        assert (await _put(b, Picky, "p", b""))[0] == ""


class Locker(Object, delete="anyone"):
    owner: str = ""
    pin: str = field(default="", hidden=True)

    def on_create(self, owner: str = "", pin: str = "", hint: str = "") -> None:
        self.owner, self.pin = owner, pin


class TicketView(BaseModel):
    seat: str = Field(serialization_alias="place")


class Ticket(Object, delete="anyone"):
    seat: str = ""
    code: str = ""

    def on_create(self, place: str = "", seat: str = "", code: str = "") -> None:
        self.seat, self.code = place or seat, code

    @view
    def public(self) -> TicketView:
        return TicketView(seat=self.seat)


class Loose(Ticket):
    @view
    def public(self) -> dict[str, str]:  # type: ignore[override]  # pyright: ignore
        return {"place": self.seat}


@pytest.mark.requirement("OBJ-3", "OBJ-14")
@pytest.mark.parametrize(
    ("target", "created", "guesses"),
    [
        (Locker, b'{"owner":"ann","pin":"1234"}', [b'{"owner":"ann","pin":"1234"}', b'{"owner":"ann","pin":"1235"}']),
        (Locker, b'{"hint":"a cat"}', [b'{"hint":"a cat"}', b'{"hint":"a dog"}']),
        (Ticket, b'{"place":"A1","code":"x"}', [b'{"place":"A1","code":"x"}', b'{"place":"A1","code":"y"}']),
        (Ticket, b'{"seat":"A1"}', [b'{"seat":"A1"}', b'{"seat":"A2"}']),
        (Loose, b'{"place":"A1"}', [b'{"place":"A1"}', b'{"place":"A2"}']),
    ],
)
async def test_a_put_does_not_tell_whether_a_guess_of_hidden_arguments_is_right(
    target: type[Any], created: bytes, guesses: list[bytes]
) -> None:
    async with bench(target) as b:
        assert await _put(b, target, "x", created, idempotency_key="k") == ("", True, 1)
        for _ in range(2):
            key = key_of(target, "x")
            answers = [await b.submit(Operation.CREATE, key, "", guess, timeout_s=PATIENCE_S) for guess in guesses]
            right, wrong = map(problem, answers)
            assert (right.code, right.detail, right.extra) == (wrong.code, wrong.detail, wrong.extra)
            assert right.code == "object_exists"
            assert "Idempotency-Key" in right.detail
            # the first caller retries its request with its key
            assert (await _put(b, target, "x", created, idempotency_key="k"))[0] == ""
            await b.restart()


@pytest.mark.requirement("OBJ-3", "OBJ-14")
@pytest.mark.parametrize(
    ("target", "created", "other"),
    [
        (Locker, b'{"owner":"ann"}', b'{"owner":"bob"}'),
        (Locker, b'{"owner":"ann","pin":""}', b"{}"),
        (Ticket, b'{"place":"A1"}', b'{"place":"A2"}'),
    ],
)
async def test_arguments_that_a_read_shows_are_compared_in_a_type_that_hides_others(
    target: type[Any], created: bytes, other: bytes
) -> None:
    async with bench(target) as b:
        assert await _put(b, target, "x", created) == ("", True, 1)
        assert await _put(b, target, "x", created) == ("", False, 1)
        assert (await _put(b, target, "x", other))[0] == "object_exists"


@pytest.mark.requirement("OBJ-3")
@pytest.mark.parametrize("nothing", [b"", b"{}", b"null", b"null\n", b" null "])
async def test_a_body_of_null_creates_without_arguments(nothing: bytes) -> None:
    async with bench(Event) as b:
        assert await _put(b, Event, "e", nothing, idempotency_key="k") == ("", True, 1)
        for same in (b"null", b"", b"{}"):
            assert await _put(b, Event, "e", same) == ("", False, 1)
        assert await _put(b, Event, "e", b"null", idempotency_key="k") == ("", True, 1)
