"""Strict JSON checks (RFC 8259) for texts from outside.

The fast parsers on the hot path also accept ``NaN`` and ``Infinity``, read ``1e999`` as infinity, and keep the last of
two members with the same name. Two parsers may read such a text differently, so GoVerse rejects it.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final, cast

from pydantic_core import from_json, to_json

from goverse.limits import PROBLEM_FIELDS_MAX

DEPTH_MAX: Final = 200  # nesting limit of pydantic-core's parser

_PATH_MAX: Final = 200  # characters of a path in a message
_SUSPICIOUS_NUMBER: Final = re.compile(rb"NaN|Infinity|[0-9][eE]|[0-9]{300}")
_LONG_NUMBER: Final = re.compile(rb"[0-9.]{17}|[0-9][eE]")
_HALF_A_PAIR: Final = re.compile("[\ud800-\udfff]")
_ZEROS: Final = b"0" * 190
_ROUNDING: Final = Decimal("1e-15")  # relative rounding error of a floating-point number


_SPACE: Final = b" \t\n\r"


def is_no_arguments(text: bytes) -> bool:
    """True if a body means "no arguments": it is empty, or ``null``, which some generated clients send."""
    return not text or text.strip(_SPACE) == b"null"


def check(text: bytes) -> None:
    """Check that a text is strict JSON.

    Raises:
        ValueError: a number is not finite, or an object has two members of the same name; the message names it.
    """
    decode(text)


def decode(text: bytes | str) -> Any:
    """Return the value of a strict JSON text; raises the same errors as ``check``."""
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite)
    except _Infinite as error:
        raise ValueError(f"{error}, at {_path_of_infinite(text)}") from error


def storable(value: Any) -> bytes:
    """Return a value that ``decode`` returned as a text that the parser of requests and states accepts.

    Raises:
        ValueError: the value is nested deeper than ``DEPTH_MAX``, or a string in it has half a surrogate pair.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        if (half := _HALF_A_PAIR.search(text)) is not None:
            around = text[max(0, half.start() - 20) : half.end() + 20]
            raise ValueError(f"a text has half a surrogate pair: {around.encode(errors='backslashreplace').decode()}")
        from_json(encoded := text.encode())
    except (RecursionError, ValueError) as error:
        if isinstance(error, RecursionError) or "recursion limit" in str(error):
            raise ValueError(f"it is nested deeper than {DEPTH_MAX} levels") from error
        raise
    return encoded


def may_repeat_members(text: bytes, members: int) -> bool:
    """True if an object in the text may repeat a member name. A fast check: True can be wrong, False cannot.

    Each member has one colon. A flat object with ``members`` distinct names and as many colons has no repeated name.
    """
    colons = text.count(b":")
    if colons == members:
        return False
    return b"\\" in text or to_json(from_json(text)).count(b":") != colons


def may_be_infinite(text: bytes) -> bool:
    """True if a number in the text may be NaN or infinite. A fast check: True can be wrong, False cannot."""
    return _SUSPICIOUS_NUMBER.search(text) is not None


def is_finite(text: bytes) -> bool:
    """True if a text that this process wrote has no NaN and no infinity among its numbers."""
    if b"NaN" not in text and b"Infinity" not in text:
        return True
    try:
        from_json(text, allow_inf_nan=False)
    except ValueError:
        return False
    return True


def inexact(text: bytes, *, for_decimals: bool) -> Mapping[float, set[str]] | None:
    """Return the spellings of the fractions in the text, by their value as floating-point numbers.

    Returns None if no fraction loses digits as a floating-point number (``is_kept``). With ``for_decimals``, returns
    None only if every fraction equals its floating-point number.

    Raises:
        ValueError: more than ``PROBLEM_FIELDS_MAX`` fractions lose digits, without ``for_decimals``.
    """
    if not may_be_tiny(text) and not (for_decimals and _LONG_NUMBER.search(text)):
        return None
    found: dict[float, set[str]] = {}
    lost = 0

    def parse(number: str) -> float:
        nonlocal lost
        rounded = float(number)
        if repr(rounded) != number and not (_is_equal(rounded, number) if for_decimals else is_kept(number)):
            lost += 1
            if lost > PROBLEM_FIELDS_MAX and not for_decimals:
                raise ValueError(f"more than {PROBLEM_FIELDS_MAX} numbers are too small for a float")
        found.setdefault(rounded, set()).add(number)
        return rounded

    json.loads(text, parse_float=parse)
    return found if lost else None


def may_be_tiny(text: bytes) -> bool:
    """True if a fraction may be below the float range. A fast check: True can be wrong, False cannot."""
    if b"-" in text and (_has_long_exponent(text, b"e-") or _has_long_exponent(text, b"E-")):
        return True
    return len(text) >= len(_ZEROS) and _ZEROS in text


def _has_long_exponent(text: bytes, mark: bytes) -> bool:
    return mark in text and any(part[:3].isdigit() for part in text.split(mark)[1:])


def is_kept(number: str) -> bool:
    """True if a JSON number and its floating-point number are equal or differ only by rounding in the last digit.

    Below the normal range of floats digits are lost, and finally the whole number: ``1e-400`` becomes 0.
    """
    rounded = float(number)
    if abs(rounded) >= sys.float_info.min or _is_equal(rounded, number):
        return True
    try:
        exact = Decimal(number)
    except InvalidOperation:
        return False
    return abs(Decimal(rounded) - exact) <= abs(exact) * _ROUNDING


def _is_equal(rounded: float, number: str) -> bool:
    try:
        return Decimal(repr(rounded)) == Decimal(number)
    except InvalidOperation:  # an exponent of more than 18 digits
        return not number.lower().partition("e")[0].strip("-0.")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in members if names.count(name) > 1)
        raise ValueError(f"the member {json.dumps(twice)[:80]} occurs twice in one object")
    return members


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


class _Infinite(ValueError):
    """A number beyond the range of floating-point numbers."""


def _path_of_infinite(text: bytes | str) -> str:
    """Return the JSON pointer of a number that is too large, or an empty path if the text repeats a member."""
    left: list[tuple[str, Any]] = [("", json.loads(text, parse_constant=lambda _name: None))]
    while left:
        path, value = left.pop()
        if isinstance(value, float) and math.isinf(value):
            return path[:_PATH_MAX]
        if isinstance(value, dict):
            for name, part in cast("dict[str, Any]", value).items():
                left.append((f"{path}/{name.replace('~', '~0').replace('/', '~1')}"[:_PATH_MAX], part))
        elif isinstance(value, list):
            left += ((f"{path}/{index}"[:_PATH_MAX], part) for index, part in enumerate(cast("list[object]", value)))
    return ""


def _finite(number: str) -> float:
    value = float(number)
    if math.isinf(value):
        raise _Infinite(f"the number {number[:40]} is too large")
    return value
