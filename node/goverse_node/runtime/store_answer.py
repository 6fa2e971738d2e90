"""Results of store requests: the value, or an error that may be sent to callers."""

from __future__ import annotations

import logging
from asyncio import Future
from typing import TypeVar

from goverse.errors import GoverseError, Unavailable

logger = logging.getLogger("goverse.node.store")

T = TypeVar("T")


def outcome(answer: Future[T]) -> tuple[T | None, GoverseError | None]:
    """Return the value of a finished future and None, or None and the error for callers."""
    if answer.cancelled():
        return None, Unavailable("the request to the store was cancelled; try again")
    error = answer.exception()
    return (answer.result(), None) if error is None else (None, refusal(error))


def refusal(error: BaseException) -> GoverseError:
    """Return the error for callers when the store raised ``error``. Unexpected errors are logged and hidden."""
    if isinstance(error, GoverseError):
        return error
    logger.error("the store raised an unexpected error", exc_info=error)
    return Unavailable("the store failed in an unexpected way; the node's log has the cause")
