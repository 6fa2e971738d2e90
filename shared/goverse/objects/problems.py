"""From a problem that came over a link back to the exception that a calling object can catch.

A code is unique within what one method declares, not within a process: two parts of an application may each have a
``sold_out``. What the called method declares in ``raises`` therefore goes first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from goverse.errors import BusinessError, GoverseError
from goverse.model.frames import Problem

E = TypeVar("E", bound=GoverseError)


def _descendants(root: type[E]) -> Iterator[type[E]]:
    for child in root.__subclasses__():
        yield child
        yield from _descendants(child)


def _business_classes(declared: Sequence[type[Exception]]) -> Iterator[type[BusinessError]]:
    for business in declared:
        if issubclass(business, BusinessError):
            yield business
    yield from _descendants(BusinessError)


def error_of(problem: Problem, declared: Sequence[type[Exception]] = ()) -> GoverseError:
    """Return the exception for ``problem``: the class that has its code, else a plain one that carries it.

    ``declared`` are the classes that the called method names in ``raises``; they go before others of the same code.
    """
    if problem.status is not None:
        for business in _business_classes(declared):
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
    return error
