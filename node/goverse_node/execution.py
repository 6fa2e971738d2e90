"""Running a method: plain functions at once, coroutines as tasks, and every way of ending turned into one of two.

However a method ends (result, exception, exit, cancellation, a value of the wrong type), the turn's ``done`` hears
either the result as JSON or a ``GoverseError``; nothing that user code raises gets past this module.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from functools import partial
from typing import Any

from goverse.errors import (
    BusinessError,
    Deadlock,
    GoverseError,
    MalformedRequest,
    MethodFailed,
    ObjectExists,
    ObjectNotFound,
    ReentrancyConflict,
    TooLarge,
    TryAgain,
    Unavailable,
)
from goverse.model import json_values
from goverse.model.frames import Problem
from goverse.objects.context import current_turn
from goverse_node.turn import Stepped, Turn

logger = logging.getLogger("goverse.node.turn")

NO_RESULT = b"null"
_PASSED_ON = (
    *(BusinessError, MethodFailed, TryAgain, Deadlock, ReentrancyConflict, TooLarge),
    # What a caller's own argument may bring about: the id of an object that is missing, that exists, or that is invalid
    *(ObjectNotFound, ObjectExists, MalformedRequest),
)


def run(turn: Turn, target: Any, arguments: dict[str, Any]) -> None:
    """Start the turn's method on ``target``; a turn without one is done at once."""
    method = turn.method
    if method is None:
        _end(turn, NO_RESULT, None)
        return
    token = current_turn.set(turn)
    try:
        value = method.function(target, **arguments)
        if method.is_async:
            turn.task = asyncio.get_running_loop().create_task(drive(turn, value))
            turn.activation.node.track(turn)
    except BaseException as error:
        current_turn.reset(token)  # what an answer brings about is no part of the turn
        _fail(turn, error)
        return
    current_turn.reset(token)
    if not method.is_async:
        _succeed(turn, value)


async def drive(turn: Turn, coroutine: Coroutine[Any, Any, Any]) -> None:
    turn.started = True
    if turn.expired is not None:
        coroutine.close()
        current_turn.set(None)
        _end(turn, b"", turn.expired)
        return
    try:
        if turn.stepped:
            value = await Stepped(coroutine, partial(turn.activation.observe, turn))
        else:
            value = await coroutine
    except GeneratorExit:  # the loop is gone, and with it everybody who could be told
        raise
    except BaseException as error:
        current_turn.set(None)
        _fail(turn, error)
    else:
        current_turn.set(None)
        _succeed(turn, value)


def _succeed(turn: Turn, value: Any) -> None:
    assert turn.method is not None
    limit = turn.activation.node.options.result_bytes_max
    try:
        body = turn.method.result.encode(value)
        if len(body) > limit:
            raise TooLarge(
                f"the result of {turn.activation.key.type}.{turn.name} has {len(body)} bytes; {limit} are allowed"
            )
    except Exception as error:
        _end(turn, b"", told(turn, error))
        return
    _end(turn, body, None)


def _fail(turn: Turn, error: BaseException) -> None:
    _end(turn, b"", told(turn, error))
    if isinstance(error, KeyboardInterrupt):
        raise error  # somebody wants the process to stop


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
    """Return what the caller hears of ``error``: no more than the method declares public."""
    if turn.expired is not None:
        return turn.expired
    if isinstance(error, _PASSED_ON):
        unfit = _made_fit(error)
        if unfit is None:
            return error
        logger.error("a refusal cannot be told", extra={**turn.place(), "reason": unfit})
    logger.error("method failed", exc_info=error, extra=turn.place())
    name = f"{turn.activation.key.type}.{turn.name}"
    if turn.method is not None and turn.method.raises and isinstance(error, turn.method.raises):
        kind = type(error).__name__
        public = MethodFailed(f"{name} raised {kind}: {_text(error)}", exception=kind)
        if _made_fit(public) is None:
            return public
    if isinstance(error, GoverseError):
        return MethodFailed(
            f"{name} raised an error, {error.code}; the state is as it was before the call, the log has the cause",
            cause=error.code,
        )
    return MethodFailed(f"{name} raised an error; the state is as it was before the call, the log has the cause")


def _made_fit(error: GoverseError) -> str | None:
    """Bring what users put into an error into the form of JSON; return why that is impossible, or None."""
    try:
        if error.extra:
            error.extra = json_values.plain(error.extra)
        problem = Problem.of(error)
        json_values.encode((problem.code, problem.detail))
    except Exception as reason:
        return f"its members have no JSON form: {reason}"
    if problem.status is not None and not 400 <= problem.status <= 499:
        return f"its status is {problem.status}, not one of 400 to 499"
    return None


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "(an error that cannot be shown)"
