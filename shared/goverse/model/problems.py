"""Conversion of problems from a link to the exceptions that a calling object catches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from goverse.errors import BusinessError, GoverseError
from goverse.model.frames import Problem

E = TypeVar("E", bound=GoverseError)


def _descendants(root: type[E]) -> Iterator[type[E]]:
    for child in root.__subclasses__():
        yield child
        yield from _descendants(child)


def error_of(problem: Problem, declared: tuple[type[Exception], ...] = ()) -> GoverseError:
    """Return the exception for ``problem``: an instance of the class with its code, or of a base class with that code.

    Several classes of the application may have the same code. Classes that the called method declares take precedence.
    """
    if problem.status is not None:
        own = (error for error in declared if issubclass(error, BusinessError))
        for business in (*own, *_descendants(BusinessError)):
            if business.code == problem.code and business.status == problem.status:
                return _filled(business.__new__(business), problem)
        refusal = _filled(BusinessError(), problem)
        refusal.code, refusal.status = problem.code, problem.status  # type: ignore[misc]  # this instance only
        return refusal
    for known in _descendants(GoverseError):
        if known.code == problem.code:
            return _filled(known.__new__(known), problem)
    failure = _filled(GoverseError(), problem)
    failure.code, failure.retryable = problem.code, problem.retryable  # type: ignore[misc]  # this instance only
    return failure


def _filled(error: E, problem: Problem) -> E:
    """Fill in an instance without calling its ``__init__``, whose parameters are unknown for an application's class."""
    error.detail, error.extra, error.args = problem.detail, problem.extra, (problem.detail,)
    if problem.cause is not None:
        error.__cause__ = problem.cause
    return error
