"""Passivation: when idle, when a bound is exceeded, when the node stops; and activation with the state unchanged."""

import asyncio
from typing import Any

import pytest

from goverse import Object, call
from goverse.model.records import StoredObject
from tests.nodes import PATIENCE_S, Bench, Meeting, bench, code, key_of, settle, until, value

PLACE = Meeting()


class Note(Object):
    text: str = ""
    _warm: int = 0

    @call
    def write(self, text: str) -> int:
        self.text = text
        self._warm += 1
        return self._warm

    @call(readonly=True)
    def read(self) -> str:
        return self.text

    @call
    async def hold(self) -> str:
        await PLACE.wait("hold")
        self.text += "!"
        return self.text

    @call
    async def hold_on_for_good(self) -> str:
        self.text = "half"
        await PLACE.wait_stubbornly("for good")
        return "released"

    @call
    async def hand_on(self, target: str) -> Any:
        await PLACE.wait("handing on")
        return await self.ref(Note, target).hold()


class Brief(Note, idle_timeout_s=0.01): ...


class Leaving(Object):
    """Changes its state in ``on_deactivate``."""

    text: str = ""
    left: int = 0

    def on_deactivate(self) -> None:
        self.left += 1

    @call
    def write(self, text: str) -> int:
        self.text = text
        return self.left


def resident_ids(b: Bench) -> list[str]:
    return sorted(activation.key.id for activation in b.node.activations)


@pytest.mark.requirement("OBJ-5")
async def test_an_idle_object_leaves_memory_and_is_loaded_with_its_state() -> None:
    async with bench(Note, Brief, idle_timeout_s=3600.0) as b:
        await b.call(Brief, "a", "write", {"text": "one"})
        await b.call(Note, "b", "write", {"text": "two"})
        await until(lambda: not b.resident(Brief, "a"))

        assert resident_ids(b) == ["b"]
        assert value(await b.call(Brief, "a", "read")) == "one"
        assert value(await b.call(Brief, "a", "write", {"text": "three"})) == 1
        assert value(await b.call(Note, "b", "write", {"text": "three"})) == 2


@pytest.mark.requirement("OBJ-5")
async def test_a_busy_object_is_not_idle(meeting: Meeting) -> None:
    async with bench(Brief) as b:
        holding = b.call(Brief, "a", "hold")
        await b.call(Brief, "b", "write", {"text": "x"})
        await until(lambda: not b.resident(Brief, "b"))
        assert resident_ids(b) == ["a"]
        meeting.let_go("hold")
        assert value(await holding) == "!"


@pytest.mark.requirement("OBJ-5")
async def test_the_least_recently_used_leave_first_when_there_are_too_many() -> None:
    async with bench(Note, activations_max=3) as b:
        for object_id in ("a", "b", "c", "a", "d"):
            await b.call(Note, object_id, "write", {"text": object_id})
        assert resident_ids(b) == ["a", "c", "d"]
        await b.call(Note, "e", "read")
        assert resident_ids(b) == ["a", "d", "e"]
        assert value(await b.call(Note, "b", "read")) == "b"


@pytest.mark.requirement("OBJ-5")
async def test_the_least_recently_used_leave_first_over_types_with_other_idle_times() -> None:
    class Patient(Note, idle_timeout_s=7200.0): ...

    async with bench(Note, Patient, activations_max=2) as b:
        await b.call(Patient, "a", "read")
        await b.call(Note, "b", "read")
        await b.call(Note, "c", "read")
        assert resident_ids(b) == ["b", "c"]
        await b.call(Patient, "d", "read")
        await b.call(Note, "e", "read")
        assert resident_ids(b) == ["d", "e"]


@pytest.mark.requirement("OBJ-5")
async def test_large_states_make_room_for_themselves() -> None:
    async with bench(Note, activations_bytes_max=200_000) as b:
        for number in range(20):
            await b.call(Note, f"{number:02}", "write", {"text": "x" * 1_000})
        assert len(b.node.activations) > 10
        await b.call(Note, "large", "write", {"text": "x" * 20_000})

        assert b.node.activations.bytes <= 200_000
        assert "large" in resident_ids(b)
        assert "19" in resident_ids(b)
        assert "00" not in resident_ids(b)
        await b.passivate()
        assert b.node.activations.bytes == 0
        assert value(await b.call(Note, "00", "read")) == "x" * 1_000


@pytest.mark.requirement("OBJ-5")
async def test_many_busy_objects_do_not_lift_the_bound(meeting: Meeting) -> None:
    async with bench(Note, activations_max=100) as b:
        holding = [b.call(Note, f"busy-{number}", "hold") for number in range(90)]
        for number in range(500):
            await b.call(Note, f"{number:03}", "write", {"text": "x"})
        assert len(b.node.activations) <= 100
        assert "499" in resident_ids(b)
        meeting.let_go("hold")
        assert {value(await call) for call in holding} == {"!"}


@pytest.mark.requirement("OBJ-5")
async def test_busy_objects_are_spared_and_others_leave_in_their_place(meeting: Meeting) -> None:
    async with bench(Note, activations_max=2) as b:
        holding = b.call(Note, "a", "hold")
        b.store.hold()
        committing = b.call(Note, "b", "write", {"text": "x"})
        await until(lambda: b.store.arrived == 1)
        await b.call(Note, "c", "read")
        await b.call(Note, "d", "read")
        assert resident_ids(b) == ["a", "b", "d"]

        b.store.release()
        meeting.let_go("hold")
        assert (value(await committing), value(await holding)) == (1, "!")
        await b.call(Note, "e", "read")
        assert len(b.node.activations) <= 2


@pytest.mark.requirement("OBJ-5", "OBJ-4")
async def test_making_room_for_one_by_many_whose_last_act_changes_them() -> None:
    async with bench(Leaving, Note, activations_bytes_max=6_000_000, hook_timeout_s=5.0) as b:
        for number in range(2_000):
            b.call(Leaving, str(number), "write", {"text": "x"})
        await until(lambda: b.at_rest)
        assert len(b.node.activations) == 2_000

        await b.call(Note, "large", "write", {"text": "x" * 650_000})
        await until(lambda: not b.node.activations.leaving)
        assert b.node.activations.bytes <= 6_000_000
        assert len(b.node.activations) < 1_000
        assert value(await b.call(Leaving, "0", "write", {"text": "y"})) == 1


@pytest.mark.requirement("OBJ-5", "DUR-1")
async def test_a_stop_lets_calls_end_and_refuses_new_ones(meeting: Meeting) -> None:
    async with bench(Note, Leaving) as b:
        await b.call(Leaving, "x", "write", {"text": "x"})
        outer = b.call(Note, "a", "hand_on", {"target": "b"})
        await meeting.reached("handing on")
        queued = b.call(Note, "a", "read")
        assert b.node.readiness().ready

        stopping = asyncio.ensure_future(b.node.stop(10.0))
        await settle()
        assert code(await b.call(Note, "c", "read")) == "draining"
        readiness = b.node.readiness()
        assert not readiness.ready
        assert readiness.reasons == ("the node is shutting down",)
        meeting.let_go("handing on")
        await meeting.reached("hold")
        assert not stopping.done()
        meeting.let_go("hold")
        await stopping
        assert value(await outer) == "!"
        assert value(await queued) == ""
        assert len(b.node.activations) == 0
        await b.restart()
        assert value(await b.call(Leaving, "x", "write", {"text": "y"})) == 1


@pytest.mark.requirement("OBJ-5", "GATE-6")
async def test_a_stop_ends_calls_that_take_too_long(meeting: Meeting) -> None:
    async with bench(Note, cancel_grace_s=0.1) as b:
        await b.call(Note, "a", "write", {"text": "one"})
        running = b.call(Note, "a", "hold")
        queued = b.call(Note, "a", "read")
        stubborn = b.call(Note, "b", "hold_on_for_good")
        follower = b.call(Note, "a", "hold", idempotency_key="k")
        last = b.call(Note, "a", "hold", idempotency_key="k")
        await meeting.reached("hold")
        await meeting.reached("for good")
        await b.node.stop(0.05)

        assert [code(await each) for each in (running, queued, stubborn, follower, last)] == ["draining"] * 5
        assert b.node.stats.inflight == 0
        meeting.let_go("for good")
        await settle()
        await b.restart()
        assert value(await b.call(Note, "a", "read")) == "one"
        assert code(await b.read(Note, "b")) == "object_not_found"


@pytest.mark.requirement("OBJ-4", "OBJ-5", "OBJ-9")
async def test_a_stop_does_not_commit_what_a_stubborn_turn_left_half_way(
    meeting: Meeting, caplog: pytest.LogCaptureFixture
) -> None:
    class Stubborn(Object):
        text: str = "whole"

        def on_deactivate(self) -> None:
            PLACE.note("deactivated")

        @call
        def begin(self) -> None: ...

        @call
        async def hold(self) -> None:
            self.text = "half"
            await PLACE.wait_stubbornly("hold")

    async with bench(Stubborn, cancel_grace_s=10.0) as b:
        await b.call(Stubborn, "a", "begin")
        b.call(Stubborn, "a", "hold")
        await meeting.reached("hold")
        activation = b.node.activations.get(key_of(Stubborn, "a"))
        assert activation is not None
        activation.close()
        await until(lambda: not b.node.activations.leaving)
        assert "deactivated" not in meeting.happened
        assert value(await b.read(Stubborn, "a")) == {"text": "whole"}
        await until(lambda: "swallowed" in meeting.happened)
        meeting.let_go("hold")


@pytest.mark.requirement("DUR-1", "GATE-6")
async def test_a_stop_does_not_wait_for_a_store_that_does_not_answer(caplog: pytest.LogCaptureFixture) -> None:
    async with bench(Note, hook_timeout_s=0.05, cancel_grace_s=0.05) as b:
        b.store.hold()
        calls = [b.call(Note, object_id, "write", {"text": "x"}) for object_id in "abc"]
        await until(lambda: b.store.arrived == 1)
        calls += [b.call(Note, object_id, "write", {"text": "x"}) for object_id in "abc"]
        b.store.deferring = True
        loading = b.call(Note, "d", "write", {"text": "x"})
        await b.node.stop(0.05)

        assert [code(await each) for each in calls] == ["unavailable"] * 6
        assert code(await loading) == "draining"
        assert b.node.stats.inflight == 0
        b.store.deferring = False
        b.store.answer()
        b.store.release()
        await settle()
        assert b.store.durable == []


@pytest.mark.requirement("OBJ-5")
async def test_a_node_that_is_stopped_twice_or_asked_afterwards_says_so() -> None:
    async with bench(Note) as b:
        await b.call(Note, "a", "write", {"text": "x"})
        await b.node.stop(1.0)
        await b.node.stop(1.0)
        assert code(await b.call(Note, "a", "read")) == "draining"
        assert code(await b.read(Note, "a")) == "draining"


class Statistics(Object):
    total: int = 0
    _buffered: int = 0

    @call
    async def add(self) -> None:
        self._buffered += 1

    def on_deactivate(self) -> None:
        self.total += self._buffered
        self._buffered = 0


class Reporter(Object):
    runs: int = 0

    @call
    def work(self) -> None:
        self.runs += 1

    async def on_deactivate(self) -> None:
        await self.ref(Statistics, "s").add()


@pytest.mark.requirement("OBJ-4")
async def test_an_object_that_a_hook_activates_during_a_shutdown_is_passivated_too() -> None:
    async with bench(Statistics, Reporter) as b:
        for number in range(3):
            await b.call(Reporter, f"r{number}", "work")
        await b.call(Statistics, "s", "add")
        await b.node.stop(PATIENCE_S)
        assert not len(b.node.activations)
        stored = b.store.inner.load(key_of(Statistics, "s"))
        assert isinstance(stored, StoredObject)
        assert stored.state == b'{"total":4}'
