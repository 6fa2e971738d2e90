"""Creation, deletion and listing of other objects inside a turn.

Create and delete are requests of the running turn, like a method call: they are sent once all earlier turns of the
object are durable, they carry the call chain, and their idempotency key is derived from that of the turn, so a repeated
turn takes effect once. A listing reads durable objects only and is not part of the call chain.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator
from typing import Any, NoReturn

from goverse.errors import GoverseError, InvalidArguments
from goverse.limits import LIST_LIMIT, LIST_LIMIT_MAX
from goverse.model import json_values
from goverse.model.keys import ObjectKey, check_id
from goverse.model.problems import error_of
from goverse.model.records import ObjectSummary
from goverse.objects.context import Turn, current_turn
from goverse.objects.passing import check_untyped
from goverse.objects.reference import Reference, reference_to
from goverse.objects.spec import TypeSpec


def running_turn(what: str) -> Turn:
    """Return the turn in which the calling code runs.

    Raises:
        GoverseError: the code runs outside a turn.
    """
    turn = current_turn.get()
    if turn is None:
        raise GoverseError(f"{what} was called outside a turn; await it inside an exported method or a hook")
    return turn


def create_body(target: type[Any] | str, arguments: dict[str, Any]) -> bytes:
    """Return the creation arguments as JSON.

    Raises:
        TypeError: the names do not fit ``on_create``; the message lists its parameters.
        InvalidArguments: a value does not have its declared type, or has no JSON form.
    """
    if isinstance(target, str):
        try:
            body = json_values.encode_finite(arguments)
        except (TypeError, ValueError) as error:
            raise InvalidArguments(f"the creation arguments of {target} have no JSON form: {error}") from error
        check_untyped(f"the creation arguments of {target}", arguments, body)
        return body
    spec = TypeSpec.of(target)
    hook = spec.hooks.get("on_create")
    if hook is not None:
        return hook.arguments.encode((), arguments)
    if arguments:
        raise TypeError(
            f"{spec.name} takes no creation arguments, but got {', '.join(arguments)}; give the class an on_create "
            "hook with these parameters"
        )
    return b""


async def create_object(
    namespace: str, target: type[Any] | str, object_id: str | None, arguments: dict[str, Any]
) -> Any:
    """Create an object on behalf of the running turn and return a reference to it.

    Raises:
        GoverseError: the create failed.
    """
    turn = running_turn("self.create")
    body = create_body(target, arguments)
    type_name = target if isinstance(target, str) else TypeSpec.of(target).name
    name = turn.new_id(namespace, type_name, body) if object_id is None else check_id(object_id)
    reply = await turn.create_object(ObjectKey(namespace, type_name, name), body)
    if reply.problem is not None:
        raise error_of(reply.problem, () if isinstance(target, str) else _raised_by(target, "on_create"))
    return reference_to(target, namespace, name)


async def delete_object(namespace: str, target: Any, object_id: str | None) -> None:
    """Delete an object on behalf of the running turn; ``target`` is a reference, or a type if ``object_id`` is given.

    Raises:
        GoverseError: the delete failed.
    """
    turn = running_turn("self.delete")
    if object_id is None:
        if not isinstance(target, Reference):
            raise TypeError(f"self.delete takes a reference, or a type and an id; got {target!r}")
        key = target.key
    else:
        type_name = target if isinstance(target, str) else TypeSpec.of(target).name
        key = ObjectKey(namespace, type_name, check_id(object_id))
    reply = await turn.delete_object(key)
    if reply.problem is not None:
        raise error_of(reply.problem, _raised_by(target, "on_delete") if isinstance(target, type) else ())


def _raised_by(target: type[Any], hook: str) -> tuple[type[Exception], ...]:
    found = TypeSpec.of(target).hooks.get(hook)
    return found.raises if found is not None else ()


class Listing:
    """The durable objects of one type, ordered by id. Await it for one list, or iterate over it with ``async for``."""

    __slots__ = ("_after", "_limit", "_names", "_prefix")

    def __init__(
        self, namespace: str, target: type[Any] | str, *, prefix: str = "", after: str | None, limit: int | None
    ) -> None:
        """Prepare the listing; requests are sent when it is awaited or iterated over.

        Raises:
            ValueError: ``limit`` is less than 1.
        """
        if limit is not None and limit < 1:
            raise ValueError(f"limit is {limit}; it must be at least 1")
        self._names = (namespace, target if isinstance(target, str) else TypeSpec.of(target).name)
        self._prefix = prefix
        self._after = after
        self._limit = limit

    def __len__(self) -> NoReturn:
        """Raise an error: the objects are not known before the listing is awaited.

        Raises:
            TypeError: always.
        """
        raise TypeError("a listing has no length before it is awaited: use len(await self.list(...))")

    def __iter__(self) -> NoReturn:
        """Raise an error: the objects are not known before the listing is awaited.

        Raises:
            TypeError: always.
        """
        raise TypeError("a listing is not iterable: use async for, or for ... in await self.list(...)")

    def __bool__(self) -> NoReturn:
        """Raise an error: the objects are not known before the listing is awaited.

        Raises:
            TypeError: always.
        """
        raise TypeError("a listing is neither true nor false before it is awaited: use if await self.list(...)")

    def __await__(self) -> Generator[Any, None, list[ObjectSummary]]:
        """Return the first ``limit`` objects, or the first 100 without a limit."""
        return self._collect(LIST_LIMIT if self._limit is None else self._limit).__await__()

    async def __aiter__(self) -> AsyncIterator[ObjectSummary]:
        """Iterate over all objects, or the first ``limit``, one page per request."""
        after, left = self._after, self._limit
        while left is None or left > 0:
            wanted = LIST_LIMIT_MAX if left is None else min(left, LIST_LIMIT_MAX)
            page = await self._page(after, wanted)
            for item in page:
                yield item
            if len(page) < wanted:
                return
            after = page[-1].id
            left = None if left is None else left - len(page)

    async def _collect(self, limit: int) -> list[ObjectSummary]:
        found: list[ObjectSummary] = []
        after = self._after
        while len(found) < limit:
            wanted = min(limit - len(found), LIST_LIMIT_MAX)
            page = await self._page(after, wanted)
            found += page
            if len(page) < wanted:
                break
            after = page[-1].id
        return found

    async def _page(self, after: str | None, limit: int) -> list[ObjectSummary]:
        turn = running_turn("self.list")
        return list(await turn.list_objects(*self._names, prefix=self._prefix, after=after, limit=limit))
