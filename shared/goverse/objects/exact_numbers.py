"""Exact numbers in requests: a number is read as it is written, or rejected with its path.

The parser reads a fraction as a floating-point number, which may have another value: ``1e-400`` becomes 0, and
``0.10000000000000000001`` becomes 0.1. A body with such a number is validated again with the schema from this module;
the validation context has the spellings of the numbers (``goverse.model.json_text.inexact``). A ``Decimal`` takes its
digits from the spelling. A ``float``, or a value without a declared type, becomes the nearest floating-point number, as
in other JSON parsers; it is rejected if that loses more than the last digit, which happens below the normal range.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final, cast

from pydantic import ValidationInfo
from pydantic_core import PydanticCustomError

from goverse.limits import PROBLEM_FIELDS_MAX
from goverse.model import json_text
from goverse.objects.storable import parts, with_parts

_SHOWN_MAX: Final = 40
_AS_TEXT: Final = "send it as a string"


class TooManyNumbers(Exception):
    """The body has more invalid numbers than an error lists."""


class Written:
    """The context of a validation.

    Attributes:
        texts: the spellings of the fractions, by their value as floating-point numbers.
        refused: the number of rejected numbers so far.
    """

    def __init__(self, texts: Mapping[float, set[str]]) -> None:
        self.texts = texts
        self.refused = 0


def holds_decimals(schema: Any) -> bool:
    """True if a ``Decimal`` is declared at any level."""
    if isinstance(schema, dict) and cast("dict[str, Any]", schema).get("type") == "decimal":
        return True
    return any(map(holds_decimals, parts(schema)))


def holds_fractions(schema: Any) -> bool:
    """True if a ``Decimal``, a ``float`` or a value without a declared type occurs at any level."""
    return bool(with_exact_numbers(schema) != schema)


def with_exact_numbers(schema: Any) -> Any:
    """Return the schema changed so that it reads numbers as they are written, or rejects them."""
    changed = with_parts(schema, with_exact_numbers)
    kind = cast("dict[str, Any]", schema).get("type") if isinstance(schema, dict) else None
    if kind == "decimal":
        return _checked_before(changed, _as_written)
    if kind == "float":
        return _checked_before(changed, _kept)
    if kind == "any":
        after = {"type": "with-info", "function": _all_kept}
        return {"type": "function-after", "function": after, "schema": changed}
    return changed


def _checked_before(node: dict[str, Any], check: Any) -> dict[str, Any]:
    return {"type": "function-before", "function": {"type": "with-info", "function": check}, "schema": node}


def _texts(value: float, info: ValidationInfo) -> set[str]:
    return cast("Written", info.context).texts.get(value, set())


def _as_written(value: Any, info: ValidationInfo) -> Any:
    """Return the decimal that was written; the validator of decimals handles values that are not numbers."""
    texts: set[str] = set()
    if isinstance(value, float):
        texts = _texts(value, info)
    elif isinstance(value, int | str) and not isinstance(value, bool):
        texts = {str(value)}
    if len(texts) > 1:
        raise _inexact("has more digits than can be distinguished", _AS_TEXT, texts)
    try:
        return Decimal(next(iter(texts))) if texts else value
    except InvalidOperation:
        if isinstance(value, float):
            raise _inexact("has an exponent that a Decimal cannot hold", "send a smaller one", texts) from None
        return value


def _kept(value: Any, info: ValidationInfo) -> Any:
    """Return ``value``; reject a number that is too small for a ``float``."""
    if isinstance(value, float) and (lost := _lost(value, info)):
        raise _inexact("is too small for a float", "send 0, or declare a Decimal", lost)
    return value


def _lost(value: float, info: ValidationInfo) -> set[str]:
    """Return the spellings of a number that lose digits as a ``float``.

    Raises:
        TooManyNumbers: the body has more such numbers than an error lists.
    """
    lost = {text for text in _texts(value, info) if not json_text.is_kept(text)}
    if lost:
        written = cast("Written", info.context)
        written.refused += 1
        if written.refused > PROBLEM_FIELDS_MAX:
            raise TooManyNumbers
    return lost


def _all_kept(value: Any, info: ValidationInfo) -> Any:
    """Return ``value``, which has no declared type; reject fractions in it that are too small for a ``float``.

    Its whole numbers keep all their digits.
    """
    left: list[tuple[str, Any]] = [("", value)]
    while left:
        path, part = left.pop()
        if isinstance(part, float):
            if lost := _lost(part, info):
                raise _inexact(f"{f'at {path} ' if path else ''}is too small for a float", _AS_TEXT, lost)
        elif isinstance(part, dict):
            left += ((f"{path}/{name}"[:200], item) for name, item in cast("dict[str, Any]", part).items())
        elif isinstance(part, list):
            left += ((f"{path}/{index}"[:200], item) for index, item in enumerate(cast("list[object]", part)))
    return value


def _inexact(reason: str, remedy: str, texts: set[str]) -> PydanticCustomError:
    number = min(texts)[:_SHOWN_MAX]
    return PydanticCustomError(
        "inexact_number",
        "the number {number} {reason}; {remedy}",
        {"number": number, "reason": reason, "remedy": remedy},
    )
