"""Calls that clients submit and do not wait for: accepted once, carried out once, and found by their ids."""

from __future__ import annotations

import asyncio
import tracemalloc
from asyncio import Future
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from goverse import BusinessError, Object, call, handler
from goverse.limits import MIB
from goverse.model.call_ids import place_of_call, placement_of_call
from goverse.model.caller import identified
from goverse.model.frames import Operation, Reply
from goverse.model.keys import placement_hash
from goverse.ports.clock import ManualClock
from goverse_node.stores.memory import MemoryStore
from goverse_node.stores.wal.store import WalStore
from tests.gated_store import GatedStore
from tests.nodes import PATIENCE_S, Bench, Meeting, bench, code, key_of, problem, until, value

pytestmark = pytest.mark.requirement("DUR-3")

PLACE = Meeting()


class Full(BusinessError):
    """The report is full."""

    status = 409
    code = "full"


class Report(Object):
    lines: list[str] = []

    @call(raises=(Full,))
    async def add(self, line: str) -> int:
        if line == "too much":
            raise Full("no further line")
        if line == "wait":
            await PLACE.wait(self.id)
        self.lines.append(line)
        return len(self.lines)

    @call
    async def fail(self) -> None:
        self.lines.append("never committed")
        raise RuntimeError("a bug")

    @call(readonly=True)
    async def count(self) -> int:
        return len(self.lines)

    @handler
    async def clear(self) -> None:
        self.lines.clear()


class Ledger(Object):
    @call
    async def note(self, amount: Decimal | str) -> str:
        if isinstance(amount, str):
            raise RuntimeError("a bug")
        return str(amount)


class Desk:
    """Submits calls to a node, and asks about them."""

    def __init__(self, on: Bench) -> None:
        self.on = on

    def send(
        self, object_id: str, method: str, arguments: dict[str, Any] | None = None, **further: Any
    ) -> Future[Reply]:
        body = further.pop("body", orjson.dumps(arguments) if arguments else b"")
        return self.on.submit(Operation.SEND, key_of(Report, object_id), method, body, timeout_s=PATIENCE_S, **further)

    def ask(self, verb: str, call_id: str, *, timeout_s: float = PATIENCE_S, **further: Any) -> Future[Reply]:
        placement = placement_of_call(call_id)
        key = further.pop("key", place_of_call("default", 0 if placement is None else placement))
        caller = further.pop("caller", identified(""))
        body = orjson.dumps({"id": call_id, **further})
        return self.on.submit(Operation.CALLS, key, verb, body, timeout_s=timeout_s, caller=caller)

    async def ended(self, call_id: str) -> dict[str, Any]:
        found: dict[str, Any] = value(await self.ask("show", call_id, wait_ms=30_000))
        return found

    async def lines(self, object_id: str) -> list[str]:
        reply = await self.on.read(Report, object_id)
        return [] if code(reply) == "object_not_found" else value(reply)["lines"]


async def test_a_submitted_call_is_accepted_carried_out_and_its_result_kept() -> None:
    async with bench(Report) as on:
        desk = Desk(on)
        accepted = value(await desk.send("r", "add", {"line": "a"}))
        assert (accepted["state"], accepted["attempts"], accepted["method"]) == ("pending", 0, "add")
        assert accepted["sender"] == accepted["receiver"] == {"type": "Report", "id": "r"}
        assert placement_of_call(accepted["id"]) == placement_hash(key_of(Report, "r"))

        ended = await desk.ended(accepted["id"])
        assert (ended["state"], ended["problem"], ended["waits_for"]) == ("success", None, None)
        assert ended["finished_at"] >= ended["sent_at"]
        result = await desk.ask("result", accepted["id"])
        assert (result.body, result.problem) == (b"1", None)
        assert value(await desk.ask("show", accepted["id"])) == ended | {
            "finished_at": value(await desk.ask("show", accepted["id"]))["finished_at"]
        }
        assert await desk.lines("r") == ["a"]


async def test_the_reply_follows_the_commit() -> None:
    async with bench(Report, store=GatedStore()) as on:
        desk = Desk(on)
        await desk.ended(value(await desk.send("r", "add", {"line": "a"}))["id"])
        await until(lambda: not on.node.dispatcher.outboxes.entries)
        before = on.store.arrived
        on.store.hold()
        submitted = desk.send("r", "add", {"line": "b"})
        await until(lambda: on.store.arrived > before)
        assert not submitted.done()
        on.store.release()
        await desk.ended(value(await submitted)["id"])
        assert await desk.lines("r") == ["a", "b"]


async def test_an_outcome_other_than_a_success_is_the_result() -> None:
    async with bench(Report) as on:
        desk = Desk(on)
        full = value(await desk.send("r", "add", {"line": "too much"}))["id"]
        assert (await desk.ended(full))["state"] == "failed"
        outcome = problem(await desk.ask("result", full))
        assert (outcome.code, outcome.status, outcome.detail) == ("full", 409, "no further line")


async def test_a_call_that_always_fails_is_a_dead_letter_after_five_attempts() -> None:
    async with bench(Report) as on:
        desk = Desk(on)
        dead = value(await desk.send("r", "fail"))["id"]
        behind = value(await desk.send("r", "add", {"line": "behind"}))["id"]
        assert (await desk.ended(dead))["attempts"] == 5
        assert value(await desk.ask("show", dead))["state"] == "dead"
        assert code(await desk.ask("result", dead)) == "method_failed"
        assert (await desk.ended(behind))["state"] == "success"
        assert await desk.lines("r") == ["behind"]


async def test_what_can_be_checked_is_checked_before_the_call_is_accepted() -> None:
    async with bench(Report) as on:
        desk = Desk(on)
        refusals = {
            "access_denied": await desk.send("r", "clear"),
            "unknown_method": await desk.send("r", "none"),
            "invalid_arguments": await desk.send("r", "add", {"text": "a"}),
            "malformed_request": await desk.send("r", "add", {"line": "a"}, if_match=1),
        }
        assert {name: code(reply) for name, reply in refusals.items()} == {name: name for name in refusals}
        assert "If-Match" in problem(refusals["malformed_request"]).detail
        assert code(await on.submit(Operation.SEND, key_of("None", "r"), "x", b"", timeout_s=1)) == "unknown_type"
        assert on.store.durable == []


async def test_a_readonly_method_can_be_submitted() -> None:
    async with bench(Report) as on:
        desk = Desk(on)
        counted = value(await desk.send("r", "count"))["id"]
        assert (await desk.ended(counted))["state"] == "success"
        assert (await desk.ask("result", counted)).body == b"0"


async def test_a_busy_object_accepts_a_call_immediately() -> None:
    async with bench(Report) as on:
        desk = Desk(on)
        running = on.call(Report, "busy", "add", {"line": "wait"})
        waiting = on.call(Report, "busy", "add", {"line": "b"})
        await PLACE.reached("busy")
        accepted = value(await desk.send("busy", "add", {"line": "c"}))
        assert not running.done()
        PLACE.let_go("busy")
        assert (value(await running), value(await waiting)) == (1, 2)
        assert (await desk.ended(accepted["id"]))["state"] == "success"
        assert await desk.lines("busy") == ["wait", "b", "c"]


async def test_submissions_to_an_object_that_is_being_loaded_keep_their_order() -> None:
    store = GatedStore()
    async with bench(Report, store=store) as on:
        desk = Desk(on)
        store.deferring = True
        first = on.call(Report, "r", "count")
        sent = [desk.send("r", "add", {"line": str(number)}) for number in range(5)]
        store.deferring = False
        store.answer()
        await first
        for each in sent:
            assert (await desk.ended(value(await each)["id"]))["state"] == "success"
        assert await desk.lines("r") == ["0", "1", "2", "3", "4"]


# --- idempotency ------------------------------------------------------------------------------------------------------


async def test_repetitions_with_one_key_get_the_same_bytes_and_one_call() -> None:
    async with bench(Report) as on:
        desk = Desk(on)

        def submit(line: str = "a", method: str = "add") -> Future[Reply]:
            arguments = {"line": line} if method == "add" else None
            return desk.send("r", method, arguments, idempotency_key="k")

        together = await asyncio.gather(*(submit() for _ in range(5)))
        ended = await desk.ended(value(together[0])["id"])
        later = await submit()
        await on.restart()
        after = await submit()

        assert len({reply.body for reply in (*together, later, after)}) == 1
        assert [reply.replayed for reply in (later, after)] == [True, True]
        assert ended["state"] == "success"
        assert await desk.lines("r") == ["a"]
        assert code(await submit("b")) == "idempotency_key_mismatch"
        assert code(await submit(method="count")) == "idempotency_key_mismatch"
        assert code(await on.call(Report, "r", "add", {"line": "a"}, idempotency_key="k")) == "idempotency_key_mismatch"
        other = value(await desk.send("s", "add", {"line": "a"}, idempotency_key="k"))["id"]
        assert other != ended["id"]
        await desk.ended(other)


async def test_a_key_names_the_call_as_long_as_anything_of_it_is_kept() -> None:
    clock = ManualClock()
    store = GatedStore(MemoryStore(clock=clock))
    async with bench(Report, store=store, clock=clock, idempotency_retention_s=60) as on:
        desk = Desk(on)
        day_ms = 24 * 3600 * 1000

        def submit(line: str = "a") -> Future[Reply]:
            return desk.send("r", "add", {"line": line}, idempotency_key="k", delay_ms=day_ms)

        first = value(await submit())["id"]
        clock.advance(3600)  # the kept reply of the request has expired
        repeated = await submit()
        assert (value(repeated)["id"], repeated.replayed) == (first, True)
        assert code(await submit("b")) == "idempotency_key_mismatch"
        clock.advance(24 * 3600)
        await on.restart()

        def ended() -> bool:
            clock.advance(0.01)
            return not on.node.dispatcher.outboxes.entries

        await until(ended)
        again = await submit()
        assert (value(again)["id"], value(again)["state"]) == (first, "success")
        assert await desk.lines("r") == ["a"]


# --- status -----------------------------------------------------------------------------------------------------------


async def test_a_delayed_call_waits_and_can_be_cancelled() -> None:
    async with bench(Report) as on:
        desk = Desk(on)
        late = value(await desk.send("r", "add", {"line": "late"}, delay_ms=3_600_000))
        assert late["next_attempt_at"] > late["sent_at"]
        shown = value(await desk.ask("show", late["id"]))
        assert shown["waits_for"].startswith("due in 3")
        pending = problem(await desk.ask("result", late["id"]))
        assert (pending.code, pending.retryable) == ("call_pending", True)

        waiting = desk.ask("show", late["id"], wait_ms=30_000)
        assert value(await desk.ask("cancel", late["id"]))["id"] == late["id"]
        assert value(await waiting)["state"] == "cancelled"
        assert value(await desk.ask("cancel", late["id"]))["state"] == "cancelled"
        assert code(await desk.ask("result", late["id"])) == "call_void"
        assert await desk.lines("r") == []


async def test_a_call_belongs_to_the_client_that_submitted_it() -> None:
    async with bench(Report) as on:
        desk = Desk(on)
        ann, bob = identified("ann"), identified("bob")
        late = value(await desk.send("r", "add", {"line": "a"}, delay_ms=3_600_000, caller=ann))["id"]
        for _ in range(2):
            for verb in ("show", "result", "cancel"):
                assert code(await desk.ask(verb, late, caller=bob)) == "call_not_found"
            assert value(await desk.ask("cancel", late, caller=ann))["id"] == late
            await desk.ask("show", late, caller=ann, wait_ms=30_000)


async def test_an_unknown_call_is_not_found() -> None:
    async with bench(Report) as on:
        desk = Desk(on)
        unknown = on.node.new_call_id(key_of(Report, "r"))
        for verb in ("show", "result", "cancel"):
            assert code(await desk.ask(verb, unknown)) == "call_not_found"
        assert "has to name the sender" in problem(await desk.ask("show", "pay-7")).detail
        assert code(await desk.ask("show", "pay-7", key=key_of(Report, "r"))) == "call_not_found"


@pytest.mark.parametrize(
    ("verb", "body", "complaint"),
    [
        ("show", b"{", "not JSON"),
        ("show", b"[]", "not a JSON object"),
        ("show", b"{}", "show needs 'id'"),
        ("show", b'{"id":7}', "'id' of show must be a text"),
        ("show", b'{"id":"c","wait":1}', "show takes no 'wait'; it takes id, wait_ms"),
        ("show", b'{"id":"c","wait_ms":-1}', "must be from 0"),
        ("show", b'{"id":"c","wait_ms":true}', "must be a whole number"),
        ("nothing", b"{}", "'nothing' is no verb"),
    ],
)
async def test_a_wrong_request_is_refused(verb: str, body: bytes, complaint: str) -> None:
    async with bench(Report) as on:
        reply = await on.submit(Operation.CALLS, place_of_call("default", 0), verb, body, timeout_s=PATIENCE_S)
        assert (code(reply), complaint in problem(reply).detail) == ("malformed_request", True), problem(reply).detail


async def test_requests_that_wait_are_no_calls_in_progress_and_are_answered_at_their_time() -> None:
    async with bench(Report) as on:
        desk = Desk(on)
        late = value(await desk.send("r", "add", {"line": "late"}, delay_ms=3_600_000))["id"]
        short = desk.ask("show", late, wait_ms=1)
        by_deadline = desk.ask("show", late, wait_ms=60_000, timeout_s=0.5)
        long = [desk.ask("show", late, wait_ms=60_000) for _ in range(3)]
        gone = desk.ask("show", late, wait_ms=60_000)
        gone.cancel()
        assert on.node.stats.inflight == 0
        assert value(await short)["state"] == value(await by_deadline)["state"] == "pending"
        await until(lambda: len(on.node.requests.waits) == 3)
        await on.restart()
        assert {code(await each) for each in long} == {"draining"}


async def test_ten_thousand_requests_that_wait_take_little_memory() -> None:
    async with bench(Report) as on:
        desk = Desk(on)
        late = value(await desk.send("r", "add", {"line": "late"}, delay_ms=3_600_000))["id"]
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            waiting = [desk.ask("show", late, wait_ms=300_000, timeout_s=400.0) for _ in range(10_000)]
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert len(on.node.requests.waits) == 10_000
        assert held - before < 30 * MIB
        assert code(await desk.ask("show", late, wait_ms=300_000)) == "overloaded"
        await desk.ask("cancel", late)
        assert {value(await each)["state"] for each in waiting} == {"cancelled"}


# --- operators --------------------------------------------------------------------------------------------------------


async def test_a_dead_letter_is_sent_again_with_other_arguments() -> None:
    async with bench(Report) as on:
        desk = Desk(on)
        dead = value(await desk.send("r", "fail"))["id"]
        assert code(await desk.ask("redrive", dead)) == "call_pending"
        await desk.ask("skip", dead)
        assert (await desk.ended(dead))["state"] == "dead"
        assert code(await desk.ask("redrive", dead, arguments={"no": 1})) == "invalid_arguments"
        assert code(await desk.ask("redrive", dead, delay_ms=-1)) == "malformed_request"

        again = value(await desk.ask("redrive", dead, delay_ms=3_600_000))["id"]
        assert value(await desk.ask("redrive", dead))["id"] == again
        assert placement_of_call(again) == placement_of_call(dead)
        assert value(await desk.ask("show", again))["waits_for"].startswith("due in 3")
        spent = problem(await desk.ask("result", dead))
        assert (spent.code, spent.extra) == ("call_redriven", {"redriven_as": again})
        done = value(await desk.send("r", "count"))["id"]
        await desk.ended(done)
        assert code(await desk.ask("redrive", done)) == "conflict"
        assert code(await desk.ask("redrive", on.node.new_call_id(key_of(Report, "r")))) == "call_not_found"


async def test_edited_arguments_keep_the_digits_of_their_numbers() -> None:
    async with bench(Ledger) as on:
        desk = Desk(on)
        sent = await on.submit(Operation.SEND, key_of(Ledger, "l"), "note", b'{"amount":"x1"}', timeout_s=PATIENCE_S)
        dead = value(sent)["id"]
        assert (await desk.ended(dead))["state"] == "dead"
        body = b'{"id":"%s", "arguments" : {"amount": 0.1000000000000000000001 }}' % dead.encode()
        placement = placement_of_call(dead)
        assert placement is not None
        place = place_of_call("default", placement)
        again = value(await on.submit(Operation.CALLS, place, "redrive", body, timeout_s=PATIENCE_S))["id"]
        assert (await desk.ended(again))["state"] == "success"
        assert value(await desk.ask("result", again)) == "0.1000000000000000000001"


async def test_a_paused_pair_delivers_nothing_until_it_is_resumed() -> None:
    async with bench(Report) as on:
        desk = Desk(on)
        report = {"type": "Report", "id": "r"}

        async def operate(verb: str) -> bool:
            body = orjson.dumps({"sender": report, "receiver": report})
            reply = await on.submit(Operation.CALLS, key_of(Report, "r"), verb, body, timeout_s=PATIENCE_S)
            return bool(value(reply)["paused"])

        assert await operate("pause")
        sent = value(await desk.send("r", "add", {"line": "a"}))["id"]
        assert "paused by an operator" in value(await desk.ask("retry", sent))["waits_for"]
        assert not await operate("resume")
        assert (await desk.ended(sent))["state"] == "success"


async def test_calls_are_listed_in_pages_and_ended_ones_forgotten() -> None:
    async with bench(Report) as on:
        desk = Desk(on)

        async def operate(verb: str, **body: Any) -> dict[str, Any]:
            place = place_of_call("default", 0)
            reply = await on.submit(Operation.CALLS, place, verb, orjson.dumps(body), timeout_s=PATIENCE_S)
            found: dict[str, Any] = value(reply)
            return found

        async def listed(**body: Any) -> list[str]:
            found, cursor = list[str](), None
            while True:
                page = await operate("list", limit=2, **body, **({"cursor": cursor} if cursor else {}))
                assert len(page["items"]) <= 2
                found += [each["id"] for each in page["items"]]
                cursor = page["cursor"]
                if cursor is None:
                    return found

        late = [value(await desk.send("r", "add", {"line": "a"}, delay_ms=3_600_000))["id"] for _ in range(3)]
        done = [value(await desk.send(name, "count"))["id"] for name in "sst"]
        for each in done:
            await desk.ended(each)
        full = value(await desk.send("r", "add", {"line": "too much"}))["id"]
        await desk.ended(full)

        assert (await listed())[:3] == late
        assert sorted(await listed()) == sorted([*late, *done, full])
        assert await listed(state="pending") == late
        assert await listed(state="running") == []
        assert await listed(state="failed") == [full]
        assert sorted(await listed(sender={"type": "Report", "id": "s"})) == sorted(done[:2])
        assert sorted(await listed(receiver={"type": "Report", "id": "r"})) == sorted([*late, full])
        assert await listed(type="None") == await listed(older_than_ms=3_600_000) == []
        [shown] = (await operate("list", state="pending", limit=1))["items"]
        assert shown["waits_for"].startswith("due in 3")

        assert await operate("forget", dry_run=True) == {"forgotten": 4}
        assert await operate("forget", dry_run=True, older_than_ms=3_600_000) == {"forgotten": 0}
        assert await operate("forget", state="success", limit=2) == {"forgotten": 2}
        assert await operate("forget", state="success") == {"forgotten": 1}
        assert sorted(await listed()) == sorted([*late, full])
        assert code(await desk.ask("show", done[0])) == "call_not_found"
        for wrong in ({"state": "pending"}, {"pending": True}, {"limit": 10_001}):
            place = place_of_call("default", 0)
            reply = await on.submit(Operation.CALLS, place, "forget", orjson.dumps(wrong), timeout_s=PATIENCE_S)
            assert code(reply) == "malformed_request"


async def test_a_call_that_was_accepted_survives_a_restart(tmp_path: Path) -> None:
    def store() -> GatedStore:
        return GatedStore(WalStore(tmp_path))

    async with bench(Report, store=store()) as on:
        late = value(await Desk(on).send("r", "add", {"line": "a"}, delay_ms=1_000))["id"]
    async with bench(Report, store=store()) as on:
        desk = Desk(on)
        assert (await desk.ended(late))["state"] == "success"
        assert await desk.lines("r") == ["a"]
