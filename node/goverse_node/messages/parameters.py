"""Parameters of the verbs of reliable calls: the members of a JSON object, checked one by one."""

from __future__ import annotations

from json import JSONDecoder
from typing import Any, Final, cast

from goverse.errors import MalformedRequest
from goverse.model import json_text
from goverse.model.keys import ObjectKey, check_id_form, is_name

_MISSING: Any = object()
_DECODER: Final = JSONDecoder()


class Parameters:
    """The members of the body of a request. ``finish`` refuses those that were not read."""

    def __init__(self, verb: str, body: bytes) -> None:
        """Read the body of a request for ``verb``.

        Raises:
            MalformedRequest: it is not a JSON object.
        """
        self._verb = verb
        self._text = body.decode(errors="replace")
        try:
            value: object = json_text.decode(body) if body else {}
        except (ValueError, RecursionError) as error:
            raise MalformedRequest(f"the body of {verb} is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise MalformedRequest(f"the body of {verb} is not a JSON object")
        self._members = cast("dict[str, Any]", value)
        self._read: list[str] = []

    def finish(self) -> None:
        """Check that every member was read.

        Raises:
            MalformedRequest: one was not.
        """
        unknown = [name for name in self._members if name not in self._read]
        if unknown:
            raise MalformedRequest(f"{self._verb} takes no {unknown[0]!r}; it takes {', '.join(self._read)}")

    def text(self, name: str, default: str = _MISSING) -> str:
        """Return a text that is not empty."""
        text: str = self._typed(name, str, default, "a text that is not empty")
        return text

    def number(self, name: str, default: int = _MISSING, *, most: int = 2**53) -> int:
        """Return a whole number from 0 to ``most``."""
        value: int = self._typed(name, int, default, "a whole number")
        if not 0 <= value <= most:
            raise MalformedRequest(f"{name!r} of {self._verb} is {value}; it must be from 0 to {most}")
        return value

    def flag(self, name: str) -> bool:
        """Return a truth value, False if it is missing."""
        value: bool = self._typed(name, bool, False, "true or false")
        return value

    def object(self, name: str, namespace: str) -> ObjectKey | None:
        """Return an object of a namespace, None if it is missing."""
        found = self._typed(name, dict, None, 'an object: {"type": ..., "id": ...}')
        if found is None:
            return None
        parts = cast("dict[str, Any]", found)
        kind, object_id = parts.get("type"), parts.get("id")
        if not (len(parts) == 2 and isinstance(kind, str) and is_name(kind) and isinstance(object_id, str)):
            raise MalformedRequest(f'{name!r} of {self._verb} must be {{"type": ..., "id": ...}}')
        return ObjectKey(namespace, kind, check_id_form(object_id))

    def raw_object(self, name: str) -> bytes | None:
        """Return a JSON object as the text that was sent, so that its numbers keep all their digits."""
        if self._typed(name, dict, None, "an object") is None:
            return None
        return _raw_members(self._text)[name].encode()

    def _typed(self, name: str, kind: type[Any], default: Any, form: str) -> Any:
        self._read.append(name)
        value = self._members.get(name, default)
        if value is _MISSING:
            raise MalformedRequest(f"{self._verb} needs {name!r}: {form}")
        if value is not default and (type(value) is not kind or value == ""):
            raise MalformedRequest(f"{name!r} of {self._verb} must be {form}")
        return value


def _raw_members(text: str) -> dict[str, str]:
    """Return the members of a valid JSON object as texts."""
    found: dict[str, str] = {}
    at = text.index("{") + 1
    at = _behind_space(text, at)
    while text[at] != "}":
        name, at = _DECODER.raw_decode(text, at)
        begin = _behind_space(text, text.index(":", at) + 1)
        _, at = _DECODER.raw_decode(text, begin)
        found[name] = text[begin:at]
        at = _behind_space(text, at)
        if text[at] == ",":
            at = _behind_space(text, at + 1)
    return found


def _behind_space(text: str, at: int) -> int:
    while text[at].isspace():
        at += 1
    return at
