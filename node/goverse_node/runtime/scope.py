"""The scope of a turn: what its method reaches through ``current_turn``, above all calls to other objects.

An awaited call to another object leaves after all earlier commits of the calling object are durable (the output gate),
with the turn's deadline, request id and call chain. If the turn's own call has an idempotency key, each nested call
gets a key derived from it, the same in every attempt, so that a repeated turn repeats no effect.

A reliable call leaves with the commit of the turn (``goverse_node.runtime.turn_effects``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from functools import partial
from hashlib import blake2b
from inspect import CORO_CREATED, getcoroutinestate
from time import perf_counter
from typing import Any, Protocol, TypeVar

from goverse.errors import (
    CallIdMismatch,
    Deadlock,
    Executed,
    GoverseError,
    MethodFailed,
    ReadonlyViolation,
    Timeout,
    TooLarge,
    Unavailable,
    known,
)
from goverse.limits import CHAIN_LENGTH_MAX, KEPT_RESULTS_MAX, STATE_BYTES_MAX
from goverse.model.effects import PendingCall, SentCall, same_content
from goverse.model.frames import Operation, Problem, Reply, Request
from goverse.model.keys import CLIENT_DERIVED_KEY_PREFIX, DERIVED_KEY_PREFIX, ROUTER_KEY_PREFIX, ObjectKey
from goverse.model.notes import KEPT_RESULT, SAGA, is_note, note_id
from goverse.model.object_ids import derived_id, time_ordered_id
from goverse.model.records import ObjectSummary
from goverse.model.sagas import Saga
from goverse.objects.context import Context
from goverse.objects.registry import Registry, unknown_method
from goverse.ports.clock import Clock
from goverse.ports.entropy import Entropy
from goverse.ports.link import Link
from goverse_node.runtime.contexts import TurnContexts
from goverse_node.runtime.group_commit import PendingCommit
from goverse_node.runtime.kept_results import KeptResults
from goverse_node.runtime.nested import NestedCalls
from goverse_node.runtime.outgoing import Outgoing
from goverse_node.runtime.turn_effects import Outbox, TurnEffects

T = TypeVar("T")


class CallHost(Protocol):
    """The part of a host that carries calls to other objects, and makes ids."""

    calls: Link
    clock: Clock
    contexts: TurnContexts
    entropy: Entropy
    kept_results: KeptResults
    nested: NestedCalls
    outgoing: Outgoing
    registry: Registry

    def new_call_id(self, sender: ObjectKey) -> str:
        """Return an id for a reliable call of ``sender``."""
        ...


class CallingObject(Protocol):
    """The object that makes the calls."""

    @property
    def key(self) -> ObjectKey: ...
    @property
    def shard(self) -> int: ...
    @property
    def epoch(self) -> int: ...
    @property
    def host(self) -> CallHost: ...
    @property
    def queued(self) -> Sequence[PendingCommit]: ...

    async def durable(self) -> None:
        """Wait until all commits that the object has made so far are durable."""
        ...


class CallingTurn(Protocol):
    """The turn that makes the calls.

    Attributes:
        began: the start of its current step, on ``perf_counter``, moved by the time of other turns within it.
        waits_for: the objects that it has called and that have not answered.
        call_numbers: how many equal calls it has made, or None if it has made none.
        unawaited: the calls whose coroutines have not begun to run, by name; None if it has made none.
        effects: what it adds to its commit record, or None if that is nothing.
        condemned: the error with which it fails whatever its method returns, or None.
    """

    began: float
    request: Request
    readonly: bool
    deadline: float
    closed: bool
    waits_for: tuple[ObjectKey, ...]
    call_numbers: dict[tuple[ObjectKey, str, bytes], int] | None
    unawaited: list[tuple[str, Coroutine[Any, Any, Any]]] | None
    effects: TurnEffects | None
    condemned: GoverseError | None

    @property
    def activation(self) -> CallingObject: ...
    @property
    def name(self) -> str: ...
    @property
    def origin(self) -> str | None: ...
    @property
    def context(self) -> Context: ...
    @property
    def task(self) -> asyncio.Task[None] | None: ...

    def log_fields(self) -> dict[str, str | int]:
        """Return the log fields that locate the turn."""
        ...


def forgotten(caller: str, unawaited: Iterable[tuple[str, Coroutine[Any, Any, Any]]]) -> MethodFailed | None:
    """Return the error of a turn that made calls which never ran, or None; calls that were cancelled do not count."""
    made = [(name, call) for name, call in unawaited if getcoroutinestate(call) == CORO_CREATED]
    if not made:
        return None
    scheduled = {task.get_coro() for task in asyncio.all_tasks()}
    for _, call in made:
        if call not in scheduled:  # Python would warn about it when it is collected
            call.close()
    names = ", ".join(dict.fromkeys(name for name, _ in made))
    return MethodFailed(f"{caller} called {names} without await, so the call was not made; write await")


class Scope:
    """The value of ``current_turn`` while a method runs. Tasks that the method starts inherit it.

    Only contexts refer to a scope. A scope that outlives its turn therefore shows that the method left something
    running (``goverse_node.runtime.strays``).
    """

    __slots__ = ("__weakref__", "_turn")

    def __init__(self, turn: CallingTurn) -> None:
        self._turn = turn

    @property
    def context(self) -> Context:
        """The context of the turn's call."""
        return self._turn.context

    def log_fields(self) -> dict[str, str | int]:
        """Return the log fields that locate the turn."""
        return self._turn.log_fields()

    def expect(
        self, call: str, make: Callable[[Callable[[], None]], Coroutine[Any, Any, Any]]
    ) -> Coroutine[Any, Any, Any]:
        """Return the coroutine of a call, and keep it as unawaited until it begins to run."""
        turn = self._turn
        unawaited = turn.unawaited
        if unawaited is None:
            unawaited = turn.unawaited = []

        def awaited() -> None:
            unawaited.remove(entry)

        entry = call, make(awaited)
        unawaited.append(entry)
        return entry[1]

    async def call_object(self, key: ObjectKey, method: str, body: bytes) -> Reply:
        """Call another object, after all earlier commits of this object are durable."""
        return await self._call(Operation.CALL, key, method, body)

    async def create_object(self, key: ObjectKey, body: bytes) -> Reply:
        """Create an object. An object that exists is an error, even if it was created with the same arguments."""
        self._check_population("create", key)
        return await self._call(Operation.CREATE, key, "", body)

    async def delete_object(self, key: ObjectKey) -> Reply:
        self._check_population("delete", key)
        return await self._call(Operation.DELETE, key, "", b"")

    async def _call(self, operation: Operation, key: ObjectKey, method: str, body: bytes) -> Reply:
        turn, request = self._turn, self._turn.request
        chain = (*request.chain, turn.activation.key)
        if len(chain) > CHAIN_LENGTH_MAX:
            return Reply(problem=Problem.of(Deadlock(f"the call chain is longer than {CHAIN_LENGTH_MAX} objects")))
        if (refusal := self._refusal(key, method, body)) is not None:
            return Reply(problem=Problem.of(refusal))
        nested_key = self._derived_key(key, method or f"@{operation.name.lower()}", body)
        await turn.activation.durable()
        self._check_open("call other objects")
        nested = Request(
            operation,
            key,
            method,
            body,
            turn.deadline,
            request.request_id,
            idempotency_key=nested_key,
            if_match=0 if operation is Operation.CREATE else None,  # fail if the object exists
            caller=request.caller,
            traceparent=turn.context.traceparent if request.traceparent else "",
            chain=chain,
            fresh_key=request.fresh_key,
            reads_only=turn.readonly,
            tracestate=request.tracestate,
        )
        return await self._submit(nested)

    async def _submit(self, nested: Request) -> Reply:
        turn, host, began = self._turn, self._turn.activation.host, perf_counter()
        turn.waits_for = (*turn.waits_for, nested.key)
        try:
            # Run in a new context: timers and tasks that this call starts in the runtime must not keep the turn's alive
            submitted = host.contexts.new().run(host.calls.submit, nested)
            turn.began += perf_counter() - began  # the other object's turn may have run just now
            reply = await submitted
            host.nested.record(nested, reply.problem, perf_counter() - began)
            return reply
        finally:
            left = list(turn.waits_for)
            left.remove(nested.key)
            turn.waits_for = tuple(left)

    def _check_open(self, verb: str) -> None:
        if self._turn.closed:
            raise GoverseError(f"{self._turn.activation.key}.{self._turn.name} has ended; it cannot {verb} any more")

    def _check_population(self, verb: str, key: ObjectKey) -> None:
        turn = self._turn
        if turn.readonly:
            raise ReadonlyViolation(
                f"{turn.activation.key.type}.{turn.name} is readonly and cannot {verb} {key}; declare it without "
                "readonly=True"
            )
        if key == turn.activation.key:
            raise Deadlock(
                f"{key} cannot {verb} itself: the turn would wait for itself. Let another object do it afterwards"
            )

    async def list_objects(
        self, namespace: str, type_name: str, *, prefix: str, after: str | None, limit: int
    ) -> Sequence[ObjectSummary]:
        """List durable objects, within the turn's deadline."""
        self._check_open("list objects")
        try:
            async with asyncio.timeout_at(self._turn.deadline):
                return await self._turn.activation.host.calls.list(
                    namespace, type_name, prefix=prefix, after=after, limit=limit
                )
        except TimeoutError:
            raise Timeout(
                f"listing {type_name} objects did not finish before the deadline", operation="list", object=type_name
            ) from None

    def new_id(self, namespace: str, type_name: str, body: bytes) -> str:
        """Return an id for an object that the turn creates. A retry with the same idempotency key gets the same id.

        Objects that are created concurrently are distinguished by their creation arguments, ``body``.
        """
        key = self._derived_key(ObjectKey(namespace, type_name, ""), "@id", body)
        if key is not None:
            return derived_id(namespace, type_name, key)
        host = self._turn.activation.host
        return time_ordered_id(host.clock.wall_ms(), host.entropy(10))

    # --- reliable calls -----------------------------------------------------------------------------------------------

    def now_ms(self) -> int:
        """Return the wall time of the node, in milliseconds since the epoch."""
        return self._turn.activation.host.clock.wall_ms()

    def send_call(self, call: SentCall) -> SentCall:
        """Send a reliable call with the commit of this turn; see ``goverse.objects.context.Turn.send_call``."""
        self._check_sends(f"send a call to {call.receiver}")
        self._check_method(call)
        outbox, effects = self._outbox()
        if call.id and (pending := self._look(partial(outbox.find, call.id))) is not None:
            if not same_content(pending, call):
                raise CallIdMismatch(
                    f"{self._turn.activation.key} has a pending call with the id {call.id!r}, to {pending.receiver} or "
                    "with other arguments; choose another id"
                )
            return pending
        outbox.check_room()
        effects.send(sent := self._originating(call))
        return sent

    def _check_method(self, call: SentCall) -> None:
        if len(call.body) > STATE_BYTES_MAX:
            raise _too_large(call.receiver, call.method, call.body)
        spec = self._turn.activation.host.registry.types.get(call.receiver.type)
        if is_note(call):
            raise MethodFailed(f"{call.method!r} is no method; the methods of {call.receiver.type} have other names")
        if spec is not None and call.method not in spec.methods:
            raise unknown_method(spec, call.method, inside=True)

    def start_saga(self, name: str, saga: Saga) -> str:
        """Start a saga with the commit of this turn; see ``goverse.objects.context.Turn.start_saga``."""
        self._check_sends("start a saga")
        host, key = self._turn.activation.host, self._turn.activation.key
        for each in (*saga.steps, *saga.undos):
            if each is not None:
                self._check_method(SentCall("", each.receiver, each.method, each.body))
        own_id, body, first = note_id(SAGA, name or host.new_call_id(key)), saga.encode(), saga.running
        if len(body) > STATE_BYTES_MAX:
            raise TooLarge(f"the steps of the saga take {len(body)} bytes; {STATE_BYTES_MAX} are allowed")
        outbox, effects = self._outbox()
        if name and self._look(lambda: host.kept_results.find(key, own_id) or outbox.find(own_id)) is not None:
            raise CallIdMismatch(f"{key} has a running saga with the name {name!r}; choose another name")
        outbox.check_room()
        expires_ms = self.now_ms() + first.expires_ms
        call = SentCall("", *first[:3], then=own_id, expires_ms=expires_ms, attempts_max=first.attempts_max)
        effects.send(self._originating(call))
        effects.send(self._originating(SentCall(own_id, key, SAGA, body)))
        return own_id

    def _originating(self, call: SentCall) -> SentCall:
        """Return the call with what follows from the turn that sends it, and with an id."""
        turn, request, now_ms = self._turn, self._turn.request, self.now_ms()
        return call._replace(
            id=call.id or turn.activation.host.new_call_id(turn.activation.key),
            sent_ms=now_ms,
            subject=request.caller.subject,
            request_id=request.request_id,
            traceparent=turn.context.traceparent if request.traceparent else "",
            tracestate=request.tracestate,
        )

    def cancel_call(self, call_id: str) -> bool:
        """Cancel a pending call of the object with the commit of this turn."""
        self._check_sends("cancel calls")
        return self._look(partial(self._outbox()[0].cancel, call_id))

    def pending_calls(self) -> Sequence[PendingCall]:
        """Return the pending calls of the object in order, as this turn leaves them."""
        self._check_open("read the pending calls of its object")
        return self._look(self._outbox()[0].calls)

    # --- kept results -------------------------------------------------------------------------------------------------

    async def keep_result(self, name: str, make: Callable[[], Awaitable[bytes]]) -> bytes:
        """Return the kept result ``name``; see ``goverse.objects.context.Turn.keep_result``."""
        self._check_sends("carry out an effect once")
        turn = self._turn
        activation, own_id = turn.activation, note_id(KEPT_RESULT, name)
        kept = activation.host.kept_results
        await activation.durable()
        if turn.call_numbers is None:
            turn.call_numbers = {}  # the turn may have an effect even if it fails

        def older() -> tuple[int, ...]:
            found = kept.find(activation.key, own_id)
            return () if found is None else (found.number,)

        def find() -> PendingCall | None:
            self._check_sends("carry out an effect once")
            found = self._look(partial(kept.find, activation.key, own_id))
            if found is not None and not self._is_forgotten(found):
                return found
            if found is None and len(kept.all_of(activation.key)) >= KEPT_RESULTS_MAX:
                raise MethodFailed(
                    f"{activation.key} keeps {KEPT_RESULTS_MAX} results, so self.once({name!r}) was not carried out; "
                    "remove those that are not needed any more with self.forget_once(name)"
                )
            return None

        async def note() -> tuple[SentCall, tuple[int, ...]]:
            body = await make()
            return self._originating(SentCall(own_id, activation.key, KEPT_RESULT, body)), older()

        return await kept.get(activation, own_id, find, note, activation.host.contexts.new())

    def forget_result(self, name: str) -> bool:
        """Remove the kept result ``name`` with the commit of this turn. Return False if there is none."""
        self._check_sends("forget a kept result")
        turn = self._turn
        kept = turn.activation.host.kept_results
        found = self._look(partial(kept.find, turn.activation.key, note_id(KEPT_RESULT, name)))
        if found is None or self._is_forgotten(found):
            return False
        effects = self._outbox()[1]
        effects.removes = (*effects.removes, found.number)
        return True

    def _is_forgotten(self, note: PendingCall) -> bool:
        effects = self._turn.effects
        return effects is not None and note.number in effects.removes

    def _look(self, look: Callable[[], T]) -> T:
        """Look at the pending calls of the object.

        They are not known for a moment after the shard has moved. The turn then fails, whatever its method does with
        the error. It has no effect, so the router runs the call again, under its key.

        Raises:
            Unavailable: they are not known yet.
        """
        try:
            return look()
        except Unavailable as error:
            again = Unavailable(error.detail)  # of its own, because an error that leaves the method loses its verdict
            self._turn.condemned = known(again, Executed.UNKNOWN)
            raise

    def _outbox(self) -> tuple[Outbox, TurnEffects]:
        """Return the outbox of the object as the turn sees it, and the effects of the turn."""
        turn = self._turn
        effects = turn.effects
        if effects is None:
            effects = turn.effects = TurnEffects()
        return Outbox(turn.activation, turn.activation.host.outgoing, effects), effects

    def _check_sends(self, verb: str) -> None:
        self._check_open(verb)
        turn = self._turn
        if turn.readonly:
            raise ReadonlyViolation(
                f"{turn.activation.key.type}.{turn.name} is readonly and cannot {verb}; declare it without "
                "readonly=True"
            )

    # --- checks and keys ----------------------------------------------------------------------------------------------

    def _refusal(self, key: ObjectKey, method: str, body: bytes) -> GoverseError | None:
        """Return the error for a call that the turn may not make, or None.

        Two rules are checked. The body must fit the size limit of calls to another node, even if the object is on this
        one, so that the outcome does not depend on placement. A readonly turn may call readonly methods only; methods
        that this node does not know are left to the node that serves the object.
        """
        if len(body) > STATE_BYTES_MAX:
            return _too_large(key, method, body)
        turn = self._turn
        if not turn.readonly:
            return None
        spec = turn.activation.host.registry.types.get(key.type)
        called = spec.methods.get(method) if spec is not None else None
        if called is None or called.readonly:
            return None  # the node that serves the object decides
        return ReadonlyViolation(violation(f"{turn.activation.key.type}.{turn.name}", key, method))

    def _derived_key(self, key: ObjectKey, method: str, body: bytes) -> str | None:
        """Return the idempotency key of a nested call. It is unique to the call and the same in every attempt.

        The key is a hash of the object, the turn's origin (``Turn.origin``), the hook or method that runs, the called
        object and method, and a sequence number. Calls that a method makes from its own task are numbered in order.

        Concurrent calls, made from other tasks of the turn, may change their order between attempts. Their key also
        contains their arguments, and the number counts calls with equal arguments. The same applies to calls of
        ``on_activate``: a repeated call may run it again on another activation, with other arguments.
        """
        turn, own_key = self._turn, self._turn.origin
        numbers = turn.call_numbers
        if numbers is None:
            numbers = turn.call_numbers = {}
        if own_key is None:
            return None
        in_order = asyncio.current_task() is turn.task and turn.name != "on_activate"
        print_ = b"" if in_order else blake2b(body, digest_size=16, person=b"goverse.nested").digest()
        count = numbers[key, method, print_] = numbers.get((key, method, print_), 0) + 1
        origin = "\x00".join((*turn.activation.key, own_key, turn.name, *key, method, print_.hex(), str(count)))
        prefix = DERIVED_KEY_PREFIX if own_key.startswith(ROUTER_KEY_PREFIX) else CLIENT_DERIVED_KEY_PREFIX
        return f"{prefix}{blake2b(origin.encode(), digest_size=24, person=b'goverse.nested').hexdigest()}"


def _too_large(key: ObjectKey, method: str, body: bytes) -> TooLarge:
    what = f"the arguments of {key.type}.{method}" if method else f"the creation arguments of {key.type}"
    return TooLarge(f"{what} have {len(body)} bytes; {STATE_BYTES_MAX} are allowed")


def violation(caller: str, key: ObjectKey, method: str) -> str:
    """Return the error text for a readonly turn that calls a method that is not readonly."""
    return (
        f"{caller} is readonly and called {key.type}.{method} of {key}, which may change its object; call a readonly "
        f"method, or declare {caller} without readonly=True"
    )
