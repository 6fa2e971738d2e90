"""Parameters of the routes of reliable calls: query parameters, and the fields of JSON bodies.

Both name objects as ``Type/id``, and times as seconds or as a number with a unit: ``90``, ``90s``, ``15m``, ``12h``,
``30d``. Unknown and malformed ones are refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, cast
from urllib.parse import parse_qsl

from goverse.errors import MalformedRequest
from goverse.limits import CALL_WAIT_S_MAX, LIST_LIMIT_MAX
from goverse.model import json_text
from goverse.model.json_text import is_no_arguments
from goverse.model.keys import ObjectKey, check_id_form, is_name
from goverse_gate.preferences import DELAY_S_MAX

ENDS: Final = ("success", "failed", "expired", "cancelled", "dead")
STATES: Final = ("pending", "running", *ENDS)

_PARAMETERS_MAX: Final = 16
_WAIT: Final = re.compile(r"[0-9]{1,4}(\.[0-9]{1,9})?")
_LIMIT: Final = re.compile(r"[0-9]{1,6}")
_AGE: Final = re.compile(r"([0-9]{1,9})([smhd]?)")
_UNIT_S: Final = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}
_CURSOR_MAX: Final = 2_048


def place(key: ObjectKey) -> dict[str, str]:
    """Return an object as a member of a request about calls."""
    return {"type": key.type, "id": key.id}


class Filters:
    """Named values, each checked by its name."""

    def __init__(self, namespace: str) -> None:
        """``namespace`` is that of the objects."""
        self._namespace = namespace

    def _object(self, name: str, value: object) -> ObjectKey:
        kind, slash, object_id = value.partition("/") if isinstance(value, str) else ("", "", "")
        if not slash or not is_name(kind):
            raise MalformedRequest(f"invalid {name}: expected an object as Type/id, for example Account/ann")
        return ObjectKey(self._namespace, kind, check_id_form(object_id))

    def _filter(self, name: str, value: object) -> tuple[str, Any]:
        """Return the member of a request about calls for one filter."""
        if name in ("sender", "receiver"):
            return name, place(self._object(name, value))
        if name == "older_than":
            return "older_than_ms", _age_ms(value)
        if name == "limit":
            return name, _limit(value)
        if name == "state" and value not in STATES:
            raise MalformedRequest(f"invalid state: expected one of {', '.join(STATES)}")
        if name == "type" and not (isinstance(value, str) and is_name(value)):
            raise MalformedRequest("invalid type: expected the name of an object type")
        if not isinstance(value, str) or not 1 <= len(value) <= _CURSOR_MAX:
            raise MalformedRequest(f"invalid {name}: use the cursor of a previous page, unchanged")
        return name, value


class CallQuery(Filters):
    """The query parameters of one request."""

    def __init__(self, query_string: bytes, namespace: str) -> None:
        """Parse the query string.

        Raises:
            MalformedRequest: it is not valid, or a parameter is repeated.
        """
        super().__init__(namespace)
        try:
            text = query_string.decode("ascii")
            pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_PARAMETERS_MAX)
        except ValueError as error:
            raise MalformedRequest("the query string is not valid, or has too many parameters") from error
        self._values = dict(pairs)
        if len(self._values) != len(pairs):
            raise MalformedRequest("a query parameter is repeated")

    def take(self, *names: str) -> None:
        """Check that there are no parameters besides ``names``.

        Raises:
            MalformedRequest: there is another one.
        """
        unknown = sorted(self._values.keys() - set(names))
        if unknown:
            expected = f"expected {', '.join(names)}" if names else "this request takes none"
            raise MalformedRequest(f"unknown query parameter {unknown[0][:64]!r}; {expected}")

    def object(self, name: str) -> ObjectKey | None:
        """Return the object that a parameter names, or None if it is missing."""
        return self._object(name, self._values[name]) if name in self._values else None

    def wait_s(self) -> float:
        """Return the value of ``wait`` in seconds."""
        value = self._values.get("wait", "0")
        wait_s = float(value) if _WAIT.fullmatch(value) else -1.0
        if not 0 <= wait_s <= CALL_WAIT_S_MAX:
            raise MalformedRequest(f"invalid wait: expected a number of seconds from 0 to {CALL_WAIT_S_MAX}")
        return wait_s

    def filters(self) -> dict[str, Any]:
        """Return all parameters as members of a request about calls."""
        values: dict[str, object] = {**self._values}
        limit = self._values.get("limit", "")
        if _LIMIT.fullmatch(limit):
            values["limit"] = int(limit)
        return dict(self._filter(name, value) for name, value in values.items())


class Fields(Filters):
    """The fields of a JSON body. ``finish`` refuses those that were not read."""

    def __init__(self, body: bytes, namespace: str) -> None:
        """Parse the body. An empty one has no fields.

        Raises:
            MalformedRequest: it is not a JSON object.
        """
        super().__init__(namespace)
        try:
            value: object = {} if is_no_arguments(body) else json_text.decode(body)
        except (ValueError, RecursionError) as error:
            raise MalformedRequest("the request body is not valid JSON") from error
        if not isinstance(value, dict):
            raise MalformedRequest("the request body is not a JSON object")
        self._values = cast("dict[str, Any]", value)
        self._names: list[str] = []

    def finish(self) -> None:
        """Check that all fields were read.

        Raises:
            MalformedRequest: one was not.
        """
        unknown = sorted(self._values.keys() - set(self._names))
        if unknown:
            expected = f"expected {', '.join(self._names)}" if self._names else "this request takes none"
            raise MalformedRequest(f"unknown field {unknown[0][:64]!r}; {expected}")

    def object(self, name: str) -> ObjectKey:
        """Return the object that a field names."""
        return self._object(name, self._read(name))

    def filters(self, *names: str) -> dict[str, Any]:
        """Return those of the fields ``names`` that are present as members of a request about calls."""
        found = {name: self._read(name) for name in names}
        return dict(self._filter(name, value) for name, value in found.items() if value is not None)

    def flag(self, name: str) -> dict[str, bool]:
        """Return a field that is true as a member; no member if it is false or missing."""
        value = self._read(name)
        if value is not None and not isinstance(value, bool):
            raise MalformedRequest(f"invalid {name}: expected true or false")
        return {name: True} if value else {}

    def seconds(self, name: str) -> float | None:
        """Return a field that is a number of seconds, or None if it is missing."""
        value = self._read(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= DELAY_S_MAX:
            raise MalformedRequest(f"invalid {name}: expected a number of seconds from 0 to {DELAY_S_MAX}")
        return value

    def arguments(self) -> dict[str, Any]:
        """Return the field ``arguments`` as a member, if it is present."""
        value = self._read("arguments")
        if value is not None and not isinstance(value, dict):
            raise MalformedRequest("invalid arguments: expected a JSON object")
        return {} if value is None else {"arguments": value}

    def _read(self, name: str) -> Any:
        """Return the value of a field, or None if it is missing. A null is refused: it would be taken for a default."""
        self._names.append(name)
        value = self._values.get(name)
        if value is None and name in self._values:
            raise MalformedRequest(f"invalid {name}: null; leave the field out")
        return value


def redrive_members(fields: Fields) -> Mapping[str, Any]:
    """Return the field ``delay`` as a member of a redrive."""
    delay_s = fields.seconds("delay")
    return {} if not delay_s else {"delay_ms": round(delay_s * 1000)}


def _age_ms(value: object) -> int:
    match = _AGE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise MalformedRequest("invalid older_than: expected a text with a number of seconds or a unit, such as 30d")
    return int(match[1]) * _UNIT_S[match[2]] * 1000


def _limit(value: object) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # a whole number for JSON Schema too
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LIST_LIMIT_MAX:
        raise MalformedRequest(f"invalid limit: expected a whole number from 1 to {LIST_LIMIT_MAX}")
    return value
