"""Random programs against the real node: whatever happens, each journal is linearizable and nothing is early or twice.

A program is what a few callers do one after the other while, beside them, commits are held, refused and fail, objects
are passivated and the node is replaced.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from goverse.errors import Unavailable
from goverse.model.frames import Operation, Reply
from tests.integration.journal import History, Journal, Seen
from tests.unit.node.rig import Rig, rig

pytestmark = pytest.mark.requirement("OBJ-2", "OBJ-9", "DUR-1", "DUR-2")

NAMES = ("a", "b", "c")
RETRIES_MAX = 50

names = st.sampled_from(NAMES)
naps = st.integers(0, 6)
steps = st.one_of(
    st.tuples(st.just("append"), names),
    st.tuples(st.just("append_slowly"), names, naps),
    st.tuples(st.just("append_and_fail"), names, naps),
    st.tuples(st.just("append_and_refuse"), names),
    st.tuples(st.just("read"), names),
    st.tuples(st.just("read_slowly"), names, naps),
    st.tuples(st.just("keyed"), names, naps),
    st.tuples(st.just("cancel"), names, naps),
    st.tuples(st.just("chain"), names, st.lists(names, min_size=1, max_size=4), st.booleans(), st.booleans()),
)
troubles = st.one_of(
    st.tuples(st.just("hold"), naps),
    st.tuples(st.just("fail"), naps),
    st.tuples(st.just("conflict"), naps),
    st.tuples(st.just("passivate"), naps),
    st.tuples(st.just("restart"), naps),
)


@dataclass(frozen=True)
class Program:
    """What each caller does, what goes wrong, and whether the store is far away."""

    callers: list[list[Any]]
    troubles: list[Any]
    remote: bool


programs = st.builds(
    Program,
    callers=st.lists(st.lists(steps, max_size=12), min_size=1, max_size=4),
    troubles=st.lists(troubles, max_size=6),
    remote=st.booleans(),
)


class Run:
    """One program, carried out."""

    def __init__(self, here: Rig) -> None:
        self.here = here
        self.history = History()
        self.early: list[str] = []
        self.count = 0

    async def nap(self, times: int) -> None:
        for _ in range(times * 3 + 1):
            await asyncio.sleep(0)

    async def send(self, name: str, method: str, **further: Any) -> Reply:
        reply = await self.here.send(name, method, **further)
        durable = max((version for key, version, _ in self.here.store.durable if key.id == name), default=0)
        if reply.version > durable:
            self.early.append(f"{method} on {name} was answered with version {reply.version}, {durable} is durable")
        return reply

    def entry(self) -> str:
        self.count += 1
        return f"entry-{self.count}"

    async def caller(self, program: list[Any]) -> None:
        for kind, name, *rest in program:
            await getattr(self, f"do_{kind}")(name, *rest)

    def note(self, seen: Seen, reply: Reply) -> None:
        if reply.problem is not None:
            self.history.end(seen, "failed")
            return
        value = orjson.loads(reply.body)
        if isinstance(value, list):
            seen.read = value
        else:
            seen.place = value
        self.history.end(seen, "done")

    async def appending(self, name: str, method: str, **further: Any) -> Reply:
        entry = self.entry()
        seen = self.history.begin(name, entry)
        reply = await self.send(name, method, entry=entry, **further)
        self.note(seen, reply)
        return reply

    async def do_append(self, name: str) -> None:
        await self.appending(name, "append")

    async def do_append_slowly(self, name: str, naps: int) -> None:
        await self.appending(name, "append_slowly", naps=naps)

    async def do_append_and_fail(self, name: str, naps: int) -> None:
        assert (await self.appending(name, "append_and_fail", naps=naps)).problem is not None

    async def do_append_and_refuse(self, name: str) -> None:
        assert (await self.appending(name, "append_and_refuse")).problem is not None

    async def do_read(self, name: str) -> None:
        seen = self.history.begin(name)
        self.note(seen, await self.send(name, "read"))

    async def do_read_slowly(self, name: str, naps: int) -> None:
        seen = self.history.begin(name)
        self.note(seen, await self.send(name, "read_slowly", naps=naps))

    async def do_keyed(self, name: str, naps: int) -> None:
        """Retry with one key until it is done, as a careful client does; a last time to see the same answer."""
        entry = self.entry()
        seen = self.history.begin(name, entry)
        reply = await self.send(name, "append_slowly", entry=entry, naps=naps, key=entry)
        for _ in range(RETRIES_MAX):
            if reply.problem is None or not reply.problem.retryable:
                break
            await self.here.until(lambda: self.here.node.readiness().ready)
            reply = await self.send(name, "append_slowly", entry=entry, naps=naps, key=entry)
        self.note(seen, reply)
        assert seen.outcome == "done", reply
        again = await self.send(name, "append_slowly", entry=entry, naps=naps, key=entry)
        assert again.problem is not None or (again.body, again.version) == (reply.body, reply.version)

    async def do_cancel(self, name: str, naps: int) -> None:
        entry = self.entry()
        self.history.begin(name, entry)
        future = self.here.send(name, "append_slowly", entry=entry, naps=3)
        await self.nap(naps)
        future.cancel()

    async def do_chain(self, name: str, path: list[str], append_first: bool, keyed: bool) -> None:
        entry = self.entry()
        key = entry if keyed else None
        for _ in range(3 if keyed else 1):
            reply = await self.send(name, "pass_on", entry=entry, path=path, append_first=append_first, key=key)
            if reply.problem is None:
                return
            await self.nap(2)

    async def trouble(self, kind: str, naps: int) -> None:
        store = self.here.store
        await self.nap(naps)
        if kind == "hold":
            store.hold()
            await self.nap(10 + naps)
            store.release()
        elif kind == "fail":
            store.failures.append(Unavailable("the disk is full"))
        elif kind == "conflict":
            store.conflicts += 1
        elif kind == "passivate":
            for activation in self.here.node.residents:
                activation.close()
        else:
            await self.here.restart()


async def _carry_out(program: Program) -> None:
    async with rig(Journal) as here:
        here.store.remote = program.remote
        run = Run(here)
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            for caller in program.callers:
                group.create_task(run.caller(caller))
            for kind, naps in program.troubles:
                await run.trouble(kind, naps)
        await here.until(lambda: here.node.stats.inflight == 0)
        here.store.failures, here.store.conflicts = [], 0
        final = {name: ((await here.state(name)) or {"entries": []})["entries"] for name in NAMES}
        assert run.early == []
        assert run.history.problems(final) == []
        for name in NAMES:
            changes = [change for change in await here.store.changes(0, 10_000) if change.key.id == name]
            assert [change.version for change in changes] == list(range(1, len(changes) + 1))
            live = await here.send(name, "read")
            assert live.problem is None
            assert orjson.loads(live.body) == final[name]
            read = await here.send(name, operation=Operation.READ)
            assert read.version == len(changes)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    print_blob=True,
)
@given(programs)
def test_whatever_callers_do_and_whatever_goes_wrong(program: Program) -> None:
    asyncio.run(_carry_out(program))


def test_checker_catches_planted_violations() -> None:
    history = History()
    first = history.begin("a", "x")
    first.place = 1
    history.end(first, "done")
    late = history.begin("a")
    late.read = []
    history.end(late, "done")
    assert any("comes after" in problem for problem in history.problems({"a": ["x"]}))
    assert any("acknowledged" in problem for problem in history.problems({"a": []}))
    assert any("twice" in problem for problem in history.problems({"a": ["x", "x"]}))
    failed = history.begin("a", "y")
    history.end(failed, "failed")
    assert any("failed" in problem for problem in history.problems({"a": ["x", "y"]}))
    read = history.begin("a")
    read.read = ["z"]
    history.end(read, "done")
    assert any("was read" in problem for problem in history.problems({"a": ["x"]}))
