"""JSON as RFC 8259 means it, for texts that come from outside.

The fast parsers of the hot path also take ``NaN`` and ``Infinity``, read ``1e999`` as infinity, and let the last of
two members with one name win. Two readers of such a text may understand different things, so it is refused.
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

DEPTH_MAX: Final = 200  # of the parser of pydantic-core

_PATH_MAX: Final = 200  # of a path in a message
_SUSPICIOUS_NUMBER: Final = re.compile(rb"NaN|Infinity|[0-9][eE]|[0-9]{300}")
_LONG_NUMBER: Final = re.compile(rb"[0-9.]{17}|[0-9][eE]")
_HALF_A_PAIR: Final = re.compile("[\ud800-\udfff]")
_ZEROS: Final = b"0" * 190
_ROUNDING: Final = Decimal("1e-15")  # of the value, in the last digit of a floating-point number


_SPACE: Final = b" \t\n\r"


def means_nothing(text: bytes) -> bool:
    """Tell whether a body stands for no arguments: it is empty, or ``null``, as some generated clients send it."""
    return not text or text.strip(_SPACE) == b"null"


def check(text: bytes) -> None:
    """Refuse a text that is JSON only to tolerant parsers.

    Raises:
        ValueError: a number is not finite, or an object has two members of one name; the message says which.
    """
    decode(text)


def decode(text: bytes | str) -> Any:
    """Return the value of a text that ``check`` accepts; raises what it does."""
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite)
    except _Infinite as error:
        raise ValueError(f"{error}, at {_path_of_infinite(text)}") from error


def storable(value: Any) -> bytes:
    """Return ``value``, as ``decode`` returned it, as the text that the parser of requests and states accepts.

    Raises:
        ValueError: it is nested deeper than that parser reads, or has half a surrogate pair in a text.
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
    """Whether an object may have two members of one name; cheap, and never wrong when it answers no.

    Each member has a colon. A flat object of ``members`` different names with as many colons repeats none.
    """
    colons = text.count(b":")
    if colons == members:
        return False
    return b"\\" in text or to_json(from_json(text)).count(b":") != colons


def may_be_infinite(text: bytes) -> bool:
    """Whether a number in the text may be NaN or infinite; cheap, and never wrong when it answers no."""
    return _SUSPICIOUS_NUMBER.search(text) is not None


def is_finite(text: bytes) -> bool:
    """Whether a text that this process wrote has no NaN and no infinity among its numbers."""
    if b"NaN" not in text and b"Infinity" not in text:
        return True
    try:
        from_json(text, allow_inf_nan=False)
    except ValueError:
        return False
    return True


def inexact(text: bytes, *, for_decimals: bool) -> Mapping[float, set[str]] | None:
    """Return how the fractions in the text are written, by their value as floating-point numbers.

    None where floating-point numbers keep all of them (``is_kept``); ``for_decimals``, where they equal all of them.

    Raises:
        ValueError: more than ``PROBLEM_FIELDS_MAX`` are not kept, and none can be for a decimal.
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
    """Tell whether a fraction may be below the range of floating-point numbers; cheap; a no is never wrong."""
    if b"-" in text and (_has_long_exponent(text, b"e-") or _has_long_exponent(text, b"E-")):
        return True
    return len(text) >= len(_ZEROS) and _ZEROS in text


def _has_long_exponent(text: bytes, mark: bytes) -> bool:
    return mark in text and any(part[:3].isdigit() for part in text.split(mark)[1:])


def is_kept(number: str) -> bool:
    """Tell whether a floating-point number keeps a JSON number: equal, or rounded in the last of its digits.

    Below the normal range digits are lost, and in the end the number itself: ``1e-400`` becomes 0.
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
    """Return the JSON pointer of a number that is too large; empty where the text repeats a member."""
    left: list[tuple[str, Any]] = [("", json.loads(text, parse_constant=lambda _name: None))]
    while left:
        path, value = left.pop()
        if isinstance(value, float) and math.isinf(value):
            return path[:_PATH_MAX]
        if isinstance(value, dict):
            for name, part in cast("dict[str, Any]", value).items():
                left.append((f"{path}/{name.replace('~', '~0').replace('/', '~1')}"[:_PATH_MAX], part))
        elif isinstance(value, list):
            left += ((f"{path}/{place}"[:_PATH_MAX], part) for place, part in enumerate(cast("list[object]", value)))
    return ""


def _finite(number: str) -> float:
    value = float(number)
    if math.isinf(value):
        raise _Infinite(f"the number {number[:40]} is too large")
    return value
