"""JSON of values that belong to users: exact, whatever the size of a number.

The fast encoder of the hot path (orjson) stops at 64 bits and reads larger numbers as floats. Here numbers keep all
their digits, and what has an obvious form in JSON gets it: a ``Decimal`` or a ``datetime`` its text, a set a list, a
number as a key its digits, bytes Base64 as in states and results. ``nan`` and infinity are null where they are only
shown, and refused where a value is stored or sent.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic_core import from_json, to_json

from goverse.model import json_text


def encode_finite(value: Any) -> bytes:
    """Return ``value`` as JSON, as ``encode`` does, but refuse NaN and infinity.

    Raises:
        TypeError, ValueError: it has no JSON form.
        RecursionError: it is nested too deeply.
    """
    try:
        text = to_json(value, inf_nan_mode="constants", bytes_mode="base64")
    except ValueError:  # half a character, as in encode
        text = json.dumps(value).encode()
    if not json_text.is_finite(text):
        raise ValueError("NaN and infinity have no JSON form")
    return text


def encode(value: Any) -> bytes:
    """Return ``value`` as JSON.

    Raises:
        TypeError, ValueError: it has no JSON form.
        RecursionError: it is nested too deeply.
    """
    try:
        return to_json(value, inf_nan_mode="null", bytes_mode="base64")
    except ValueError:  # half a character, which JSON can escape; or nothing that JSON knows
        return json.dumps(value, allow_nan=False).encode()


def decode(data: bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: it is none, or has a number of more digits than Python reads (``sys.get_int_max_str_digits``).
    """
    try:
        return from_json(data)
    except ValueError:
        return json.loads(data)


def plain(value: Any) -> Any:
    """Return ``value`` as whoever reads its JSON will see it; raises what ``encode`` does."""
    return decode(encode(value))
