"""Execution of methods: plain functions run immediately, coroutines as tasks.

A method can end in many ways: a result, an exception, ``sys.exit()``, a cancellation, a value of the wrong type. This
module turns each of them into one of two outcomes for the turn's ``done``: the result as JSON, or a ``GoverseError``.
No exception of user code leaves this module, except a ``KeyboardInterrupt`` in tests (``Node.passes_interrupts``).
"""

from __future__ import annotations

import asyncio
import logging
import reprlib
from collections.abc import Awaitable, Coroutine
from contextlib import suppress
from functools import lru_cache
from types import CoroutineType
from typing import Any
from weakref import ref

from pydantic import ValidationError

from goverse.errors import (
    BusinessError,
    Deadlock,
    GoverseError,
    MalformedRequest,
    MethodFailed,
    ObjectExists,
    ObjectNotFound,
    ReadonlyViolation,
    ReentrancyConflict,
    TooLarge,
    TryAgain,
    Unavailable,
)
from goverse.model import json_values
from goverse.model.frames import Problem
from goverse.model.keys import is_name
from goverse.model.problem_bounds import bounded_members
from goverse.objects.context import current_turn
from goverse.objects.validation_errors import in_words, without_input
from goverse_node.runtime.groups import single
from goverse_node.runtime.turn import Scope, Stepped, Turn

logger = logging.getLogger("goverse.node.turn")

NO_RESULT = b"null"
_SHOWN_MAX = 200
_PLAIN = frozenset((type(None), bool, int, float, str, bytes, list, dict, tuple, set))
_PASSED_ON = (
    *(BusinessError, MethodFailed, TryAgain, Deadlock, ReentrancyConflict, TooLarge),
    # Errors that a caller's argument may cause: the id of an object that is missing, that exists, or that is invalid
    *(ObjectNotFound, ObjectExists, MalformedRequest),
)


def run(turn: Turn, target: Any, arguments: dict[str, Any]) -> None:
    """Start the turn's method on ``target``. A turn without a method ends immediately.

    The current context is the turn's own. A coroutine gets a copy of it, as every task does.
    """
    method = turn.method
    if method is None:
        _end(turn, NO_RESULT, None)
        return
    scope = Scope()
    scope.turn = turn
    current_turn.set(scope)
    try:
        value = method.function(target, **arguments)
        if method.is_async or (value.__class__ not in _PLAIN and _is_awaitable(value.__class__)):
            running = drive(turn, value, scope)
            turn.task = asyncio.get_running_loop().create_task(running)
            turn.activation.node.track(turn)
            return
    except BaseException as error:
        current_turn.set(None)  # code that runs because of the answer is not part of the turn
        mark = ref(scope)
        del scope
        _fail(turn, error, mark)
        return
    current_turn.set(None)
    mark = ref(scope)
    del scope
    _succeed(turn, value, mark)


async def drive(turn: Turn, value: Any, scope: Scope) -> None:
    """Await the awaitable that the method returned, then end the turn. ``scope`` is held by this task's context."""
    turn.started = True
    coroutine: Coroutine[Any, Any, Any] = value if value.__class__ is CoroutineType else _awaiting(value)
    if turn.expired is not None:
        coroutine.close()
        current_turn.set(None)
        _end(turn, b"", turn.expired)
        return
    mark = ref(scope)
    del scope
    try:
        if turn.stepped:
            value = await Stepped(turn, coroutine)
        else:
            value = await coroutine
    except BaseException as error:
        if isinstance(error, GeneratorExit) and not _is_running(turn):
            raise  # the event loop is gone, and with it every waiter
        current_turn.set(None)
        _fail(turn, error, mark)
    else:
        current_turn.set(None)
        _succeed(turn, value, mark)


def _is_running(turn: Turn) -> bool:
    """Return True if the turn's task is running.

    A ``GeneratorExit`` then comes from the method itself, and not from the garbage collection of its coroutine.
    """
    try:
        return asyncio.current_task() is turn.task
    except RuntimeError:
        return False


@lru_cache(maxsize=512)
def _is_awaitable(kind: type[Any]) -> bool:
    return hasattr(kind, "__await__")


async def _awaiting(value: Awaitable[Any]) -> Any:
    return await value


def _succeed(turn: Turn, value: Any, mark: ref[Scope]) -> None:
    assert turn.method is not None
    if mark() is not None:
        turn.activation.left_behind(turn, mark)
    limit = turn.activation.node.options.result_bytes_max
    try:
        body = turn.method.result.encode(value)
        if len(body) > limit:
            raise TooLarge(
                f"the result of {turn.activation.key.type}.{turn.name} has {len(body)} bytes; {limit} are allowed"
            )
    except BaseException as error:
        if isinstance(error, MethodFailed):
            logger.error("method returned a wrong value", extra=_of_result(turn, value, error))
        _end(turn, b"", public_error(turn, error))
        return
    _end(turn, body, None)


def _fail(turn: Turn, error: BaseException, mark: ref[Scope]) -> None:
    if mark() is not None:
        turn.activation.left_behind(turn, mark)
    _end(turn, b"", public_error(turn, error))
    if isinstance(error, KeyboardInterrupt) and turn.activation.node.passes_interrupts:
        raise error


def _end(turn: Turn, body: bytes, error: GoverseError | None) -> None:
    """Call the turn's ``done``. If that raises, refuse the caller and reload the object."""
    try:
        turn.done(turn, body, error)
    except Exception:
        logger.exception("error while completing a turn", extra=turn.log_fields())
        failure = Unavailable("the node failed to complete the call; it may or may not have taken effect")
        turn.closed = True
        turn.activation.node.untrack(turn)
        turn.activation.leave()
        if turn.call is not None:
            turn.call.refuse(failure)


def public_error(turn: Turn, error: BaseException) -> GoverseError:
    """Return the error for the caller. It reveals no more of ``error`` than the method declares as public."""
    if turn.expired is not None:
        return turn.expired
    cause = single(error)
    if isinstance(cause, _PASSED_ON):
        cause.link_verdict = None  # a verdict here is about a nested call, or was set by the application
        unfit = _make_encodable(cause)
        if unfit is None:
            if isinstance(cause, ReadonlyViolation):
                logger.error("method broke a rule", extra={**turn.log_fields(), "reason": cause.detail})
            return cause
        logger.error("an error of a method cannot be encoded", extra={**turn.log_fields(), "reason": unfit})
    logger.error("method failed", exc_info=error, extra={**turn.log_fields(), **_reason(cause)})
    failure = _public(turn, cause) or _public(turn, error) or _hidden(turn, cause)
    if turn.activation.node.shows_causes:
        failure.__cause__ = cause
    return failure


def _of_result(turn: Turn, value: Any, error: Exception) -> dict[str, str | int]:
    """Return the log fields for a result of a wrong type. Its value is left out if the type has hidden fields."""
    found = {**turn.log_fields(), "reason": str(error)}
    if not turn.activation.spec.state.hidden:
        found["value"] = _shown(value)
    return found


def _reason(error: BaseException) -> dict[str, str]:
    """Return the log field ``reason`` of a GoVerse error: its text, and the fields that it names."""
    if not isinstance(error, GoverseError):
        return {}
    detail, where = _text(error), ""
    with suppress(Exception):  # an application's subclass may hold any value there, or lack the attribute
        where = in_words([problem for problem in error.extra["errors"] if problem["message"] not in detail])
    return {"reason": f"{detail}; {where}" if where else detail}


def _hidden(turn: Turn, error: BaseException) -> MethodFailed:
    """Return the error for the caller when the method raised an undeclared one; a GoVerse error shows its code."""
    name = f"{turn.activation.key.type}.{turn.name}"
    if isinstance(error, GoverseError):
        return MethodFailed(
            f"{name} raised an error, {error.code}; the state is unchanged, and the node's log has the cause",
            cause=error.code,
        )
    return MethodFailed(f"{name} raised an error; the state is unchanged, and the node's log has the cause")


def _public(turn: Turn, error: BaseException) -> MethodFailed | None:
    """Return the error for the caller if the method declares ``error`` in ``raises``, else None."""
    if turn.method is None or not turn.method.raises or not isinstance(error, turn.method.raises):
        return None
    kind = type(error).__name__
    public = MethodFailed(f"{turn.activation.key.type}.{turn.name} raised {kind}: {_text(error)}", exception=kind)
    return public if _make_encodable(public) is None else None


def _make_encodable(error: GoverseError) -> str | None:
    """Convert the application's values in an error to plain JSON values. Return the reason if that fails, else None."""
    try:
        error.detail = str(error.detail)
        if error.extra:
            error.extra = bounded_members(dict(json_values.plain(error.extra)))
        problem = Problem.of(error)
        json_values.encode((problem.code, problem.detail))
        if not is_name(problem.code):
            return f"its code is {problem.code!r:.100}, not an identifier"
    except BaseException as reason:
        return f"its members have no JSON form: {reason}"
    status: Any = problem.status  # an application may have set any value
    if status is not None and not (isinstance(status, int) and 400 <= status <= 499):
        return f"its status is {status!r:.100}, which is not in 400 to 499"
    return None


def _text(error: BaseException) -> str:
    try:  # the text of a ValidationError contains its input, which may belong to a field that GET does not show
        return without_input(error) if isinstance(error, ValidationError) else str(error)
    except BaseException:
        return "(error text unavailable)"


def _shown(value: Any) -> str:
    """Return the repr of a value for the log, cut to ``_SHOWN_MAX`` characters."""
    try:
        return reprlib.repr(value)[:_SHOWN_MAX]
    except Exception:
        return f"({type(value).__name__} without a repr)"
