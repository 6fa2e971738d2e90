"""Exception groups: reduction of a group to a single error.

``asyncio.TaskGroup`` raises an ``ExceptionGroup`` even if only one task failed; ``asyncio.gather`` raises the error
itself. Both should give the caller the same result, so a group is reduced as follows:

* Nested groups are flattened. Cancellations are ignored, because a task group cancels the tasks that have not failed.
* If the remaining errors are all GoVerse errors with the same code, the group becomes the first of them. A business
  error is then kept under the idempotency key, as if it had been raised alone.
* If they are all retryable (``TryAgain``), the group becomes the first of them, whatever their codes.
* If they all have the same exception class, the group becomes the first of them, so ``@call(raises=...)`` applies.
* Any other group is a failure of the method. Examples: a business error beside another kind of error; the
  ``TimeoutError`` of ``asyncio.timeout`` beside one, which GoVerse treats like any other exception.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Iterator
from typing import Any

from goverse.errors import GoverseError, TryAgain

_GROUP: type[Any] = BaseExceptionGroup


def single(error: BaseException) -> BaseException:
    """Return the error that ``error`` is reduced to: itself, unless it is a group of errors of one kind."""
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
