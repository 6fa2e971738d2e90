"""Digests of creation arguments, which show whether a repeated ``PUT`` describes the existing object.

Two sets of arguments have the same digest if they are the same JSON values. The order of members and the spelling of
numbers and escapes do not matter, and an argument that equals its default counts as omitted.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Any, Final, NamedTuple, cast

from goverse.model.json_text import is_no_arguments
from goverse.model.json_values import decode
from goverse.objects.codec import Arguments

DIGEST_SIZE: Final = 16

NO_ARGUMENTS: Final = b""
"""The digest of a creation without arguments, for example by the first call of a method."""

_EXACT_MAX: Final = 2**53


class Creation(NamedTuple):
    """The arguments of a create in comparable form.

    Attributes:
        digest: equal for equal arguments.
        names: the JSON names of the arguments that differ from their defaults.
    """

    digest: bytes
    names: tuple[str, ...] = ()


def creation_of(arguments: Arguments, body: bytes) -> Creation:
    """Return the comparable form of ``body``, a JSON object of arguments that were already checked."""
    if is_no_arguments(body):
        return Creation(NO_ARGUMENTS)
    given = cast("dict[str, Any]", decode(body))
    defaults = arguments.plain_defaults()
    chosen = {
        name: canonical
        for name, value in given.items()
        if (canonical := _canonical(value)) != (_canonical(defaults[name]) if name in defaults else None)
    }
    if not chosen:
        return Creation(NO_ARGUMENTS)
    text = json.dumps(chosen, sort_keys=True)
    digest = blake2b(text.encode(), digest_size=DIGEST_SIZE, person=b"goverse.create").digest()
    return Creation(digest, tuple(chosen))


def _canonical(value: Any) -> str:
    """Return the value as JSON text that is the same for equal values."""
    return json.dumps(_normal(value), sort_keys=True, separators=(",", ":"))


def _normal(value: Any) -> Any:
    """Return ``value`` with whole numbers as integers: 1.0 becomes 1."""
    if isinstance(value, dict):
        return {name: _normal(member) for name, member in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_normal(item) for item in cast("list[Any]", value)]  # type: ignore[redundant-cast]  # pyright needs it
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT_MAX:
        return int(value)
    return value
