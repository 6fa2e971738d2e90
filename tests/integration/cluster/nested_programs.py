"""Random programs of nested calls on a cluster of three nodes, and an audit of their effects outside of the objects.

    python -m tests.integration.cluster.nested_programs SEED [--calls 20000]

Clients send plans to actors. An actor carries out its plan step by step: an effect in a book, a plan for another actor,
several concurrent steps in random order, a readonly chain, a round trip that returns to it, a failure in the first
attempt. Every hook of an actor has an effect as well. During the run actors are passivated, shards move, streams break,
nodes die and others join. Clients retry failed calls with the same idempotency key.

An effect is one commit of a book that names it, so the store's records show the number of times each effect was made:

* No effect was made twice.
* An effect that was acknowledged to the method or hook that requested it was made.
* All effects and commits of a call that was answered with success were made.
* A call that is retried with its key ends: its nested calls do not use a key of another call.
* No change that a readonly method tried was made.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from goverse import GoverseError, Object, call
from goverse.errors import ReadonlyViolation
from goverse.model.frames import Operation, Reply
from goverse.model.records import CommitRecord
from goverse.ports.store import CommitOutcome
from goverse_cli.cluster.moving import move
from goverse_cli.failure import Failure
from goverse_node.stores.memory import MemoryStore
from tests.nodes import until
from tests.twin_cluster import SHARDS, TwinCluster

CLIENTS = 24
ATTEMPTS = 12
ACTORS = {"a": 8, "b": 8, "c": 6}
BOOKS = 5
DEADLINE_S = 10.0
Steps = list[dict[str, Any]]


class World:
    """Data that the objects of a run share with its clients."""

    def __init__(self) -> None:
        self.begin(0)

    def begin(self, seed: int) -> None:
        """Reset the data for a new run."""
        self.random = random.Random(seed)
        self.acknowledged: set[str] = set()
        self.failed_once: set[str] = set()
        self.violations: list[str] = []
        self.runs = itertools.count(1)


WORLD = World()


class Book(Object):
    """Names the last effect; its commits are all effects."""

    effect: str = ""
    count: int = 0

    @call
    async def add(self, effect: str) -> int:
        self.effect = effect
        self.count += 1
        return self.count

    @call(readonly=True)
    async def look(self) -> int:
        return self.count


class Actor(Object, delete="anyone"):
    """Carries out plans."""

    op: str = ""
    count: int = 0
    woken: int = 0

    async def on_create(self) -> None:
        await self._effect(f"create:{self.id}:{self.context.idempotency_key}")

    async def on_activate(self) -> None:
        self.woken += 1
        await self._effect(f"activate:{self.id}:{self.context.idempotency_key}")

    async def on_deactivate(self) -> None:
        await self._effect(f"deactivate:{self.id}:{next(WORLD.runs)}")

    async def on_delete(self) -> None:
        await self._effect(f"delete:{self.id}:{self.context.idempotency_key}")

    @call
    async def work(self, op: str, steps: Steps) -> int:
        for number, step in enumerate(steps):
            await self._step(f"{op}.{number}", step)
        return self._done(op)

    @call(reentrant=True)
    async def round(self, op: str, through: str) -> int:
        await self.ref(Actor, through).back(op=f"{op}.b", to=self.id)
        return self._done(op)

    @call
    async def back(self, op: str, to: str) -> int:
        await self._effect(f"{op}.e")
        await self.ref(Actor, to).note(op=f"{op}.n")
        return self._done(op)

    @call
    async def note(self, op: str) -> int:
        await self._effect(f"{op}.e")
        return self._done(op)

    @call(readonly=True)
    async def look(self, op: str, hops: list[str]) -> int:
        try:
            await self.ref(Book, "b0").add(effect=f"cheat:{op}")
            WORLD.violations.append(f"a readonly turn changed a book: {op}")
        except ReadonlyViolation:
            pass
        if hops:
            return await self.ref(Actor, hops[0]).look(op=op, hops=hops[1:])
        return await self.ref(Book, "b0").look()

    async def _step(self, op: str, step: dict[str, Any]) -> None:
        what = step["do"]
        if what == "effect":
            await self._effect(op)
        elif what == "work":
            await self.ref(Actor, step["id"]).work(op=op, steps=step["steps"])
        elif what == "look":
            await self.ref(Actor, step["hops"][0]).look(op=op, hops=step["hops"][1:])
        elif what == "fail" and op not in WORLD.failed_once:
            WORLD.failed_once.add(op)
            raise ValueError("the first attempt fails")
        elif what == "together":
            await asyncio.gather(*(self._later(f"{op}.{number}", one) for number, one in enumerate(step["steps"])))

    async def _later(self, op: str, step: dict[str, Any]) -> None:
        for _ in range(WORLD.random.randrange(5)):
            await asyncio.sleep(0)
        await self._step(op, step)

    async def _effect(self, name: str) -> None:
        await self.ref(Book, f"b{sum(name.encode()) % BOOKS}").add(effect=name)
        WORLD.acknowledged.add(name)

    def _done(self, op: str) -> int:
        self.op = op
        self.count += 1
        return self.count


class AuditedStore(MemoryStore):
    """Counts how often each effect and each call became durable."""

    def __init__(self) -> None:
        super().__init__()
        self.effects: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self._counts: dict[str, int] = {}

    async def commit(self, batch: Sequence[CommitRecord]) -> Sequence[CommitOutcome]:
        outcomes = await super().commit(batch)
        for record, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, int) and record.changes_object:
                self._audit(record)
        return outcomes

    def _audit(self, record: CommitRecord) -> None:
        if record.state is None:
            self._counts.pop(record.key.id, None)
            return
        state = orjson.loads(record.state)
        if record.key.type == "Book":
            self.effects[state["effect"]] += 1
        elif state["count"] != self._counts.get(record.key.id, 0):
            self._counts[record.key.id] = state["count"]
            self.calls[f"{record.key.id}:{state['op']}"] += 1


@dataclass
class Plan:
    """One call of a client.

    Attributes:
        effects, calls: the effects and calls that must be durable once it was answered with success.
    """

    op: str
    target: str
    method: str
    arguments: dict[str, Any]
    key: str | None
    effects: list[str] = field(default_factory=list[str])
    calls: list[str] = field(default_factory=list[str])


class Planner:
    """Makes random plans. An actor of one level sends plans to actors of the level below."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._numbers = itertools.count(1)

    def plan(self) -> Plan:
        chance, op = self._chance, f"p{next(self._numbers)}"
        key = f"k-{op}" if chance.random() < 0.6 else None
        level = chance.choice("aaabbc")
        target = self._actor(level)
        kind = chance.choices(("work", "look", "round", "delete"), (60, 20, 15, 5))[0]
        plan = Plan(op, target, kind, {"op": op}, key)
        if kind == "work":
            plan.arguments["steps"] = self._steps(plan, op, target, level)
        elif kind == "look":
            plan.arguments["hops"] = self._hops(level)
        elif kind == "round" and level != "c":
            through = plan.arguments["through"] = self._actor(_below(level))
            plan.effects += [f"{op}.b.e", f"{op}.b.n.e"]
            plan.calls += [f"{target}:{op}", f"{through}:{op}.b", f"{target}:{op}.b.n"]
        else:
            plan.method, plan.arguments = "delete", {}
        return plan

    def _steps(self, plan: Plan, op: str, actor: str, level: str) -> Steps:
        plan.calls.append(f"{actor}:{op}")
        steps: Steps = []
        for number in range(self._chance.randrange(1, 4)):
            step = self._step(plan, f"{op}.{number}", level)
            if step["do"] != "effect" and level == "c":
                step = {"do": "effect"}
                plan.effects.append(f"{op}.{number}")
            steps.append(step)
        return steps

    def _step(self, plan: Plan, op: str, level: str, *, alone: bool = True) -> dict[str, Any]:
        kinds = ("effect", "work", "look", "fail", "together") if alone and level != "c" else ("effect",)
        what = self._chance.choices(kinds, (5, 3, 1, 1, 3)[: len(kinds)])[0]
        if what == "effect":
            plan.effects.append(op)
            return {"do": "effect"}
        if what == "work":
            other = self._actor(_below(level))
            return {"do": "work", "id": other, "steps": self._steps(plan, op, other, _below(level))}
        if what == "look":
            return {"do": "look", "hops": self._hops(_below(level))}
        if what == "fail":
            return {"do": "fail"}
        many = range(self._chance.randrange(2, 5))
        return {"do": "together", "steps": [self._step(plan, f"{op}.{n}", level, alone=False) for n in many]}

    def _hops(self, level: str) -> list[str]:
        levels = "abc"["abc".index(level) :]
        return [self._actor(one) for one in levels]

    def _actor(self, level: str) -> str:
        return f"{level}{self._chance.randrange(ACTORS[level])}"


def _below(level: str) -> str:
    return chr(ord(level) + 1)


class Run:
    """A run in progress."""

    def __init__(self, seed: int, calls: int) -> None:
        WORLD.begin(seed)
        self.chance = random.Random(seed + 1)
        self.store = AuditedStore()
        self.cluster = TwinCluster(Book, Actor, store=self.store)
        self.plans = Planner(self.chance)
        self.left = calls
        self.done: list[Plan] = []
        self.answers: Counter[str] = Counter()
        self.failed: list[str] = []
        self.faults: Counter[str] = Counter()
        self._names = (f"n{number}" for number in itertools.count(1))
        self._tasks: list[asyncio.Task[None]] = []

    async def __call__(self) -> list[str]:
        """Run; return the violations."""
        async with self.cluster as cluster:
            names = [next(self._names) for _ in range(3)]
            await cluster.join(*names)
            await cluster.served(*names)
            await asyncio.gather(*(self._client() for _ in range(CLIENTS)))
            await asyncio.gather(*self._tasks)
            await until(self._at_rest)
            return self.complaints()

    # --- clients ------------------------------------------------------------------------------------------------------

    async def _client(self) -> None:
        while self.left > 0:
            self.left -= 1
            self._trouble(self.left)
            plan = self.plans.plan()
            reply = await self._attempt(plan)
            code = reply.problem.code if reply.problem is not None else "success"
            self.answers[code if plan.key is None else f"{code} with a key"] += 1
            if reply.problem is None:
                self.done.append(plan)
            elif code == "method_failed" and plan.key is not None:
                self.failed.append(f"{plan.op} failed in every attempt: {reply.problem.detail}")

    async def _attempt(self, plan: Plan) -> Reply:
        """Send a plan. A plan with a key is retried until it is answered."""
        reply = await self._send(plan)
        for _ in range(ATTEMPTS if plan.key is not None else 0):
            problem = reply.problem
            if problem is None or (problem.code not in ("method_failed", "timeout") and not problem.retryable):
                break
            reply = await self._send(plan)
        return reply

    async def _send(self, plan: Plan) -> Reply:
        request = self.cluster.request(Actor, plan.target, plan.method, timeout_s=DEADLINE_S, **plan.arguments)
        request = replace(request, idempotency_key=plan.key)
        if plan.method == "delete":
            request = replace(request, operation=Operation.DELETE, method="", body=b"")
        return await self.cluster.router.submit(request)

    # --- faults -------------------------------------------------------------------------------------------------------

    def _trouble(self, left: int) -> None:
        if left % 20 == 7:
            self._passivate()
        if left % 35 == 11:
            self.faults["broken streams"] += 1
            self.chance.choice(self._living()).break_streams()
        if left % 90 == 23:
            self._start(self._move())
        if left % 400 == 150:
            self._start(self._kill())

    def _living(self) -> list[Any]:
        return [host for host in self.cluster.hosts.values() if not host.dead]

    def _start(self, trouble: Any) -> None:
        self._tasks.append(asyncio.ensure_future(trouble))

    def _passivate(self) -> None:
        for host in self._living():
            for activation in host.node.activations:
                if activation.idle and activation.key.type == "Actor" and self.chance.random() < 0.3:
                    self.faults["passivations"] += 1
                    activation.close()

    async def _move(self) -> None:
        self.faults["moves"] += 1
        living = [name for name, host in self.cluster.hosts.items() if not host.dead]
        shard, node = self.chance.randrange(SHARDS), self.chance.choice(living)
        try:
            await move(self.cluster.coordinator, self.cluster.layout, shard, node, timeout_s=2.0)
        except (Failure, GoverseError):
            self.faults["moves that failed"] += 1

    async def _kill(self) -> None:
        living = self._living()
        if len(living) < 3:
            return
        self.faults["kills"] += 1
        self.chance.choice(living).kill()
        await self.cluster.join(next(self._names))

    # --- the audit ----------------------------------------------------------------------------------------------------

    def _at_rest(self) -> bool:
        nodes = [host.node for host in self._living()]
        return all(not node.stats.inflight and not node.activations.leaving for node in nodes)

    def complaints(self) -> list[str]:
        """Compare durable effects with acknowledged effects and answered calls."""
        effects, calls = self.store.effects, self.store.calls
        found = [*WORLD.violations, *self.failed]
        found += [f"{effect} took effect {count} times" for effect, count in effects.items() if count > 1]
        found += [f"{name} committed {count} times" for name, count in calls.items() if count > 1]
        found += [f"{effect} was acknowledged and is lost" for effect in WORLD.acknowledged if not effects[effect]]
        found += [f"{effect} is there, from a readonly turn" for effect in effects if effect.startswith("cheat:")]
        for plan in self.done:
            missing = [name for name in plan.effects if not effects[name]]
            missing += [name for name in plan.calls if not calls[name]]
            found += [f"{plan.op} was answered with success, and {name} is missing" for name in missing]
        return found


def main() -> int:
    """Run one seed and print the result of the audit."""
    parser = argparse.ArgumentParser(prog="python -m tests.integration.cluster.nested_programs")
    parser.add_argument("seed", type=int)
    parser.add_argument("--calls", type=int, default=20_000, help="of clients; each makes several others")
    options = parser.parse_args()
    began, run = time.monotonic(), Run(options.seed, options.calls)
    found = asyncio.run(run())
    sys.stdout.write("".join(f"{line}\n" for line in found) or "nothing is wrong\n")
    sys.stdout.write(f"answers {dict(run.answers)}, faults {dict(run.faults)}, effects {run.store.effects.total()}, ")
    sys.stdout.write(f"commits of actors {run.store.calls.total()}, {time.monotonic() - began:.0f} s\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
