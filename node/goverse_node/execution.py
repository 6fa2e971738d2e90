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
    MethodFailed,
    ReentrancyConflict,
    TooLarge,
    TryAgain,
)
from goverse.objects.context import current_turn
from goverse_node.turn import Stepped, Turn

logger = logging.getLogger("goverse.node.turn")

NO_RESULT = b"null"
_PASSED_ON = (BusinessError, MethodFailed, TryAgain, Deadlock, ReentrancyConflict, TooLarge)


def run(turn: Turn, target: Any, arguments: dict[str, Any]) -> None:
    """Start the turn's method on ``target``; a turn without one is done at once."""
    method = turn.method
    if method is None:
        turn.done(turn, NO_RESULT, None)
        return
    token = current_turn.set(turn)
    try:
        value = method.function(target, **arguments)
        if method.is_async:
            turn.task = asyncio.get_running_loop().create_task(_drive(turn, value))
            turn.activation.node.track(turn)
            return
    except (Exception, SystemExit, asyncio.CancelledError) as error:
        turn.done(turn, b"", told(turn, error))
        return
    finally:
        current_turn.reset(token)
    _succeed(turn, value)


async def _drive(turn: Turn, coroutine: Coroutine[Any, Any, Any]) -> None:
    turn.begun = True
    if turn.expired is not None:
        coroutine.close()
        turn.done(turn, b"", turn.expired)
        return
    try:
        if turn.stepped:
            value = await Stepped(coroutine, partial(turn.activation.observe, turn))
        else:
            value = await coroutine
    except (Exception, SystemExit, asyncio.CancelledError) as error:
        turn.done(turn, b"", told(turn, error))
    else:
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
        turn.done(turn, b"", told(turn, error))
        return
    turn.done(turn, body, None)


def told(turn: Turn, error: BaseException) -> GoverseError:
    """Return what the caller hears of ``error``: no more than the method declares public."""
    if turn.expired is not None:
        return turn.expired
    if isinstance(error, _PASSED_ON):
        return error
    name = f"{turn.activation.key.type}.{turn.name}"
    logger.error(
        "method failed",
        exc_info=error,
        extra={
            "object": str(turn.activation.key),
            "method": turn.name,
            "request_id": turn.request.request_id,
        },
    )
    if turn.method is not None and turn.method.raises and isinstance(error, turn.method.raises):
        return MethodFailed(f"{name} raised {type(error).__name__}: {error}", exception=type(error).__name__)
    return MethodFailed(f"{name} raised an error; the state is as it was before the call, the log has the cause")
