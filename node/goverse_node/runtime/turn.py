"""A turn: one run of a method on an object.

A plain function runs immediately, on the stack of its caller. A coroutine gets a task of its own, because libraries
inspect the current task (timeouts, task groups) and must not find the task of other code.

A method can end in many ways: a result, an exception, ``sys.exit()``, a cancellation, a value of the wrong type. A turn
reduces them to two: the result as JSON, or a ``GoverseError``. Only a ``KeyboardInterrupt`` in tests leaves a turn.

Readonly and re-entrant turns may run beside other turns of the object, so they are driven step by step. Whenever the
coroutine suspends, the object's state is compared, so a change is always attributed to the turn that made it.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Coroutine, Generator
from dataclasses import replace
from functools import lru_cache
from time import perf_counter
from types import CoroutineType
from typing import Any, Final, Protocol
from weakref import ref

from goverse.errors import GoverseError, MethodFailed, StateInvalid, Timeout, TooLarge, TryAgain
from goverse.model.frames import Request
from goverse.model.keys import ObjectKey
from goverse.model.trace_context import child_of, is_sampled, span_id, trace_id
from goverse.objects.context import Context, current_turn
from goverse.objects.creation import NO_ARGUMENTS
from goverse.objects.declaration import HOOKS
from goverse.objects.spec import MethodSpec, TypeSpec
from goverse_node.options import NodeOptions
from goverse_node.runtime.call import Call, origin_of
from goverse_node.runtime.group_commit import UNCHANGED
from goverse_node.runtime.groups import single
from goverse_node.runtime.method_errors import log_wrong_result, public_error
from goverse_node.runtime.scope import CallHost, CallingObject, Scope, forgotten
from goverse_node.runtime.shard_counters import ShardCounters, measured
from goverse_node.runtime.strays import Strays
from goverse_node.runtime.turn_effects import TurnEffects
from goverse_node.runtime.turn_kinds import TurnKind

logger = logging.getLogger("goverse.node.turn")

NO_RESULT: Final = b"null"
_NO_LIMIT: Final = math.inf
_PLAIN: Final = frozenset((type(None), bool, int, float, str, bytes, list, dict, tuple, set))


class TurnHost(CallHost, Protocol):
    """The part of a host that a turn uses."""

    options: NodeOptions
    shows_causes: bool
    passes_interrupts: bool


class TurnState(Protocol):
    """The state of the object, which is compared between the steps of its turns."""

    @property
    def running(self) -> list[Turn]: ...
    @property
    def strays(self) -> Strays | None: ...

    def prepare(self, turn: Turn) -> GoverseError | None:
        """Prepare a step of ``turn``. Return the error that ends the turn, or None."""
        ...

    def observe(self, turn: Turn) -> None:
        """Compare the state after a step of ``turn``, and raise an error for a change that is not allowed."""
        ...

    def left_behind(self, turn: Turn, mark: ref[Scope]) -> None:
        """Track a task or callback that a method left running when its turn ended."""
        ...


class TurnObject(CallingObject, Protocol):
    """The object of a turn."""

    @property
    def host(self) -> TurnHost: ...
    @property
    def spec(self) -> TypeSpec: ...
    @property
    def shard(self) -> int: ...
    @property
    def epoch(self) -> int: ...
    @property
    def counters(self) -> ShardCounters: ...
    @property
    def state(self) -> TurnState: ...

    def finished(self, turn: Turn, body: bytes, error: GoverseError | None) -> None:
        """Handle the end of a turn: its result as JSON, or its error."""
        ...

    def failed_to_finish(self, turn: Turn) -> None:
        """Handle an exception in ``finished``: refuse the turn's call and leave memory."""
        ...

    def leave(self) -> None:
        """Leave memory as soon as all commits are durable."""
        ...

    def spoil(self, error: GoverseError) -> None:
        """Discard the live object, whose state cannot be restored."""
        ...


class Turn:
    """A running method.

    Attributes:
        kind: what the end of the turn does.
        method: the exported method or hook; None for a turn without user code.
        call: the call that the turn serves; None for a hook that runs without a call.
        creation: digest of the creation arguments, for an object that the turn creates.
        deadline: time at which the turn is cancelled, on the loop's clock.
        limit: upper bound on ``deadline``, from the method's own time limit.
        expired: the error with which the turn was cancelled, or None. A result that it still returns has no effect.
        condemned: the error for a change that is not allowed, or for a look at pending calls that are not known, or
            None. The turn fails with it even if the method catches the exception.
        began: the start of its current step, moved by the time of other turns within it; set by ``measured``.
        waits_for: the objects that it has called and that have not answered.
        call_numbers: how many equal calls it has made to other objects, or None if it has made none.
        unawaited: its calls to other objects whose coroutines have not begun to run; None if it has made none.
        effects: what it adds to its commit record besides the state, or None if that is nothing.
        started: True once its task has taken its first step.
        stepped: True if it is driven step by step.
        closed: True once it has ended or expired, or its activation is gone. It may not call other objects any more.
    """

    __slots__ = (
        "_context",
        "activation",
        "began",
        "call",
        "call_numbers",
        "closed",
        "condemned",
        "creation",
        "deadline",
        "effects",
        "expired",
        "kind",
        "limit",
        "method",
        "readonly",
        "request",
        "started",
        "stepped",
        "task",
        "unawaited",
        "waits_for",
    )

    began: float

    def __init__(
        self, activation: TurnObject, kind: TurnKind, request: Request, method: MethodSpec | None, call: Call | None
    ) -> None:
        """Prepare a turn for ``request``. ``run`` starts it."""
        self.activation = activation
        self.kind = kind
        self.request = request
        self.method = method
        self.call = call
        self.readonly = method is not None and method.readonly
        self.stepped = method is not None and (method.readonly or method.reentrant)
        self.deadline = request.deadline
        self.limit = _NO_LIMIT
        self.creation = NO_ARGUMENTS
        self.expired: GoverseError | None = None
        self.condemned: GoverseError | None = None
        self.closed = False
        self.waits_for: tuple[ObjectKey, ...] = ()
        self.call_numbers: dict[tuple[ObjectKey, str, bytes], int] | None = None
        self.unawaited: list[tuple[str, Coroutine[Any, Any, Any]]] | None = None
        self.effects: TurnEffects | None = None
        self.task: asyncio.Task[None] | None = None
        self.started = False
        self._context: Context | None = None

    # --- what it is ---------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The name of the method or operation, for messages."""
        return self.method.name if self.method is not None else self.request.operation.name.lower()

    @property
    def full_name(self) -> str:
        """The name with the object's type, for messages."""
        return f"{self.activation.key.type}.{self.name}"

    @property
    def context(self) -> Context:
        """The context of the call, as user code reads it."""
        if self._context is None:
            request = self.request
            via = (request.delivery.sender,) if request.delivery is not None else request.chain
            self._context = Context(
                request_id=request.request_id,
                method=self.name,
                caller=request.caller.through(via) if via else request.caller,
                idempotency_key=request.idempotency_key,
                traceparent=child_of(request.traceparent) if is_sampled(request.traceparent) else request.traceparent,
                tracestate=request.tracestate,
                chain=request.chain,
                deadline=self.deadline,
            )
        return self._context

    @property
    def origin(self) -> str | None:
        """The key from which the idempotency keys of nested calls are derived, the same in every attempt, or None."""
        return origin_of(self.request, None if self.call is None else self.call.reliable)

    def log_fields(self) -> dict[str, str | int]:
        """Return the log fields that locate this turn. The shard is included only if shards have owners (epoch > 0)."""
        activation, request = self.activation, self.request
        found: dict[str, str | int] = {
            "object": str(activation.key),
            "method": self.name,
            "request_id": request.request_id,
        }
        if activation.epoch:
            found["shard"] = activation.shard
        if (parent := request.traceparent) != "":
            found["trace_id"] = trace_id(parent)
            if is_sampled(parent):
                found["span_id"], found["parent_span_id"] = span_id(self.context.traceparent), span_id(parent)
        return found

    def log_broken_rule(self, error: GoverseError) -> None:
        """Log that the method broke a rule of the object model, and add the method's name to the error."""
        if not isinstance(error, MethodFailed | TooLarge) or isinstance(error, StateInvalid):
            return
        name = self.full_name
        if not error.detail.startswith(name):
            error.detail = f"{name}: {error.detail}"
            error.args = (error.detail,)
        extra = {**self.log_fields(), "reason": error.detail}
        if values := getattr(error, "__notes__", None):
            extra["values"] = "; ".join(values)
        logger.error("method broke a rule", extra=extra)

    @property
    def fate(self) -> str:
        """The effect of a turn that ends without a commit, as part of an error message."""
        return "nothing of it took effect" if self.call_numbers is None else UNCHANGED

    def led_to(self, call: Call) -> bool:
        """Return True if ``call`` was made on behalf of this turn: it extends its chain and has its request id."""
        before, chain = self.request.chain, call.request.chain
        depth = len(before)
        return (
            depth < len(chain)
            and chain[depth] == self.activation.key
            and chain[:depth] == before
            and self.request.request_id == call.request.request_id
        )

    # --- deadline -----------------------------------------------------------------------------------------------------

    def limit_to(self, deadline: float) -> None:
        """Set the method's own time limit, which holds for every caller."""
        self.limit = deadline
        self.deadline = min(self.request.deadline, deadline)

    def expire(self, error: GoverseError) -> None:
        """Cancel the turn and refuse its call with ``error``. A result that the method still returns has no effect."""
        if self.expired is None:
            self.expired = error
            self.closed = True
            if self.call is not None:
                self.call.refuse(error)
            if self.task is not None and self.started:  # one cancelled before its first step would never be `finished`
                self.task.cancel()

    def extend(self, now: float) -> bool:
        """Continue for a follower with a later deadline, because the caller's has passed.

        The method's own time limit applies to every caller and is not extended. Returns False if there is no follower.
        """
        call = self.call
        if call is None or call.answered or self.limit <= now:
            return False
        error = Timeout(
            f"{self.activation.key}.{self.name} did not end before the deadline of this caller; it continues for "
            "another caller with the same idempotency key and may still take effect",
            operation=self.name,
            object=str(self.activation.key),
        )
        if not call.promote_follower(error, now):
            return False
        call.stats.count_timeout(self.full_name)
        self.deadline = min(call.request.deadline, self.limit)
        if self._context is not None:
            self._context = replace(self._context, deadline=self.deadline)
        return True

    def runs_again(self, failure: GoverseError, now: float) -> bool:
        """Return True if the call runs again for a follower: the turn failed because of the first caller's deadline.

        Nested calls carry the first caller's deadline and fail when it passes, even if the turn itself was extended.
        Nested calls that were completed have no second effect, because the second run derives the same idempotency
        keys.
        """
        call = self.call
        if call is None or call.answered or not isinstance(failure, TryAgain):
            return False
        if now < self.request.deadline or self.limit <= now:
            return False
        if call.request.deadline <= now and not call.promote_follower(failure, now):
            return False
        call.request.fresh_key = False  # nested calls may have taken effect under keys that derive from this one
        return True

    def timeout(self) -> Timeout:
        """Return the error for a turn that did not end before its deadline.

        ``seconds`` is set if a time limit of the method, a hook or a re-entrant call ended it. The time that the caller
        was willing to wait is added by its gate.
        """
        own_limit: dict[str, float] = {}
        if self.method is not None and self.limit <= self.deadline:
            options = self.activation.host.options
            own_limit["seconds"] = self.method.timeout_s or (
                options.hook_timeout_s if self.method.name in HOOKS else options.call_timeout_s
            )
        return Timeout(
            f"{self.activation.key}.{self.name} did not end before its deadline; {self.fate}",
            operation=self.name,
            object=str(self.activation.key),
            **own_limit,
        )

    # --- execution ----------------------------------------------------------------------------------------------------

    def run(self, target: Any, arguments: dict[str, Any]) -> None:
        """Start the method on ``target``. A turn without a method ends immediately.

        The current context is the turn's own. A coroutine gets a copy of it, as every task does.
        """
        method = self.method
        if method is None:
            self._end(NO_RESULT, None)
            return
        scope = Scope(self)
        current_turn.set(scope)
        began = perf_counter()
        try:
            value = method.function(target, **arguments)
            if method.is_async or (value.__class__ not in _PLAIN and _is_awaitable(value.__class__)):
                self.task = asyncio.get_running_loop().create_task(self.drive(value, scope))
                return
        except BaseException as error:
            self.activation.counters.turn_s += perf_counter() - began
            current_turn.set(None)  # code that runs because of the answer is not part of the turn
            mark = ref(scope)
            del scope
            self._fail(error, mark)
            return
        self.activation.counters.turn_s += perf_counter() - began
        current_turn.set(None)
        mark = ref(scope)
        del scope
        self._succeed(value, mark)

    async def drive(self, value: Any, scope: Scope) -> None:
        """Await the awaitable that the method returned, then end the turn. This task's context holds ``scope``."""
        self.started = True
        coroutine: Coroutine[Any, Any, Any] = value if value.__class__ is CoroutineType else _awaiting(value)
        if self.expired is not None:
            coroutine.close()
            current_turn.set(None)
            self._end(b"", self.expired)
            return
        mark = ref(scope)
        del scope
        try:
            steps = Stepped(self, coroutine).__await__() if self.stepped else coroutine
            value = await measured(steps, self)
        except BaseException as error:
            if isinstance(error, GeneratorExit) and not self._is_current():
                raise  # the event loop is gone, and with it every waiter
            current_turn.set(None)
            self._fail(error, mark)
        else:
            current_turn.set(None)
            self._succeed(value, mark)

    def _is_current(self) -> bool:
        """Return True if the turn's task is running.

        A ``GeneratorExit`` then comes from the method itself, and not from the garbage collection of its coroutine.
        """
        try:
            return asyncio.current_task() is self.task
        except RuntimeError:
            return False

    def _succeed(self, value: Any, mark: ref[Scope]) -> None:
        assert self.method is not None
        if mark() is not None:
            self.activation.state.left_behind(self, mark)
        if self.unawaited and (error := forgotten(self.full_name, self.unawaited)):
            self.log_broken_rule(error)
            self._end(b"", self._public_error(error))
            return
        limit = self.activation.host.options.result_bytes_max
        try:
            body = self.method.result.encode(value)
            if len(body) > limit:
                raise TooLarge(f"the result of {self.full_name} has {len(body)} bytes; {limit} are allowed")
        except BaseException as error:
            if isinstance(error, MethodFailed):
                hides = bool(self.activation.spec.state.hidden)
                log_wrong_result(value, error, self.log_fields(), hides=hides)
            self._end(b"", self._public_error(error))
            return
        self._end(body, None)

    def _fail(self, error: BaseException, mark: ref[Scope]) -> None:
        if mark() is not None:
            self.activation.state.left_behind(self, mark)
        self._end(b"", self._public_error(error))
        if isinstance(error, KeyboardInterrupt) and self.activation.host.passes_interrupts:
            raise error

    def _public_error(self, error: BaseException) -> GoverseError:
        if self.expired is not None:
            return self.expired
        raises = () if self.method is None else self.method.raises
        failure = public_error(error, self.full_name, raises, self.log_fields())
        if self.activation.host.shows_causes and failure is not (cause := single(error)):
            failure.__cause__ = cause
        return failure

    def _end(self, body: bytes, error: GoverseError | None) -> None:
        try:
            self.activation.finished(self, body, error)
        except Exception:
            logger.exception("error while completing a turn", extra=self.log_fields())
            self.closed = True
            self.activation.failed_to_finish(self)


class Stepped:
    """Awaits a coroutine and compares the object's state whenever it suspends or returns.

    An error of that comparison is raised inside the coroutine.
    """

    __slots__ = ("_coroutine", "_turn")

    def __init__(self, turn: Turn, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._turn = turn
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, Any]:
        """Drive the coroutine as ``await`` would."""
        coroutine, turn, state = self._coroutine, self._turn, self._turn.activation.state
        running = state.running
        failure: BaseException | None = None
        while True:
            if len(running) > 1 or state.strays is not None:
                failure = state.prepare(turn) or failure
            try:
                waits_for = coroutine.send(None) if failure is None else coroutine.throw(failure)
            except StopIteration as end:
                state.observe(turn)
                return end.value
            try:
                state.observe(turn)
            except GoverseError as refused:
                failure = refused
                cancel = getattr(waits_for, "cancel", None)
                if callable(cancel):
                    cancel()
                continue
            try:
                yield waits_for
                failure = None
            except BaseException as error:
                failure = error


@lru_cache(maxsize=512)
def _is_awaitable(kind: type[Any]) -> bool:
    return hasattr(kind, "__await__")


async def _awaiting(value: Awaitable[Any]) -> Any:
    return await value
