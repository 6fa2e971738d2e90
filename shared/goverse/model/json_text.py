"""JSON as RFC 8259 means it, for texts that come from outside.

The fast parsers of the hot path also take ``NaN`` and ``Infinity``, read ``1e999`` as infinity, and let the last of
two members with one name win. Two readers of such a text may understand different things, so it is refused.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from pydantic_core import from_json, to_json

DEPTH_MAX: Final = 200  # of the parser of pydantic-core

_SUSPICIOUS_NUMBER: Final = re.compile(rb"NaN|Infinity|[0-9][eE]|[0-9]{300}")
_LONG_NUMBER: Final = re.compile(rb"[0-9.]{17}|[0-9][eE]")
_HALF_A_PAIR: Final = re.compile("[\ud800-\udfff]")
_DIGITS_EXACT: Final = 15  # what a binary floating-point number keeps of any decimal one


def check(text: bytes) -> None:
    """Refuse a text that is JSON only to tolerant parsers.

    Raises:
        ValueError: a number is not finite, or an object has two members of one name; the message says which.
    """
    decode(text)


def decode(text: bytes | str) -> Any:
    """Return the value of a text that ``check`` accepts; raises what it does."""
    return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite)


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


def fractions(text: bytes) -> Mapping[float, set[str]]:
    """Return how the fractions in the text are written, by their value as floating-point numbers.

    Empty where such a number keeps every digit of all of them.
    """
    if _LONG_NUMBER.search(text) is None:
        return {}
    found: dict[float, set[str]] = {}
    longest = 0

    def parse(number: str) -> float:
        nonlocal longest
        rounded = float(number)
        longest = max(longest, len(Decimal(number).as_tuple().digits))
        found.setdefault(rounded, set()).add(number)
        return rounded

    json.loads(text, parse_float=parse)
    return found if longest > _DIGITS_EXACT else {}


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in members if names.count(name) > 1)
        raise ValueError(f"the member {json.dumps(twice)[:80]} occurs twice in one object")
    return members


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _finite(number: str) -> float:
    value = float(number)
    if math.isinf(value):
        raise ValueError(f"the number {number[:40]} is too large")
    return value
