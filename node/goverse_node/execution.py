"""Running a method: plain functions at once, coroutines as tasks, and every way of ending turned into one of two.

However a method ends (result, exception, exit, cancellation, a value of the wrong type), the turn's ``done`` hears
either the result as JSON or a ``GoverseError``; nothing that user code raises gets past this module.
"""

from __future__ import annotations

import asyncio
import logging
import reprlib
from collections.abc import Awaitable, Coroutine
from contextlib import suppress
from contextvars import Context as ContextVars
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
from goverse.objects.complaints import in_words, without_input
from goverse.objects.context import current_turn
from goverse_node.groups import single
from goverse_node.turn import Scope, Stepped, Turn

logger = logging.getLogger("goverse.node.turn")

NO_RESULT = b"null"
_SHOWN_MAX = 200
_PLAIN = frozenset((type(None), bool, int, float, str, bytes, list, dict, tuple, set))
_PASSED_ON = (
    *(BusinessError, MethodFailed, TryAgain, Deadlock, ReentrancyConflict, TooLarge),
    # What a caller's own argument may bring about: the id of an object that is missing, that exists, or that is invalid
    *(ObjectNotFound, ObjectExists, MalformedRequest),
)


def run(turn: Turn, target: Any, arguments: dict[str, Any], context: ContextVars) -> None:
    """Start the turn's method on ``target``; a turn without one is done at once.

    ``context`` is the turn's own, and the current one.
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
            turn.task = asyncio.get_running_loop().create_task(running, context=context)
            turn.activation.node.track(turn)
            return
    except BaseException as error:
        current_turn.set(None)  # what an answer brings about is no part of the turn
        mark = ref(scope)
        del scope
        _fail(turn, error, mark)
        return
    current_turn.set(None)
    mark = ref(scope)
    del scope
    _succeed(turn, value, mark)


async def drive(turn: Turn, value: Any, scope: Scope) -> None:
    """Await what the method returned, and end the turn. ``scope`` is the turn's in this task's context."""
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
            raise  # the loop is gone, and with it everybody who could be told
        current_turn.set(None)
        _fail(turn, error, mark)
    else:
        current_turn.set(None)
        _succeed(turn, value, mark)


def _is_running(turn: Turn) -> bool:
    """Tell whether the turn's task runs: a ``GeneratorExit`` is the method's own then, and no end of its coroutine."""
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
        _end(turn, b"", told(turn, error))
        return
    _end(turn, body, None)


def _fail(turn: Turn, error: BaseException, mark: ref[Scope]) -> None:
    if mark() is not None:
        turn.activation.left_behind(turn, mark)
    _end(turn, b"", told(turn, error))
    if isinstance(error, KeyboardInterrupt) and turn.activation.node.passes_interrupts:
        raise error


def _end(turn: Turn, body: bytes, error: GoverseError | None) -> None:
    """Tell that the turn is over. Should that fail, the caller is answered all the same and the object starts over."""
    try:
        turn.done(turn, body, error)
    except Exception:
        logger.exception("a turn could not be ended", extra=turn.place())
        failure = Unavailable("the call could not be brought to its end; it may or may not have taken effect")
        turn.closed = True
        turn.activation.node.untrack(turn)
        turn.activation.leave()
        if turn.call is not None:
            turn.call.refuse(failure)


def told(turn: Turn, error: BaseException) -> GoverseError:
    """Return the error for the caller: no more of ``error`` than the method declares public."""
    if turn.expired is not None:
        return turn.expired
    cause = single(error)
    if isinstance(cause, _PASSED_ON):
        cause.link_verdict = None  # it speaks of a nested call, or the application set it; not of this call
        unfit = _made_fit(cause)
        if unfit is None:
            if isinstance(cause, ReadonlyViolation):
                logger.error("method broke a rule", extra={**turn.place(), "reason": cause.detail})
            return cause
        logger.error("a refusal cannot be told", extra={**turn.place(), "reason": unfit})
    logger.error("method failed", exc_info=error, extra={**turn.place(), **_reason(cause)})
    failure = _public(turn, cause) or _public(turn, error) or _hidden(turn, cause)
    if turn.activation.node.shows_causes:
        failure.__cause__ = cause
    return failure


def _of_result(turn: Turn, value: Any, error: Exception) -> dict[str, str | int]:
    """Return what the log says of a wrong result; not the value where a hidden field could be it."""
    found = {**turn.place(), "reason": str(error)}
    if not turn.activation.spec.state.hidden:
        found["value"] = _shown(value)
    return found


def _reason(error: BaseException) -> dict[str, str]:
    """Return what the log says of an error of GoVerse besides its traceback: its text, and the fields that it names."""
    if not isinstance(error, GoverseError):
        return {}
    detail, where = _text(error), ""
    with suppress(Exception):  # an application may have put anything there, and left out what its parent makes
        where = in_words([problem for problem in error.extra["errors"] if problem["message"] not in detail])
    return {"reason": f"{detail}; {where}" if where else detail}


def _hidden(turn: Turn, error: BaseException) -> MethodFailed:
    """Return what the caller sees of an error that the method does not declare: of GoVerse's own errors the code."""
    name = f"{turn.activation.key.type}.{turn.name}"
    if isinstance(error, GoverseError):
        return MethodFailed(
            f"{name} raised an error, {error.code}; the state is as it was before the call, the log has the cause",
            cause=error.code,
        )
    return MethodFailed(f"{name} raised an error; the state is as it was before the call, the log has the cause")


def _public(turn: Turn, error: BaseException) -> MethodFailed | None:
    """Return what the caller may see of an error that the method declares, or None."""
    if turn.method is None or not turn.method.raises or not isinstance(error, turn.method.raises):
        return None
    kind = type(error).__name__
    public = MethodFailed(f"{turn.activation.key.type}.{turn.name} raised {kind}: {_text(error)}", exception=kind)
    return public if _made_fit(public) is None else None


def _made_fit(error: GoverseError) -> str | None:
    """Bring what users put into an error into the form of JSON; return why that is impossible, or None."""
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
    status: Any = problem.status  # an application may have put anything there
    if status is not None and not (isinstance(status, int) and 400 <= status <= 499):
        return f"its status is {status!r:.100}, not one of 400 to 499"
    return None


def _text(error: BaseException) -> str:
    try:  # the text of Pydantic's error repeats its input, which may be of a field that GET does not show
        return without_input(error) if isinstance(error, ValidationError) else str(error)
    except BaseException:
        return "(an error that cannot be shown)"


def _shown(value: Any) -> str:
    """Return a value for the log, in a bounded length."""
    try:
        return reprlib.repr(value)[:_SHOWN_MAX]
    except Exception:
        return f"({type(value).__name__} without a repr)"
