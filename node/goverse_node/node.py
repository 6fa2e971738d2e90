"""The node. Routes each request to the activation of its object and enforces the limits on time and memory."""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Callable, Sequence

from goverse.errors import (
    Draining,
    Executed,
    GoverseError,
    Moving,
    Overloaded,
    ReadonlyViolation,
    Unavailable,
    UnknownMethod,
    known,
)
from goverse.limits import REQUEST_ID_BYTES_MAX
from goverse.model.access import handler_called, not_allowed, outcome_invented
from goverse.model.call_ids import new_call_id
from goverse.model.caller import SYSTEM
from goverse.model.effects import Effects
from goverse.model.frames import Operation, Reply, Request
from goverse.model.keys import ObjectKey, placement_of
from goverse.model.records import ObjectSummary
from goverse.objects.registry import Registry, unknown_method
from goverse.objects.spec import MethodSpec
from goverse.ports.clock import Clock, SystemClock
from goverse.ports.entropy import SYSTEM_ENTROPY, Entropy
from goverse.ports.link import Link, Readiness, Waiter
from goverse.ports.store import Store
from goverse_node.activation_cache import VICTIMS_MAX, ActivationCache
from goverse_node.evacuation import Evacuation
from goverse_node.memory_pressure import MemoryPressure, Trimmer
from goverse_node.messages.dispatcher import Dispatcher
from goverse_node.messages.requests import CallRequests
from goverse_node.options import NodeOptions
from goverse_node.reading import Reader
from goverse_node.runtime.activation import Activation
from goverse_node.runtime.alone import Alone
from goverse_node.runtime.call import Call
from goverse_node.runtime.contexts import TurnContexts
from goverse_node.runtime.deadlines import Deadlines
from goverse_node.runtime.group_commit import UNCHANGED, CommitPipeline
from goverse_node.runtime.kept_results import KeptResults
from goverse_node.runtime.method_errors import unexpected
from goverse_node.runtime.nested import NestedCalls
from goverse_node.runtime.outgoing import Outgoing
from goverse_node.runtime.scope import violation
from goverse_node.runtime.shard_counters import CountersByShard
from goverse_node.runtime.stats import NodeStats
from goverse_node.runtime.turn import Turn
from goverse_node.shard_access import ALL_SHARDS, AllShards, ShardAccess

_IDLE_SWEEP_S = 1.0
_MEMORY_CHECK_S = 0.1
_POLL_S = 0.005


class Node:
    """Hosts the objects of one process.

    Implements ``goverse.ports.link.Carrier`` for its callers, and ``goverse_node.runtime.host.Host`` for activations.

    Attributes:
        loads_at_once: True while every load so far was answered from memory; False after the first load that returned
            a future.
        shows_causes: attach the original exception to each problem. Only for tests, because it keeps tracebacks alive.
        passes_interrupts: let a ``KeyboardInterrupt`` that a method raises end the process after the turn. Only for
            tests. A server handles the signal itself, so there the exception is an application error; if it ended the
            process, a call that is routed again would end one node after another.
    """

    loads_at_once = True
    shows_causes = False
    passes_interrupts = False

    def __init__(
        self,
        registry: Registry,
        store: Store,
        *,
        clock: Clock | None = None,
        options: NodeOptions | None = None,
        shard_access: ShardAccess = ALL_SHARDS,
        memory: Callable[[], float] | None = None,
        entropy: Entropy = SYSTEM_ENTROPY,
        interrupted: bool = False,
    ) -> None:
        """Host the types of ``registry`` over ``store``. The caller opens the store first and closes it afterwards.

        ``memory`` returns the used share of the process's memory limit, 0 to 1; objects are passivated near 1.
        ``entropy`` is the source of ids and of waits.
        ``interrupted`` says that the last process that served the store ended without closing it.
        Objects call each other through the link ``calls``; in a cluster the caller replaces it by a router. In
        a cluster the keeper of the shards also opens and closes their outboxes in ``dispatcher``.
        """
        self.registry, self.store = registry, store
        self.clock: Clock = clock or SystemClock()
        self.options = options or NodeOptions()
        self.entropy = entropy
        self.shard_access = shard_access
        self.calls: Link = self
        self._interrupted = interrupted
        self.evacuation, self.alone = Evacuation(), Alone()
        self.stats, self.nested = NodeStats(), NestedCalls(registry)
        self.shard_counters = CountersByShard()
        bounds = self.options
        self.pipeline = CommitPipeline(
            store, self.stats, batch_max_bytes=bounds.batch_max_bytes, batch_max_s=bounds.batch_max_ms / 1000
        )
        self.dispatcher = Dispatcher(self, store)
        self.outgoing: Outgoing = self.dispatcher
        self.kept_results = KeptResults(self.dispatcher)
        self.requests = self.dispatcher.follower = CallRequests(self)
        self.activations = _activation_cache(bounds)
        self.deadlines = Deadlines(self.options, self.stats)
        self._reader = Reader(self, self.activations)
        self._idle_sweep: asyncio.TimerHandle | None = None
        self._memory_pressure = MemoryPressure(bounds.activations_bytes_max, memory, Trimmer()) if memory else None
        self._memory_check: asyncio.TimerHandle | None = None
        self._makes_room = False
        self._room_due = False
        self._started = False
        self._draining = False

    # --- life ---------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self.contexts = TurnContexts()
        self.deadlines.start(self._loop)
        self.pipeline.start()
        if isinstance(self.shard_access, AllShards):
            self.dispatcher.open((0,), interrupted=(0,) if self._interrupted else ())
            await self.dispatcher.loaded()  # until then, objects cannot look at what they have sent
        self._idle_sweep = self._loop.call_later(_IDLE_SWEEP_S, self._passivate_idle)
        if self._memory_pressure is not None:
            self._check_memory(self._memory_pressure)
        self._started = True

    async def stop(self, drain_timeout_s: float = 20.0) -> None:
        """Refuse new calls from outside, wait for running ones, passivate all activations and commit everything.

        Calls that still run after ``drain_timeout_s`` are cancelled and answered with ``draining``.
        """
        if not self._started or self._draining:
            return
        self._draining = True
        self.pipeline.hurry()
        self.requests.stop()
        self.dispatcher.stop_delivering()
        deadline = self.now() + drain_timeout_s
        await self._until(lambda: not self.stats.inflight and self.dispatcher.at_rest, deadline)
        late = Draining(f"the node is shutting down and the call did not end in time; {UNCHANGED}")
        self.deadlines.end_all(known(late, Executed.UNKNOWN))
        await self._until(lambda: not self.deadlines.running, deadline + self.options.cancel_grace_s)
        for activation in self.activations:
            activation.close()
        await self._until(self._passivate_all, self._end_of_hooks())
        self.deadlines.stop()
        for timer in (self._idle_sweep, self._memory_check):
            if timer is not None:
                timer.cancel()
        self.dispatcher.stop()
        await self.pipeline.stop(self.options.cancel_grace_s)

    def _passivate_all(self) -> bool:
        """Passivate objects that the hooks of others have activated again. Return True if none is left in memory."""
        if len(self.activations) > self.activations.leaving:
            for activation in self.activations:
                if activation.idle:
                    activation.close()
        return not len(self.activations)

    async def settled(self) -> None:
        """Wait until the activations that are being passivated are gone, for at most the time limit of their hooks."""
        await self._until(lambda: not self.activations.leaving, self._end_of_hooks())

    def _end_of_hooks(self) -> float:
        return self.now() + self.options.hook_timeout_s + self.options.cancel_grace_s

    async def _until(self, condition: Callable[[], bool], deadline: float) -> None:
        while not condition() and self.now() < deadline:  # noqa: ASYNC110  # many counters, only while stopping
            await asyncio.sleep(_POLL_S)

    # --- Link ---------------------------------------------------------------------------------------------------------

    def submit(self, request: Request) -> Future[Reply]:
        """Execute a request; see ``goverse.ports.link.Link``."""
        future: Future[Reply] = self._loop.create_future()
        self.carry(request, future)
        return future

    def carry(self, request: Request, waiter: Waiter) -> None:
        """Execute a request; see ``goverse.ports.link.Carrier``."""
        call = Call(request, waiter, self.stats)
        if self._draining and not request.chain:
            call.refuse(known(Draining(), Executed.NO))
        elif self.stats.inflight > self.options.inflight_calls_max:
            call.refuse(
                Overloaded(f"this node already has {self.stats.inflight} calls in progress; try again", retry_after_s=1)
            )
        else:
            try:
                self._route(call)
            except GoverseError as error:
                call.refuse(error)
            except BaseException as error:
                where = {"object": str(request.key), "request_id": request.request_id}
                call.refuse(known(unexpected(error, "the node failed to carry the call out", where), Executed.UNKNOWN))

    def conclude(self, request: Request, effects: Effects) -> Future[Reply]:
        """Run the call with which an object receives the outcome of a reliable call, and commit ``effects`` with it.

        A turn that fails commits nothing, also if its error is a business error. A reply without a problem says that
        the turn and the effects are durable.
        """
        future: Future[Reply] = self._loop.create_future()
        call = Call(request, future, self.stats)
        call.reliable = effects
        if self._draining:
            call.refuse(known(Draining(), Executed.NO))
            return future
        try:
            self._route(call)
        except GoverseError as error:
            call.refuse(error)
        return future

    def _route(self, call: Call) -> None:
        request = call.request
        if request.operation is Operation.CALL:
            try:
                method = call.method = self.registry.method(request.key.type, request.method)
            except UnknownMethod as error:
                if request.delivery is not None and request.delivery.void:
                    self.deliver(call)  # it is settled without its method
                    return
                if not request.chain and request.delivery is None:
                    raise
                spec = self.registry.type(request.key.type)
                raise unknown_method(spec, request.method, inside=True) from error
            call.readonly = method.readonly
            if method.handler and call.reliable is None:  # else it receives an outcome
                _check_caller(request, method)
        elif request.operation is Operation.READ:
            self._reader.read(call)
            return
        elif request.operation is Operation.SEND:
            self.requests.send(call)
            return
        elif request.operation is Operation.CALLS:
            self.requests.answer(call)
            return
        else:
            self._check_access(request)
        if request.reads_only and not call.readonly:
            caller = request.chain[-1].type if request.chain else "the caller"
            raise ReadonlyViolation(violation(caller, request.key, request.method or request.operation.name.lower()))
        self.deliver(call)

    def _check_access(self, request: Request) -> None:
        """Check that the type lets this caller create or delete. A request with a chain comes from an object.

        Raises:
            AccessDenied: the type does not allow it.
            UnknownType: the type is not registered.
        """
        policy = self.registry.type(request.key.type).policy
        verb, word = ("create", policy.create) if request.operation is Operation.CREATE else ("delete", policy.delete)
        if word == "nobody" or (word == "internal" and not request.chain):
            raise not_allowed(policy.name, verb, word, inside=bool(request.chain))

    def deliver(self, call: Call) -> None:
        """Deliver a call to the object's activation; create the activation if the object is not in memory."""
        key = call.request.key
        activation = self.activations.get(key)
        if activation is not None:
            self.activations.touch(activation, self.now())
            activation.counters.calls += 1
            activation.deliver(call)
            return
        try:
            spec = self.registry.type(key.type)
            self._check_placement(key)
            shard = self.shard_access.shard_of(key)
        except GoverseError as error:
            call.refuse(error)
            return
        epoch = self.shard_access.epoch(shard)
        if epoch is None:
            call.refuse(Moving())
            return
        activation = Activation(self, key, spec, shard=shard, epoch=epoch)
        activation.counters = self.shard_counters.of(shard)
        activation.last_used = self.now()
        self.activations.add(activation)
        self.evacuation.add(activation)
        self.stats.activations += 1
        activation.counters.calls += 1
        activation.deliver(call)
        activation.load()

    def _check_placement(self, key: ObjectKey) -> None:
        if not key.id.startswith("node#"):
            return
        node = placement_of(key.id).node
        if node is not None and node != self.options.node_id:
            raise Unavailable(f"the id names node {node!r}, but this is node {self.options.node_id!r}")

    async def list(
        self, namespace: str, type_name: str, *, prefix: str, after: str | None, limit: int
    ) -> Sequence[ObjectSummary]:
        """List durable objects; see ``goverse.ports.store.Store.list``.

        Raises:
            UnknownType: the type is not registered.
        """
        self.registry.type(type_name)
        return await self.store.list(namespace, type_name, prefix=prefix, after=after, limit=limit)

    def readiness(self) -> Readiness:
        """Return whether the node serves requests, and the reasons if not."""
        health = self.store.health()
        reasons: list[str] = []
        if not self._started:
            reasons.append("the node is starting")
        if self._draining:
            reasons.append("the node is shutting down")
        if not health.ready:
            reasons.append(health.reason)
        elif (held_up_s := self.pipeline.held_up_s) > self.options.commit_stall_s:
            reasons.append(f"the store has not answered a commit for {held_up_s:.0f} s")
        return Readiness(not reasons, tuple(reasons), health.commit_seq)

    # --- for activations ----------------------------------------------------------------------------------------------

    def new_call_id(self, sender: ObjectKey) -> str:
        """Return an id for a reliable call of ``sender``."""
        return new_call_id(self.shard_access.hash_of(sender), self.clock.wall_ms(), self.entropy(10))

    def own_request(self, key: ObjectKey) -> Request:
        """Return a request for a hook that runs without a call, such as ``on_deactivate``."""
        return Request(
            Operation.CALL,
            key,
            "",
            b"",
            self.now() + self.options.hook_timeout_s,
            request_id=self.options.node_id[:REQUEST_ID_BYTES_MAX],
            caller=SYSTEM,
        )

    def turns_of(self, key: ObjectKey) -> Sequence[Turn]:
        """Return the running turns of an object, none if it is not in memory."""
        activation = self.activations.get(key)
        return activation.running if activation is not None else ()

    def release(self, activation: Activation) -> None:
        """Give away the room of an activation that is about to leave memory."""
        self.activations.release(activation)

    def forget(self, activation: Activation) -> None:
        """Remove an activation from the cache."""
        self.activations.discard(activation)
        self.stats.passivations += 1
        self.evacuation.remove(activation)

    def resized(self, activation: Activation) -> None:
        """Update the activation's size, and passivate others if a bound is exceeded."""
        if self.activations.resize(activation):
            self._make_room()

    def _make_room(self) -> None:
        """Passivate objects until the cache is within its bounds.

        At most ``VICTIMS_MAX`` per event-loop iteration; the rest follow in the next iterations. While more are due,
        each further call of this method passivates one.
        """
        if self._makes_room:
            return  # called by the on_deactivate of a victim that changed its state; the loop below continues
        self._makes_room = True
        try:
            for _ in range(1 if self._room_due else VICTIMS_MAX):
                victim = self.activations.surplus(self.now())
                if victim is None:
                    return
                victim.close()
        finally:
            self._makes_room = False
        if not self._room_due:
            self._room_due = True
            self._loop.call_soon(self._make_more_room)

    def _make_more_room(self) -> None:
        self._room_due = False
        self._make_room()

    def _passivate_idle(self) -> None:
        self._idle_sweep = self._loop.call_later(_IDLE_SWEEP_S, self._passivate_idle)
        for activation in self.activations.overdue(self.now()):
            activation.close()

    def _check_memory(self, pressure: MemoryPressure) -> None:
        self._memory_check = self._loop.call_later(_MEMORY_CHECK_S, self._check_memory, pressure)
        self.activations.bytes_max = pressure.update(self.activations.bytes)
        self._make_room()


def _activation_cache(bounds: NodeOptions) -> ActivationCache:
    return ActivationCache(
        idle_timeout_s=bounds.idle_timeout_s,
        count_max=bounds.activations_max,
        bytes_max=bounds.activations_bytes_max,
    )


def _check_caller(request: Request, handler: MethodSpec) -> None:
    """Check that a request may call a handler.

    An outcome comes from the end of a call alone, or from its sender, which repeats a dead letter.

    Raises:
        AccessDenied: it comes from outside, or invents an outcome.
    """
    if not request.chain and request.delivery is None:
        raise handler_called(request.key.type, handler.name)
    delivery = request.delivery
    if not handler.takes_outcome or (delivery is not None and (delivery.void or delivery.sender == request.key)):
        return  # a void delivery is settled without its method
    raise outcome_invented(request.key.type, handler.name)
