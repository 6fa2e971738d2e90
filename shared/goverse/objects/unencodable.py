"""Errors for field values that cannot be encoded as their declared types.

An error names the field, its declared type, the actual type, and a remedy. Callers may see the text, so it never
contains the value. If the field is not hidden, the value is attached to the error as a note, which appears in logs and
tracebacks only. For a field that is hidden or not shown by a view, the text names no part of the value either: the keys
of a dict are values too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, NamedTuple, cast, get_args, get_origin

from pydantic import ValidationError

from goverse.errors import MethodFailed
from goverse.objects.fidelity import settle
from goverse.objects.validation_errors import refusal_in_words, with_article
from goverse.objects.value_text import has_excluded, shown

_TYPE_MAX: Final = 120
_QUALIFIED: Final = re.compile(r"(?:[A-Za-z_]\w*\.|<locals>\.)+(?=\w)")
_REMEDY: Final = "assign a value of the declared type, or declare the type of the value. Nothing was changed."
_IN_MEMORY: Final = (
    "keep values of Pydantic's types in it, or begin its name with '_' to keep it in memory only. Nothing was changed."
)

Write = Callable[..., bytes]


class Declared(NamedTuple):
    """One field of a class.

    Attributes:
        owner: the name of the class.
        name: the name of the field.
        key: the field's name in JSON.
        type: the declared type.
        withheld: True if callers do not see the field: it is hidden, or the class has a view.
        hidden: True if the field is hidden; logs do not show its value either.
    """

    owner: str
    name: str
    key: str
    type: Any
    withheld: bool
    hidden: bool

    @property
    def in_words(self) -> str:
        """The field as it is named in messages."""
        return f"{'hidden ' if self.hidden else ''}field {self.name} of {self.owner}"


def type_name(hint: Any) -> str:
    """Return a declared type as text for a message, without module names."""
    if get_origin(hint) is Annotated:
        return type_name(get_args(hint)[0])
    text = hint.__qualname__ if isinstance(hint, type) and not get_args(hint) else repr(hint)
    text = _QUALIFIED.sub("", text)
    return text if len(text) <= _TYPE_MAX else f"{text[:_TYPE_MAX]}…"


def unencodable(field: Declared, values: Mapping[str, Any], write: Write, read: Callable[[bytes], Any]) -> MethodFailed:
    """Return the error for a field of ``values`` that ``write`` cannot encode; ``read`` decodes what it encodes."""
    value = values[field.name]
    failed = MethodFailed(f"{field.in_words} {_wrong(field, values, write, read)}")
    if not field.hidden:
        failed.add_note(f"{field.name} = {shown(value)}")
    return failed


def _wrong(field: Declared, values: Mapping[str, Any], write: Write, read: Callable[[bytes], Any]) -> str:
    declared, got = type_name(field.type), type(values[field.name]).__name__
    without_json: list[object] = []
    try:
        body = write(dict(values), warnings=False, fallback=without_json.append)
    except BaseException as error:  # half a surrogate pair, a reference cycle, or a failing custom serializer
        is_visible = not field.withheld and not has_excluded(values[field.name])
        reason = f": {str(error).partition(chr(10))[0][:200]}" if is_visible else ""
        return f"holds {with_article(got)} that has no JSON form{reason}; it is declared as {declared}; {_IN_MEMORY}"
    if without_json:
        kind = type(without_json[0]).__name__
        return f"holds a value of class {kind}, which has no JSON form; it is declared as {declared}; {_IN_MEMORY}"
    where = "" if field.withheld else _nested(field, values[field.name], body, read)
    if where:
        return f"must be {declared}, but {where}; {_REMEDY}"
    if field.withheld and got == declared.partition("[")[0]:
        return f"must be {declared}, but a value in it is of another type; {_REMEDY}"
    return f"must be {declared}, got {got}; {_REMEDY}"


def _nested(field: Declared, value: Any, body: bytes, read: Callable[[bytes], Any]) -> str:
    """Return the part of a value that does not have its declared type, or an empty text if it is the whole value."""
    try:
        loaded = read(body)
    except ValidationError as error:
        for item in error.errors(include_url=False, include_context=False, include_input=False):
            location, reason = item["loc"], refusal_in_words(item)
            if location[:1] == (field.key,) and len(location) > 1:
                return f"{'.'.join(map(str, (field.name, *location[1:])))[:200]} is refused: {reason}"
        return ""
    except BaseException:  # a validator of the application
        return ""
    _, difference = settle(value, cast("dict[str, Any]", loaded).get(field.name))
    if difference is None or not difference.path:
        return ""
    path = ".".join((field.name, *difference.path))[:200]
    return f"{path} must be {type(difference.loaded).__name__}, got {type(difference.live).__name__}"
