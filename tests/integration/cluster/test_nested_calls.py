"""Calls between objects of a cluster: readonly chains stay readonly, and no effect is made twice."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from goverse import BusinessError, Object, TryAgain, call
from goverse.errors import Moving, ReadonlyViolation
from goverse.model.frames import Operation
from goverse.model.records import CommitRecord
from goverse.ports.store import CommitOutcome, Conflict
from goverse_node.stores.memory import MemoryStore
from tests.nodes import Meeting, code, problem, value
from tests.twin_cluster import TwinCluster

PLACE = Meeting()
RUNS: list[str] = []


class Tally(Object, delete="anyone"):
    """Keeps the names of the objects that reported."""

    names: list[str] = []

    @call
    async def add(self, name: str) -> int:
        self.names.append(name)
        return len(self.names)

    @call(readonly=True)
    async def look(self) -> list[str]:
        return self.names


class Visitor(Object):
    """Reports to a tally from its hooks."""

    seen: int = 0

    async def on_create(self) -> None:
        await self.ref(Tally, "t").add(name="created")

    async def on_activate(self) -> None:
        await self.ref(Tally, "t").add(name="activated")

    @call(readonly=True)
    async def look(self) -> int:
        RUNS.append(self.id)
        if len(RUNS) == 1:
            await PLACE.wait("look")
        return self.seen

    @call(readonly=True)
    async def look_twice(self) -> list[int]:
        return [await self.ref(Visitor, "inner").look(), await self.ref(Visitor, "inner").look()]


class Reader(Object):
    """Calls the method that its arguments name, from readonly methods."""

    caught: str = ""

    @call(readonly=True)
    async def typed(self) -> int:
        return await self.ref(Tally, "t").add(name="typed")

    @call(readonly=True)
    async def relay(self, type_name: str, name: str, arguments: dict[str, Any]) -> Any:
        return await getattr(self.ref(type_name, "x"), name)(**arguments)

    @call(readonly=True)
    async def itself(self) -> None:
        await self.ref(Reader, self.id).note()

    @call(readonly=True)
    async def carefully(self) -> str:
        try:
            await self.ref(Tally, "t").add(name="caught")
        except ReadonlyViolation as error:
            return error.code
        return ""

    @call
    async def note(self) -> None:
        self.caught = "noted"


class Lost(BusinessError):
    """An application may use this name, too."""

    status = 409
    code = "lost_in_nested_calls"


class Orders(Object):
    runs: int = 0

    @call
    async def refuse(self, executed: Any) -> None:
        RUNS.append(self.id)
        raise Lost("no", executed=executed)

    @call
    async def later(self, executed: Any) -> None:
        RUNS.append(self.id)
        raise TryAgain("not now", executed=executed)

    @call
    async def move(self) -> None:
        RUNS.append(self.id)
        raise Moving("in the words of the application")

    @call
    async def pass_on(self, executed: Any) -> None:
        RUNS.append(self.id)
        await self.ref(Orders, "other").later(executed=executed)


CLASSES = (Tally, Visitor, Reader, Orders)


@pytest.fixture(autouse=True)
def no_runs() -> None:
    RUNS.clear()


async def _names(cluster: TwinCluster) -> list[str]:
    found: list[str] = value(await cluster.call(Tally, "t", "look"))
    return found


def _owner(cluster: TwinCluster, target: type[Any], object_id: str) -> str:
    route = cluster.router.table.routes[cluster.router.table.shard_of(cluster.request(target, object_id, "look").key)]
    assert route is not None
    return route.node


@pytest.mark.requirement("OBJ-2")
async def test_a_readonly_turn_may_call_readonly_methods_only() -> None:
    async with TwinCluster(*CLASSES) as cluster:
        await cluster.join("a", "b")
        await cluster.served("a", "b")

        refused = [
            await cluster.call(Reader, "r", "typed"),
            await cluster.call(Reader, "r", "itself"),
            await cluster.call(Reader, "r", "relay", type_name="Tally", name="add", arguments={"name": "relayed"}),
            await cluster.call(
                Reader,
                "r",
                "relay",
                type_name="Reader",
                name="relay",
                arguments={"type_name": "Tally", "name": "add", "arguments": {"name": "far"}},
            ),
        ]

        assert [code(reply) for reply in refused] == ["readonly_violation"] * 4
        assert "Reader.typed is readonly and called Tally.add of Tally/t" in problem(refused[0]).detail
        assert "without readonly=True" in problem(refused[0]).detail
        assert value(await cluster.call(Reader, "r", "carefully")) == "readonly_violation"
        assert value(await cluster.call(Reader, "r", "relay", type_name="Tally", name="look", arguments={})) == []
        assert await _names(cluster) == []


@pytest.mark.requirement("OBJ-2")
async def test_the_node_that_serves_the_object_refuses_what_a_readonly_turn_may_not_call() -> None:
    async with TwinCluster(*CLASSES) as cluster:
        await cluster.join("a")
        await cluster.served("a")
        asked = replace(cluster.request(Tally, "t", "add", name="x"), reads_only=True)
        deletes = replace(cluster.request(Tally, "t", ""), operation=Operation.DELETE, reads_only=True)

        assert code(await cluster.router.submit(asked)) == "readonly_violation"
        assert code(await cluster.router.submit(deletes)) == "readonly_violation"
        assert value(await cluster.router.submit(replace(cluster.request(Tally, "t", "look"), reads_only=True))) == []


@pytest.mark.requirement("DUR-2")
@pytest.mark.parametrize("key", [None, "mine"])
async def test_hooks_that_a_readonly_call_starts_have_their_effects_once_whatever_answers_are_lost(
    key: str | None,
) -> None:
    async with TwinCluster(*CLASSES) as cluster:
        await cluster.join("a", "b")
        await cluster.served("a", "b")
        owner = cluster.hosts[_owner(cluster, Visitor, "v")]

        reply = cluster.call(Visitor, "v", "look", key=key)
        await PLACE.reached("look")
        owner.node.activations.get(cluster.request(Visitor, "v", "look").key).reset(None)  # type: ignore[union-attr]
        owner.break_streams()
        PLACE.let_go("look")

        assert value(await reply) == 0
        assert len(RUNS) == 2
        assert await _names(cluster) == ["created", "activated"]


@pytest.mark.requirement("DUR-2")
async def test_a_readonly_call_is_executed_whatever_was_sent_under_its_key() -> None:
    async with TwinCluster(*CLASSES) as cluster:
        await cluster.join("a")
        await cluster.served("a")

        assert value(await cluster.call(Tally, "t", "look", key="k")) == []
        assert value(await cluster.call(Tally, "t", "add", key="k", name="one")) == 1
        again = await cluster.call(Tally, "t", "look", key="k")

        assert (value(again), again.replayed) == (["one"], False)


@pytest.mark.requirement("DUR-2")
@pytest.mark.parametrize("executed", ["no", "unknown", True, {"by": "noon"}])
@pytest.mark.parametrize("method", ["refuse", "later", "pass_on"])
async def test_a_member_named_executed_belongs_to_the_application(method: str, executed: Any) -> None:
    async with TwinCluster(*CLASSES) as cluster:
        await cluster.join("a", "b")
        await cluster.served("a", "b")

        refused = problem(await cluster.call(Orders, "o", method, executed=executed))

        assert len(RUNS) == (2 if method == "pass_on" else 1)
        assert (refused.extra, refused.executed) == ({"executed": executed}, None)


class Choosy(MemoryStore):
    """Refuses the next commits of an object with a version conflict."""

    refusals = 0

    async def commit(self, batch: Sequence[CommitRecord]) -> Sequence[CommitOutcome]:
        refused = [record for record in batch if record.key.id == "choosy" and self.refusals > 0]
        self.refusals -= len(refused)
        passed = iter(await super().commit([record for record in batch if record not in refused]))
        return [Conflict("the test refuses it") if record in refused else next(passed) for record in batch]


@pytest.mark.requirement("OBJ-8")
async def test_a_call_whose_commit_was_refused_is_sent_again_under_its_key() -> None:
    store = Choosy()
    async with TwinCluster(*CLASSES, store=store) as cluster:
        await cluster.join("a", "b")
        await cluster.served("a", "b")
        store.refusals = 2

        assert value(await cluster.call(Tally, "choosy", "add", name="once")) == 1
        assert store.refusals == 0


async def test_an_error_of_the_application_gives_no_verdict_whatever_its_class() -> None:
    async with TwinCluster(*CLASSES) as cluster:
        await cluster.join("a")
        await cluster.served("a")

        assert code(await cluster.call(Orders, "o", "move")) == "moving"
        assert len(RUNS) == 1
