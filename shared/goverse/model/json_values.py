"""Exact JSON encoding of the application's values.

The fast encoder on the hot path (orjson) is limited to 64-bit integers and reads larger ones as floats. Here numbers
keep all their digits. Values with an obvious JSON form are converted: ``Decimal`` and ``datetime`` to text, a set to a
list, a number as a key to its digits, bytes to Base64 (as in states and results). NaN and infinity become null if the
value is only shown (``encode``), and are rejected if it is stored or sent (``encode_finite``).
"""

from __future__ import annotations

import json
from typing import Any

from pydantic_core import from_json, to_json

from goverse.model import json_text


def encode_finite(value: Any) -> bytes:
    """Return ``value`` as JSON, as ``encode`` does, but reject NaN and infinity.

    Raises:
        TypeError, ValueError: the value has no JSON form.
        RecursionError: the value is nested too deeply.
    """
    try:
        text = to_json(value, inf_nan_mode="constants", bytes_mode="base64")
    except ValueError:  # half a surrogate pair, as in encode
        text = json.dumps(value).encode()
    if not json_text.is_finite(text):
        raise ValueError("NaN and infinity have no JSON form")
    return text


def encode(value: Any) -> bytes:
    """Return ``value`` as JSON.

    Raises:
        TypeError, ValueError: the value has no JSON form.
        RecursionError: the value is nested too deeply.
    """
    try:
        return to_json(value, inf_nan_mode="null", bytes_mode="base64")
    except ValueError:  # half a surrogate pair, which JSON can escape, or a value without a JSON form
        return json.dumps(value, allow_nan=False).encode()


def decode(data: bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: the text is not JSON, or a number has more digits than ``sys.get_int_max_str_digits`` allows.
    """
    try:
        return from_json(data)
    except ValueError:
        return json.loads(data)


def plain(value: Any) -> Any:
    """Return ``value`` as a reader of its JSON sees it; raises the same errors as ``encode``."""
    return decode(encode(value))
