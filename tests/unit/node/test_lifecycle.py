"""Creation, hooks and deletion of objects: versions, and the effect of a failing hook."""

import asyncio
from functools import partial
from typing import Any

import orjson
import pytest

from goverse import BusinessError, Object, call
from goverse.model.frames import MUST_EXIST
from tests.loop_time import LoopTime
from tests.nodes import Meeting, bench, code, problem, until, value

PLACE = Meeting()


class NotToday(BusinessError):
    """Come back tomorrow."""

    code = "not_today"


class Plain(Object, delete="anyone"):
    value: int = 0

    @call
    def add(self, by: int = 1) -> int:
        self.value += by
        return self.value

    @call
    def nothing(self) -> None: ...

    @call(readonly=True)
    def look(self) -> int:
        return self.value


class Explicit(Object, create_on_call=False):
    owner: str
    value: int = 0

    def on_create(self, owner: str, value: int = 0) -> None:
        if owner == "nobody":
            raise NotToday("an owner is required", owner=owner)
        if owner == "broken":
            raise ValueError(owner)
        self.owner, self.value = owner, value

    @call
    def look(self) -> str:
        return self.owner


class Hooked(Object, reentrant=True, delete="anyone"):
    """Every hook acts as MOOD says."""

    seen: list[str] = []
    _warm: bool = False

    async def on_create(self) -> None:
        await self._act("on_create")

    async def on_activate(self) -> None:
        await self._act("on_activate")
        self._warm = True

    async def on_deactivate(self) -> None:
        await self._act("on_deactivate")

    async def on_delete(self) -> None:
        await self._act("on_delete")

    async def _act(self, hook: str) -> None:
        mood = MOOD.get(hook, "")
        PLACE.note(hook)
        if mood not in ("still", "come back"):
            self.seen.append(hook)
        if mood == "raise":
            raise ValueError(hook)
        if mood == "refuse":
            raise NotToday(hook)
        if mood == "hang":
            await asyncio.get_running_loop().create_future()
        if mood == "swallow":
            await PLACE.wait_stubbornly("stubborn")
        if mood == "exit":
            raise SystemExit(1)
        if mood == "break":
            self.seen = 3  # type: ignore[assignment]
        if mood == "come back":
            await self.ref(Returning, "r").to(self.id)

    @call
    async def poke(self) -> list[str]:
        self.seen.append("poke")
        return self.seen

    @call(readonly=True)
    async def look(self) -> list[Any]:
        return [*self.seen, self._warm]


class Returning(Object):
    @call
    async def to(self, hooked: str) -> Any:
        return await self.ref(Hooked, hooked).poke()


MOOD: dict[str, str] = {}
HOOK_S = 3.0  # less than a call's limit; it passes when a test advances the loop's time


@pytest.fixture(autouse=True)
def fresh_mood() -> None:
    MOOD.clear()


@pytest.mark.requirement("OBJ-3")
async def test_the_first_call_that_writes_creates_the_object() -> None:
    async with bench(Plain) as b:
        looked = await b.call(Plain, "a", "look")
        assert (value(looked), looked.version) == (0, 0)
        assert code(await b.read(Plain, "a")) == "object_not_found"

        assert (await b.call(Plain, "a", "nothing")).version == 1
        assert (await b.call(Plain, "a", "nothing")).version == 1
        assert orjson.loads((await b.read(Plain, "a")).body) == {"value": 0}


@pytest.mark.requirement("OBJ-3")
async def test_an_object_is_created_once_with_its_arguments() -> None:
    async with bench(Explicit) as b:
        assert code(await b.call(Explicit, "a", "look")) == "object_not_found"
        assert code(await b.create(Explicit, "a")) == "invalid_arguments"

        created = await b.create(Explicit, "a", arguments={"owner": "ann"})
        assert (created.created, created.version) == (True, 1)
        assert value(await b.read(Explicit, "a")) == {"owner": "ann", "value": 0}
        again = await b.create(Explicit, "a", arguments={"owner": "ann"})
        assert (again.created, again.version) == (False, 1)
        exclusive = await b.create(Explicit, "a", arguments={"owner": "bob"}, if_match=0)
        assert code(exclusive) == "object_exists"
        assert problem(exclusive).extra == {"object": "Explicit/a", "version": 1}
        assert value(await b.call(Explicit, "a", "look")) == "ann"


@pytest.mark.requirement("OBJ-3", "OBJ-4", "DUR-2")
async def test_a_creation_that_fails_creates_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with bench(Explicit) as b:
        refused = await b.create(Explicit, "a", arguments={"owner": "nobody"}, idempotency_key="k")
        assert (code(refused), problem(refused).extra) == ("not_today", {"owner": "nobody"})
        again = await b.create(Explicit, "a", arguments={"owner": "nobody"}, idempotency_key="k")
        assert again.replayed
        assert again.problem == refused.problem
        assert code(await b.create(Explicit, "a", arguments={"owner": "broken"})) == "method_failed"
        assert code(await b.read(Explicit, "a")) == "object_not_found"
        assert (await b.create(Explicit, "a", arguments={"owner": "ann"})).version == 1


@pytest.mark.requirement("OBJ-3")
async def test_a_deleted_object_starts_again_at_a_higher_version() -> None:
    async with bench(Plain) as b:
        await b.call(Plain, "a", "add", {"by": 5})
        assert code(await b.delete(Plain, "b")) == "object_not_found"

        deleted = await b.delete(Plain, "a")
        assert (code(deleted), deleted.version) == ("", 2)
        assert code(await b.read(Plain, "a")) == "object_not_found"
        assert code(await b.delete(Plain, "a")) == "object_not_found"
        await b.passivate()
        assert code(await b.delete(Plain, "a")) == "object_not_found"

        fresh = await b.call(Plain, "a", "add")
        assert (value(fresh), fresh.version) == (1, 3)


@pytest.mark.requirement("OBJ-3")
async def test_an_object_that_is_not_in_memory_can_be_deleted() -> None:
    async with bench(Plain) as b:
        await b.call(Plain, "a", "add")
        await b.passivate()
        assert (await b.delete(Plain, "a")).version == 2
        await b.restart()
        assert (await b.call(Plain, "a", "add")).version == 3


@pytest.mark.requirement("OBJ-3")
async def test_conditions_name_the_version_that_must_be() -> None:
    async with bench(Plain, Hooked) as b:
        assert code(await b.call(Plain, "a", "add", if_match=1)) == "version_mismatch"
        assert code(await b.call(Plain, "a", "add", if_match=MUST_EXIST)) == "version_mismatch"
        assert value(await b.call(Plain, "a", "add", if_match=0)) == 1
        late = await b.call(Plain, "a", "add", if_match=0)
        assert (code(late), problem(late).extra) == ("version_mismatch", {"version": 1})
        assert value(await b.call(Plain, "a", "add", if_match=1)) == 2
        assert value(await b.call(Plain, "a", "add", if_match=MUST_EXIST)) == 3
        assert code(await b.create(Plain, "a", if_match=2)) == "version_mismatch"
        assert (await b.create(Plain, "a", if_match=3)).version == 3
        assert code(await b.create(Plain, "new", if_match=3)) == "version_mismatch"
        assert code(await b.delete(Plain, "a", if_match=2)) == "version_mismatch"
        assert (await b.delete(Plain, "a", if_match=3)).version == 4


@pytest.mark.requirement("OBJ-3")
async def test_a_call_that_wants_no_object_there_may_create_it_by_its_hook() -> None:
    class Opened(Plain):
        def on_create(self) -> None:
            self.value = 100

    async with bench(Opened) as b:
        assert value(await b.call(Opened, "a", "add", if_match=0)) == 101
        assert code(await b.call(Opened, "a", "add", if_match=0)) == "version_mismatch"
        assert value(await b.call(Opened, "a", "add", if_match=2)) == 102


@pytest.mark.requirement("OBJ-3")
async def test_a_read_may_ask_for_a_version() -> None:
    async with bench(Plain) as b:
        await b.call(Plain, "a", "add")
        for wanted in (None, 1, MUST_EXIST):
            assert value(await b.read(Plain, "a", if_match=wanted)) == {"value": 1}
        refused = await b.read(Plain, "a", if_match=2)
        assert (code(refused), refused.version) == ("version_mismatch", 1)


@pytest.mark.requirement("OBJ-3", "OBJ-4")
async def test_a_condition_is_looked_at_before_a_hook_creates_the_object(meeting: Meeting) -> None:
    async with bench(Hooked) as b:
        assert code(await b.call(Hooked, "a", "poke", if_match=7)) == "version_mismatch"
        assert meeting.happened == []
        assert code(await b.read(Hooked, "a")) == "object_not_found"


@pytest.mark.requirement("OBJ-4")
async def test_hooks_run_in_their_turn(meeting: Meeting) -> None:
    async with bench(Hooked) as b:
        reply = await b.call(Hooked, "a", "poke")
        assert (value(reply), reply.version) == (["on_create", "on_activate", "poke"], 3)

        await b.passivate()
        assert not b.resident(Hooked, "a")
        assert value(await b.call(Hooked, "a", "look"))[3:] == ["on_deactivate", "on_activate", True]

        assert code(await b.delete(Hooked, "a")) == ""
        await b.passivate()
        assert meeting.happened == ["on_create", "on_activate", "on_deactivate", "on_activate", "on_delete"]
        fresh = await b.call(Hooked, "a", "poke")
        assert value(fresh) == ["on_create", "on_activate", "poke"]


@pytest.mark.requirement("OBJ-4", "OBJ-9", "DUR-2")
@pytest.mark.parametrize("mood", ["raise", "refuse", "exit", "break", "hang", "come back"])
@pytest.mark.parametrize("hook", ["on_create", "on_activate", "on_delete"])
async def test_a_hook_that_fails_fails_the_call_and_changes_nothing(
    hook: str, mood: str, meeting: Meeting, loop_time: LoopTime, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench(Hooked, Returning, hook_timeout_s=HOOK_S, cancel_grace_s=HOOK_S) as b:
        if hook == "on_delete":
            await b.call(Hooked, "a", "poke")
        MOOD[hook] = mood
        before = await b.read(Hooked, "a")

        ask = b.delete if hook == "on_delete" else partial(b.call, method="poke")
        asked = ask(Hooked, "a", idempotency_key="k")
        if mood == "hang":
            await until(lambda: hook in meeting.happened)
            await loop_time.advance(HOOK_S)
        failed = await asked

        if (hook, mood) == ("on_delete", "break"):
            assert code(failed) == ""  # the state is deleted with the object
            return
        expected = {"hang": "timeout", "refuse": "not_today", "come back": "deadlock"}.get(mood, "method_failed")
        assert code(failed) == expected
        after = await b.read(Hooked, "a")
        if hook == "on_activate":
            assert value(after) == {"seen": ["on_create"]}
        else:
            assert (after.body, after.version) == (before.body, before.version)
        MOOD.clear()
        again = await ask(Hooked, "a", idempotency_key="k")
        assert (code(again), again.replayed) == (("not_today", True) if mood == "refuse" else ("", False))


@pytest.mark.requirement("OBJ-4", "OBJ-5")
@pytest.mark.parametrize("mood", ["raise", "refuse", "exit", "break", "hang", "come back", "swallow"])
async def test_an_object_leaves_memory_whatever_on_deactivate_does(
    mood: str, meeting: Meeting, loop_time: LoopTime, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench(Hooked, Returning, hook_timeout_s=HOOK_S, cancel_grace_s=HOOK_S) as b:
        await b.call(Hooked, "a", "poke")
        before = await b.read(Hooked, "a")
        MOOD["on_deactivate"] = mood
        leaving = asyncio.ensure_future(b.passivate())
        if mood in ("hang", "swallow"):
            await until(lambda: "on_deactivate" in meeting.happened)
            await loop_time.advance(HOOK_S)
            await loop_time.advance(HOOK_S)  # the grace period of a hook that ignores its cancellation
        await leaving

        assert not b.resident(Hooked, "a")
        after = await b.read(Hooked, "a")
        assert (after.body, after.version) == (before.body, before.version)
        if mood == "swallow":
            meeting.let_go("stubborn")
        MOOD.clear()
        assert value(await b.call(Hooked, "a", "poke"))[-2:] == ["on_activate", "poke"]


@pytest.mark.requirement("OBJ-4", "OBJ-5")
async def test_a_call_that_meets_an_object_in_passivation_starts_again(meeting: Meeting, loop_time: LoopTime) -> None:
    async with bench(Hooked, hook_timeout_s=HOOK_S) as b:
        await b.call(Hooked, "a", "poke")
        MOOD["on_deactivate"] = "hang"
        leaving = asyncio.ensure_future(b.passivate())
        await until(lambda: "on_deactivate" in meeting.happened)
        calls = [b.call(Hooked, "a", "poke") for _ in range(3)]
        await loop_time.advance(HOOK_S)

        replies = [await each for each in calls]
        await leaving
        assert [code(reply) for reply in replies] == ["", "", ""]
        assert [reply.version for reply in replies] == [5, 6, 7]


@pytest.mark.requirement("OBJ-4")
async def test_hooks_that_change_nothing_commit_nothing(meeting: Meeting) -> None:
    async with bench(Hooked) as b:
        MOOD.update(on_activate="still", on_deactivate="still")
        assert (await b.call(Hooked, "a", "poke")).version == 2
        await b.passivate()
        await b.call(Hooked, "a", "look")
        assert [record.version for _, record in b.store.durable] == [1, 2]


@pytest.mark.requirement("OBJ-3", "DUR-1")
async def test_a_read_gives_the_durable_state_and_does_not_activate() -> None:
    async with bench(Plain) as b:
        await b.call(Plain, "a", "add", {"by": 3})
        await b.passivate()
        cold = await b.read(Plain, "a")
        assert not b.resident(Plain, "a")
        b.store.hold()
        pending = b.call(Plain, "a", "add")
        await until(lambda: b.store.arrived == 2)
        assert (await b.read(Plain, "a")) == cold
        b.store.release()
        await pending
        warm = await b.read(Plain, "a")
        assert (value(warm), warm.version, warm.commit_seq) == ({"value": 4}, 2, (await pending).commit_seq)
        assert code(await b.read("Nothing", "a")) == "unknown_type"
