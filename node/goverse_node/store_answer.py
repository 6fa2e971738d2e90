"""What comes of a question to the store: a value, or an error that callers may hear."""

from __future__ import annotations

import logging
from asyncio import Future
from typing import TypeVar

from goverse.errors import GoverseError, Unavailable

logger = logging.getLogger("goverse.node.store")

T = TypeVar("T")


def outcome(answer: Future[T]) -> tuple[T | None, GoverseError | None]:
    """Return the value of a finished future, or why there is none."""
    if answer.cancelled():
        return None, Unavailable("the store gave no answer")
    error = answer.exception()
    return (answer.result(), None) if error is None else (None, refusal(error))


def refusal(error: BaseException) -> GoverseError:
    """Return what callers hear when the store raised ``error``."""
    if isinstance(error, GoverseError):
        return error
    logger.error("the store raised an unexpected error", exc_info=error)
    return Unavailable("the store could not be asked")
