"""From a problem that came over a link back to the exception that a calling object can catch."""

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
    """Return the exception for ``problem``: the class that declares its code, else a plain one that carries it.

    Two applications may use one code for classes of their own: those that the called method declares come first.
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
    """Fill in an instance without calling a user's ``__init__``, whose parameters nobody knows here."""
    error.detail, error.extra, error.args = problem.detail, problem.extra, (problem.detail,)
    if problem.cause is not None:
        error.__cause__ = problem.cause
    return error
