"""Exception groups: the one error that a group stands for.

``asyncio.TaskGroup`` raises an ``ExceptionGroup`` even if one task failed with one refusal, where ``asyncio.gather``
raises the refusal itself. Both should mean the same to the caller:

* Nested groups are flattened. Cancellations are left out: a task group cancels the tasks that had not failed.
* If all that remains are GoVerse errors with one code, the group is the first of them. A business error is then kept
  under the idempotency key, as if it had been raised alone.
* If all are errors that ask to try again, with whatever codes, it is the first of them, and so retryable.
* If all are of one exception class, it is the first of them, so ``@call(raises=...)`` applies to groups too.
* Everything else is a failure of the method. That includes a refusal beside another kind of error, and the
  ``TimeoutError`` of ``asyncio.timeout``, which is no statement of GoVerse but an exception like any other.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Iterator
from typing import Any

from goverse.errors import GoverseError, TryAgain

_GROUP: type[Any] = BaseExceptionGroup


def single(error: BaseException) -> BaseException:
    """Return the error that ``error`` stands for: itself, unless it is a group of equal ones."""
    leaves = [leaf for leaf in _leaves(error) if not isinstance(leaf, CancelledError)]
    if not leaves:
        return error
    first = leaves[0]
    if isinstance(first, GoverseError) and all(
        isinstance(leaf, GoverseError) and leaf.code == first.code for leaf in leaves
    ):
        return first
    if all(isinstance(leaf, TryAgain) for leaf in leaves) or all(type(leaf) is type(first) for leaf in leaves):
        return first
    return error


def _leaves(error: BaseException) -> Iterator[BaseException]:
    within: tuple[BaseException, ...] = getattr(error, "exceptions", ()) if isinstance(error, _GROUP) else ()
    for each in within:
        yield from _leaves(each)
    if not within:
        yield error
