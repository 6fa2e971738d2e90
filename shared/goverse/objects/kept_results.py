"""``Object.once``: carry out an effect outside of GoVerse again only if its result was not kept.

The result is kept as JSON together with the name of its type. What is kept decides: the method gets the value that the
JSON decodes to, also when the effect was carried out just now, so a repetition goes on with the same value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Coroutine
from functools import lru_cache, partial
from inspect import formatannotation, isawaitable, iscoroutine
from typing import Any, Final, get_args, get_origin, get_type_hints

from goverse.errors import GoverseError, KeptResultMismatch, MethodFailed, TooLarge
from goverse.limits import KEPT_RESULT_BYTES_MAX, KEPT_RESULT_NAME_BYTES_MAX
from goverse.model.notes import checked_name
from goverse.objects.context import Turn, current_turn
from goverse.objects.results import Result

UNKNOWN: Final[Any] = object()
"""``returns`` of a call that leaves the type to the annotation of the function."""

_DECODER: Final = json.JSONDecoder()
_TYPE: Final = b'{"type":'
_VALUE: Final = b',"value":'
_MODULES: Final = re.compile(r"(?:[\w<>]+\.)+")


def once(owner: Any, name: str, function: Any, returns: Any) -> Coroutine[Any, Any, Any]:
    """Return the coroutine of ``Object.once``.

    Raises:
        GoverseError: no turn is running.
        TypeError, ValueError: the name is invalid, or the type of the result is not known.
    """
    turn = _turn_of(owner, "once")
    what = f"{owner.key}: self.once({name!r})"
    checked_name(name, "a kept result", KEPT_RESULT_NAME_BYTES_MAX)
    if not callable(function):
        if iscoroutine(function):
            function.close()
        raise TypeError(f"{what} was given {function!r}; pass a function without parameters, as lambda: pay(500)")
    annotation = _returned(function) if returns is UNKNOWN else returns
    if annotation is UNKNOWN:
        raise TypeError(
            f"{what} does not know the type of the result; annotate what the function returns, or pass returns=..., "
            "for example returns=str"
        )
    codec = _codec(annotation)

    async def work(awaited: Callable[[], None]) -> Any:
        awaited()
        body = await turn.keep_result(name, partial(_make, what, function, codec, annotation))
        return _kept_value(what, body, codec, annotation)

    return turn.expect(f"self.once({name!r})", work)


def forget(owner: Any, name: str) -> bool:
    """Remove a kept result with the commit of the running turn; False if there is none."""
    checked_name(name, "a kept result", KEPT_RESULT_NAME_BYTES_MAX)
    return _turn_of(owner, "forget_once").forget_result(name)


def _turn_of(owner: Any, what: str) -> Turn:
    turn = current_turn.get()
    if turn is None:
        raise GoverseError(f"self.{what} of {owner.key} was used outside a turn; use it inside a method or a hook")
    return turn


def _returned(function: Any) -> Any:
    """Return the annotation of what a function returns, or ``UNKNOWN``."""
    while isinstance(function, partial):
        function = function.func
    if not hasattr(function, "__annotations__"):
        function = type(function).__call__
    try:
        annotation = get_type_hints(function, include_extras=True).get("return", UNKNOWN)
    except (NameError, TypeError):  # a name that only the type checkers know
        return UNKNOWN
    origin = get_origin(annotation)
    if isinstance(origin, type) and issubclass(origin, Awaitable):
        return get_args(annotation)[-1]
    return annotation


def _codec(annotation: Any) -> Result:
    try:
        return _cached_codec(annotation)
    except TypeError:  # an annotation that cannot be a key, or that is no supported type: that error says why
        return _new_codec(annotation)


def _new_codec(annotation: Any) -> Result:
    return Result("the function of self.once", annotation)


_cached_codec = lru_cache(maxsize=1_024)(_new_codec)


def _name_of(annotation: Any) -> str:
    """Return the name of a type without modules, so that a class can move to another one."""
    return _MODULES.sub("", formatannotation(annotation))


async def _make(what: str, function: Callable[[], Any], codec: Result, annotation: Any) -> bytes:
    """Carry out the effect, and return its result as it is kept.

    Raises:
        MethodFailed: the result does not have its declared type.
        TooLarge: it is too large.
    """
    value = function()
    if isawaitable(value):
        value = await value
    encoded = codec.encode(value)
    if len(encoded) > KEPT_RESULT_BYTES_MAX:
        raise TooLarge(
            f"{what} was carried out, but its result has {len(encoded)} bytes and is not kept; {KEPT_RESULT_BYTES_MAX} "
            "are allowed, so return only what the object needs"
        )
    return _TYPE + json.dumps(_name_of(annotation)).encode() + _VALUE + encoded + b"}"


def _kept_value(what: str, body: bytes, codec: Result, annotation: Any) -> Any:
    """Return the value of a kept result.

    Raises:
        KeptResultMismatch: it has another type.
    """
    kept, end = _DECODER.raw_decode(body.decode(), len(_TYPE))
    encoded, expected = body.decode()[end + len(_VALUE) : -1].encode(), _name_of(annotation)
    try:
        value = codec.decode(encoded)
        if kept == expected or codec.encode(value) == encoded:
            return value
    except MethodFailed as error:
        raise _mismatch(what, kept, expected) from error
    raise _mismatch(what, kept, expected)


def _mismatch(what: str, kept: str, expected: str) -> KeptResultMismatch:
    return KeptResultMismatch(
        f"{what} expects {expected}, but the result that is kept under this name is {kept} and cannot be read as that; "
        "use another name for another effect, or remove the result with self.forget_once"
    )
