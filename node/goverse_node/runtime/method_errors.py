"""Errors of methods, reduced to what the caller may see.

A method may raise anything. The caller gets a business error, an error that the method declares in ``raises``, or an
error of GoVerse that tells it to try again; of any other exception it learns only that the method failed. The log has
the rest.
"""

from __future__ import annotations

import logging
import reprlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from goverse.errors import (
    BusinessError,
    CallIdMismatch,
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
)
from goverse.model import json_values
from goverse.model.frames import Problem
from goverse.model.keys import is_name
from goverse.model.problem_bounds import bounded_members
from goverse.objects.validation_errors import in_words, without_input
from goverse_node.runtime.groups import single

logger = logging.getLogger("goverse.node.turn")

LogFields = Mapping[str, str | int]

_SHOWN_MAX = 200
_PASSED_ON = (
    *(BusinessError, MethodFailed, TryAgain, Deadlock, ReentrancyConflict, TooLarge),
    # Errors that a caller's argument may cause: the id of an object that is missing, that exists, or that is invalid,
    # or the id of a reliable call
    *(ObjectNotFound, ObjectExists, MalformedRequest, CallIdMismatch),
)


def public_error(
    error: BaseException, name: str, raises: tuple[type[BaseException], ...], where: LogFields
) -> GoverseError:
    """Return the error for the caller of the method ``name``. It reveals no more than the method declares as public.

    The error is logged with the fields ``where``.
    """
    cause = single(error)
    if isinstance(cause, _PASSED_ON):
        cause.link_verdict = None  # a verdict here is about a nested call, or was set by the application
        unfit = _make_encodable(cause)
        if unfit is None:
            if isinstance(cause, ReadonlyViolation):
                logger.error("method broke a rule", extra={**where, "reason": cause.detail})
            return cause
        logger.error("an error of a method cannot be encoded", extra={**where, "reason": unfit})
    logger.error("method failed", exc_info=error, extra={**where, **_reason(cause)})
    return _public(cause, name, raises) or _public(error, name, raises) or _hidden(cause, name)


def unexpected(error: BaseException, failed: str, where: LogFields) -> MethodFailed:
    """Log an error that came from outside a method, for example from a validator, and return the one for the caller.

    A ``KeyboardInterrupt`` is raised again.
    """
    if isinstance(error, KeyboardInterrupt):
        raise error
    logger.error("a call failed outside its method: %s", failed, exc_info=error, extra=where)
    return MethodFailed(f"{failed}; the node's log has the cause")


def log_wrong_result(value: Any, error: MethodFailed, where: LogFields, *, hides: bool) -> None:
    """Log that a method returned a value of a wrong type. Its value is left out if the type has hidden fields."""
    found = {**where, "reason": str(error)}
    if not hides:
        found["value"] = _shown(value)
    logger.error("method returned a wrong value", extra=found)


def _reason(error: BaseException) -> dict[str, str]:
    """Return the log field ``reason`` of a GoVerse error: its text, and the fields that it names."""
    if not isinstance(error, GoverseError):
        return {}
    detail, where = _text(error), ""
    with suppress(Exception):  # an application's subclass may hold any value there, or lack the attribute
        where = in_words([problem for problem in error.extra["errors"] if problem["message"] not in detail])
    return {"reason": f"{detail}; {where}" if where else detail}


def _hidden(error: BaseException, name: str) -> MethodFailed:
    """Return the error for the caller when the method raised an undeclared one; a GoVerse error shows its code."""
    if isinstance(error, GoverseError):
        return MethodFailed(
            f"{name} raised an error, {error.code}; the state is unchanged, and the node's log has the cause",
            cause=error.code,
        )
    return MethodFailed(f"{name} raised an error; the state is unchanged, and the node's log has the cause")


def _public(error: BaseException, name: str, raises: tuple[type[BaseException], ...]) -> MethodFailed | None:
    """Return the error for the caller if the method declares ``error`` in ``raises``, else None."""
    if not raises or not isinstance(error, raises):
        return None
    kind = type(error).__name__
    public = MethodFailed(f"{name} raised {kind}: {_text(error)}", exception=kind)
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
