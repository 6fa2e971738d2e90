"""Output gates: a reply waits for the commit that it depends on, and a failed commit undoes the turns after it."""

import asyncio

import orjson
import pytest

from goverse import Object, call
from goverse.errors import GoverseError, StoreFailed, Unavailable
from goverse.model.records import CommitRecord
from tests.nodes import Meeting, bench, code, key_of, problem, settle, until, value

PLACE = Meeting()


class Tally(Object):
    value: int = 0

    @call
    async def add(self, by: int = 1) -> int:
        self.value += by
        return self.value

    @call
    async def add_here_then_there(self, other: str) -> int:
        self.value += 1
        return await self.ref(Tally, other).add()

    @call
    async def add_there(self, other: str) -> int:
        PLACE.note("calling")
        return await self.ref(Tally, other).add()

    @call
    async def add_there_whatever_comes(self, other: str) -> str:
        await PLACE.wait("stubborn")
        try:
            await asyncio.shield(self.ref(Tally, other).add())
        except GoverseError as error:
            PLACE.note(f"error: {error.detail}")
        except asyncio.CancelledError:
            PLACE.note("cancelled")
            await self._add_after_all(other)
        return "done"

    async def _add_after_all(self, other: str) -> None:
        try:
            await self.ref(Tally, other).add()
        except GoverseError as error:
            PLACE.note(f"error: {error.detail}")

    @call(readonly=True)
    async def look(self) -> int:
        return self.value

    @call
    def fail(self) -> None:
        raise ValueError


@pytest.mark.requirement("DUR-1")
async def test_no_reply_leaves_before_its_commit() -> None:
    async with bench(Tally) as b:
        await b.call(Tally, "a", "add")
        b.store.hold()
        order: list[str] = []
        calls = {
            "first": b.call(Tally, "a", "add"),
            "second": b.call(Tally, "a", "add"),
            "reader": b.call(Tally, "a", "look"),
            "failing": b.call(Tally, "a", "fail"),
            "refused": b.call(Tally, "a", "add", {"by": "x"}),
            "mismatch": b.call(Tally, "a", "add", if_match=9),
            "third": b.call(Tally, "a", "add"),
        }
        for name, future in calls.items():
            future.add_done_callback(lambda _, name=name: order.append(name))  # type: ignore[misc]
        other = b.call(Tally, "b", "add")
        await until(lambda: b.store.arrived == 2)
        await settle()
        assert order == []
        assert not other.done()

        b.store.release()
        replies = {name: await future for name, future in calls.items()}
        await other
        await settle()
        assert [value(replies[name]) for name in ("first", "second", "third", "reader")] == [2, 3, 4, 3]
        assert [name for name in order if name not in ("failing", "refused", "mismatch")] == [
            "first",
            "second",
            "reader",
            "third",
        ]
        assert problem(replies["mismatch"]).extra == {"version": 3}
        assert replies["reader"].commit_seq >= replies["second"].commit_seq > replies["first"].commit_seq


@pytest.mark.requirement("DUR-1")
async def test_turns_do_not_wait_for_commits_and_share_them() -> None:
    async with bench(Tally) as b:
        b.store.hold()
        calls = [b.call(Tally, "a", "add")]
        await until(lambda: b.store.arrived == 1)
        calls += [b.call(Tally, object_id, "add") for object_id in "aabbcc"]
        await settle()
        assert b.node.activations.get(key_of(Tally, "a")).state.instance.version == 3  # type: ignore[union-attr]
        b.store.release()
        assert [value(await each) for each in calls] == [1, 2, 3, 1, 2, 1, 2]
        assert b.node.stats.commit_batches == 2
        assert [seq for seq, _ in b.store.durable] == sorted(seq for seq, _ in b.store.durable)


@pytest.mark.requirement("DUR-1", "OBJ-8")
async def test_no_call_leaves_before_the_commits_that_led_to_it(meeting: Meeting) -> None:
    async with bench(Tally) as b:
        b.store.hold()
        b.call(Tally, "a", "add")
        nested = b.call(Tally, "a", "add_there", {"other": "b"})
        await until(lambda: b.store.arrived == 1)
        await until(lambda: meeting.happened == ["calling"])
        await settle()
        assert not b.resident(Tally, "b")

        b.store.release()
        assert value(await nested) == 1


@pytest.mark.requirement("DUR-1", "OBJ-9")
@pytest.mark.parametrize(
    "error", [Unavailable("the disk is full"), StoreFailed("fsync failed"), OSError("lost"), ValueError("broken")]
)
async def test_a_failed_commit_fails_all_behind_it_and_the_object_goes_on(
    error: Exception, meeting: Meeting, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench(Tally) as b:
        await b.call(Tally, "a", "add")
        b.store.hold()
        b.store.fail(error)
        failing = [b.call(Tally, "a", "add")]
        await until(lambda: b.store.arrived == 2)
        failing += [
            b.call(Tally, "a", "add", idempotency_key="k"),
            b.call(Tally, "a", "look"),
            b.call(Tally, "a", "add_there", {"other": "b"}),
        ]
        await until(lambda: meeting.happened == ["calling"])
        queued = b.call(Tally, "a", "add")
        b.store.release()

        replies = [await each for each in failing]
        assert [code(reply) for reply in replies] == ["unavailable"] * 4
        assert all(problem(reply).retryable for reply in replies)
        assert value(await queued) == 2
        assert not b.resident(Tally, "b")
        assert value(await b.call(Tally, "a", "add", idempotency_key="k")) == 3
        assert [record.version for _, record in b.store.durable] == [1, 2, 3]


@pytest.mark.requirement("DUR-1")
async def test_a_record_that_is_refused_fails_alone_with_its_object(caplog: pytest.LogCaptureFixture) -> None:
    def of_a(record: CommitRecord) -> bool:
        return record.key.id == "a"

    async with bench(Tally) as b:
        b.store.hold()
        first = b.call(Tally, "c", "add")
        await until(lambda: b.store.arrived == 1)
        batch = {object_id: b.call(Tally, object_id, "add") for object_id in "ab"}
        b.store.refuse(lambda record: False)
        b.store.refuse(of_a)
        await settle()
        b.store.release()

        assert value(await first) == 1
        assert code(await batch["a"]) == "unavailable"
        assert value(await batch["b"]) == 1
        assert value(await b.call(Tally, "a", "add")) == 1


@pytest.mark.requirement("DUR-1")
async def test_an_object_that_was_written_elsewhere_is_reloaded() -> None:
    async with bench(Tally) as b:
        await b.call(Tally, "a", "add")
        record = CommitRecord(key_of(Tally, "a"), 1, 2, orjson.dumps({"value": 40}), 1, 0)
        await b.store.inner.commit([record])

        assert code(await b.call(Tally, "a", "add")) == "unavailable"
        reply = await b.call(Tally, "a", "add")
        assert (value(reply), reply.version) == (41, 3)


@pytest.mark.requirement("DUR-1", "OBJ-9")
async def test_a_turn_whose_object_was_reloaded_cannot_call_other_objects(
    meeting: Meeting, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench(Tally) as b:
        b.store.hold()
        b.store.fail(Unavailable("no"))
        b.call(Tally, "a", "add")
        stubborn = b.call(Tally, "a", "add_there_whatever_comes", {"other": "b"})
        await meeting.reached("stubborn")
        meeting.let_go("stubborn")
        await settle()
        b.store.release()

        assert code(await stubborn) == "unavailable"
        await until(lambda: len(meeting.happened) > 1)
        await settle()
        assert not b.resident(Tally, "b")
        assert any("error" in each for each in meeting.happened)


@pytest.mark.requirement("DUR-1", "OBJ-8")
async def test_a_turn_with_changes_of_its_own_may_call_others() -> None:
    async with bench(Tally) as b:
        assert value(await b.call(Tally, "a", "add_here_then_there", {"other": "b"})) == 1
        assert [record.key.id for _, record in b.store.durable] == ["b", "a"]


@pytest.mark.requirement("DUR-1")
async def test_a_store_that_breaks_the_port_does_not_stop_the_commits(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench(Tally) as b:

        async def nothing(batch: object) -> list[int]:
            return []

        async def cancelled(batch: object) -> list[int]:
            raise asyncio.CancelledError

        for broken in (nothing, cancelled):
            with monkeypatch.context() as patch:
                patch.setattr(b.store, "commit", broken)
                assert code(await b.call(Tally, "a", "add")) == "unavailable"
        assert value(await b.call(Tally, "a", "add")) == 1


@pytest.mark.requirement("DUR-1")
async def test_a_listener_that_breaks_does_not_stop_the_commits(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench(Tally) as b:
        await b.call(Tally, "a", "add")
        b.store.hold()
        b.call(Tally, "a", "add")
        reader = b.call(Tally, "a", "look")
        activation = b.node.activations.get(key_of(Tally, "a"))
        assert activation is not None
        await until(lambda: activation.gate.tail is not None)
        assert activation.gate.tail is not None

        def broken(commit_seq: int, error: GoverseError | None) -> None:
            raise RuntimeError("a listener")

        activation.gate.tail.wait(broken)
        late = b.call(Tally, "a", "look")
        b.store.release()
        assert [value(await reader), value(await late)] == [2, 2]
        assert value(await b.call(Tally, "a", "add")) == 3
        assert "error in a waiter for a commit" in caplog.text


@pytest.mark.requirement("DUR-1")
async def test_a_batch_that_may_wait_takes_later_records_too() -> None:
    async with bench(Tally, batch_max_ms=60_000, batch_max_bytes=2_000) as b:
        calls = [b.call(Tally, f"t{number}", "add") for number in range(3)]
        await settle()
        assert not any(call.done() for call in calls)
        while not calls[0].done():  # the batch is full before its time has passed
            calls.append(b.call(Tally, f"t{len(calls)}", "add"))
            await settle()
        assert b.node.stats.commit_batches == 1
        assert b.node.stats.commit_records > 3
        b.node.pipeline.hurry()
        assert [code(await call) for call in calls] == [""] * len(calls)


@pytest.mark.requirement("DUR-1")
async def test_a_lone_call_does_not_wait_for_others() -> None:
    async with bench(Tally) as b:
        for number in range(3):
            assert value(await b.call(Tally, "t", "add")) == number + 1
        assert b.node.stats.commit_batches == 3


@pytest.mark.requirement("DUR-1", "CLU-10")
async def test_a_node_whose_store_hangs_says_that_it_is_not_ready() -> None:
    async with bench(Tally, commit_stall_s=0.05) as b:
        b.store.hold()
        held = b.call(Tally, "t", "add")
        await until(lambda: not b.node.readiness().ready)
        (reason,) = b.node.readiness().reasons
        assert reason.startswith("the store has not answered a commit for ")
        b.store.release()
        assert value(await held) == 1
        assert b.node.readiness().ready


async def test_a_commit_after_all_tasks_were_cancelled_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    async with bench(Tally) as b:
        pipeline = next(task for task in asyncio.all_tasks() if task.get_name() == "goverse-commit")
        pipeline.cancel()
        await asyncio.wait({pipeline})

        assert code(await b.call(Tally, "t", "add")) == "unavailable"

    assert "InvalidState" not in caplog.text
