"""Clients: each makes one call after another through some gate, and records what it sees."""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from goverse.errors import Executed
from goverse.model.frames import Operation, Reply, Request
from goverse.model.keys import DEFAULT_NAMESPACE, ObjectKey
from tests.linearizability import Observation, Outcome
from tests.simulation.loop import NOWHERE
from tests.simulation.settings import OBJECTS

if TYPE_CHECKING:
    from tests.simulation.cluster import SimulatedCluster

TIMEOUT_S = 4.0
LATE_S = 0.5  # from a deadline to its enforcement: the links and the router check deadlines now and then
PATIENCE_S = TIMEOUT_S + 2.0  # a client whose gate died gives up
RETRY_S = 0.2


class Plan(NamedTuple):
    """One call, which may take several attempts."""

    kind: str
    log: str
    entry: int | None
    key: str | None
    pause_s: float = 0.0


class Waiter:
    """Waits at a gate for a reply, and sends it to the client."""

    def __init__(self, cluster: SimulatedCluster, gate: str, client: str) -> None:
        self.answer: Future[Reply | None] = cluster.world.loop.create_future()
        self.replied_at: float | None = None
        self._cluster, self._gate, self._client = cluster, gate, client

    def done(self) -> bool:
        return self.replied_at is not None or self.answer.done()

    def set_result(self, reply: Reply, /) -> None:
        world = self._cluster.world
        self.replied_at = world.now
        world.loop.call_later(world.delay_s(self._gate, self._client), self._arrive, reply, context=NOWHERE)

    def _arrive(self, reply: Reply) -> None:
        if not self.answer.done():
            self._cluster.world.note(f"{self._gate} → {self._client}", _in_words(reply))
            self.answer.set_result(reply)


class Caller:
    """Sends requests through any gate.

    Attributes:
        stopped: it starts no further call.
    """

    def __init__(self, cluster: SimulatedCluster, name: str) -> None:
        self.stopped = False
        self._cluster, self._world = cluster, cluster.world
        self._name = name

    async def submit(self, request: Request, words: str) -> Reply | None:
        """Send a request, which ``words`` describe in the trace. Returns None if no gate answered."""
        gates = [gate for gate in self._cluster.gates if gate.alive]
        if not gates:
            return None
        gate = self._world.random.choice(gates)
        waiter = Waiter(self._cluster, gate.name, self._name)
        self._world.note(f"{self._name} → {gate.name}", words)
        delay_s = self._world.delay_s(self._name, gate.name)
        self._world.loop.call_later(delay_s, gate.take, request, waiter, context=NOWHERE)
        began, process = self._world.now, gate.process
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await waiter.answer
        except TimeoutError:
            return None
        finally:
            late = (waiter.replied_at or self._world.now) > request.deadline + LATE_S
            if late and process is gate.process and gate.steady_since < began:
                self._cluster.watchers.found.append(f"{words} had no answer by its deadline, {request.deadline}")


class SimulatedClient(Caller):
    """One client. It repeats a call with a key until the call succeeds, and gives up other calls that fail.

    Attributes:
        busy: the call in progress, or None.
        relayed: the outcomes of its calls to relays, by log.
    """

    def __init__(self, cluster: SimulatedCluster, number: int) -> None:
        super().__init__(cluster, f"client-{number}")
        self.busy: Plan | None = None
        self.relayed: list[tuple[str, Outcome]] = []
        self._number = number
        self._calls = 0

    async def run(self) -> None:
        """Make calls until ``stopped``."""
        while not self.stopped:
            await asyncio.sleep(self._world.random.uniform(0, 2 * self._cluster.settings.think_s))
            if not self.stopped:
                self.busy = self._plan()
                await self.carry_out(self.busy)
                self.busy = None

    def _plan(self) -> Plan:
        random, settings = self._world.random, self._cluster.settings
        self._calls += 1
        log = f"log-{random.randrange(OBJECTS)}"
        if random.random() < settings.reads:
            return Plan(random.choice(("look", "look", "read")), log, None, None)
        entry = self._number * 100_000 + self._calls
        key = f"c{self._number}.{self._calls}" if random.random() < 0.6 else None
        pause_s = random.uniform(0, self._cluster.slow_turn_s) if self._cluster.slow_turn_s else 0.0
        kind = "append_slowly" if pause_s else random.choice(("append", "append", "relay"))
        return Plan(kind, log, entry, key, pause_s)

    async def carry_out(self, plan: Plan) -> Reply | None:
        """Make the call, and record the outcome."""
        called = self._now()
        while True:
            reply = await self.attempt(plan)
            outcome = _outcome(plan, reply)
            if outcome is not Outcome.DONE:
                self._cluster.watchers.failures += 1
                if reply is not None and reply.problem is not None and not reply.problem.retryable:
                    self._cluster.watchers.found.append(f"{plan} was refused: {reply.problem}")
                if plan.key is not None:
                    await asyncio.sleep(RETRY_S)
                    continue
            seen = _seen(plan, reply) if reply is not None and outcome is Outcome.DONE else None
            if plan.entry is not None or outcome is Outcome.DONE:
                observation = Observation(plan.entry, called, self._now(), outcome, seen)
                self._cluster.watchers.history[plan.log].append(observation)
            if plan.kind == "relay":
                self.relayed.append((plan.log, outcome))
            return reply

    def _now(self) -> int:
        return round(self._world.now * 1e6)

    async def attempt(self, plan: Plan) -> Reply | None:
        """Call once. Returns None if no gate answered."""
        return await self.submit(self._request(plan), f"{plan.kind} {plan.log} {plan.entry} key {plan.key}")

    def _request(self, plan: Plan) -> Request:
        operation, target, method, arguments = _spelled(plan)
        return Request(
            operation,
            ObjectKey(DEFAULT_NAMESPACE, *target),
            method,
            orjson.dumps(arguments) if arguments else b"",
            self._world.now + TIMEOUT_S,
            f"{self._name}.{self._calls}",
            plan.key,
        )


def _spelled(plan: Plan) -> tuple[Operation, tuple[str, str], str, Mapping[str, Any]]:
    log = ("Log", plan.log)
    if plan.kind == "read":
        return Operation.READ, log, "", {}
    if plan.kind == "look":
        return Operation.CALL, log, "look", {}
    if plan.kind == "relay":
        return Operation.CALL, ("Relay", f"relay-{plan.log}"), "append", {"log": plan.log, "entry": plan.entry}
    if plan.kind == "append_slowly":
        return Operation.CALL, log, "append_slowly", {"entry": plan.entry, "pause_s": plan.pause_s}
    return Operation.CALL, log, "append", {"entry": plan.entry}


def _outcome(plan: Plan, reply: Reply | None) -> Outcome:
    if reply is None:
        return Outcome.UNKNOWN
    if reply.problem is None or (plan.kind == "read" and reply.problem.code == "object_not_found"):
        return Outcome.DONE
    return Outcome.FAILED if reply.problem.executed is Executed.NO else Outcome.UNKNOWN


def _seen(plan: Plan, reply: Reply) -> tuple[int, ...]:
    if reply.problem is not None:
        return ()
    value = orjson.loads(reply.body)
    return tuple(value["entries"] if plan.kind == "read" else value)


def _in_words(reply: Reply) -> str:
    if reply.problem is None:
        return reply.body.decode()
    return f"{reply.problem.code}, executed: {reply.problem.executed or 'no verdict'}"
