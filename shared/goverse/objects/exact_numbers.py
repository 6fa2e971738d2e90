"""Numbers of a request: read as they are written, or refused with their path.

The parser reads a fraction as a floating-point number, whose value may be another one: ``1e-400`` becomes 0, and
``0.10000000000000000001`` becomes 0.1. A body with such a number is validated once more by the schema made here, with
the texts of its numbers (``goverse.model.json_text.inexact``) as the context. A ``Decimal`` takes its digits from the
text. A ``float``, and a value without a declared type, is the nearest floating-point number, as for every reader of
JSON; it is refused where that loses more than the last digit, below the normal range.
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
    """More numbers are refused than an answer names."""


class Written:
    """The context of a validation.

    Attributes:
        texts: how the fractions are written, by their value as floating-point numbers.
        refused: how many were not kept.
    """

    def __init__(self, texts: Mapping[float, set[str]]) -> None:
        """Begin with no refused number."""
        self.texts = texts
        self.refused = 0


def holds_decimals(schema: Any) -> bool:
    """Whether a ``Decimal`` is declared anywhere."""
    if isinstance(schema, dict) and cast("dict[str, Any]", schema).get("type") == "decimal":
        return True
    return any(map(holds_decimals, parts(schema)))


def holds_fractions(schema: Any) -> bool:
    """Whether a ``Decimal``, a ``float`` or a value without a declared type is declared anywhere."""
    return bool(with_exact_numbers(schema) != schema)


def with_exact_numbers(schema: Any) -> Any:
    """Return the schema that reads numbers as they are written, or refuses them."""
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
    """Return the decimal that was written; what is not a number is left to the validator of decimals."""
    texts: set[str] = set()
    if isinstance(value, float):
        texts = _texts(value, info)
    elif isinstance(value, int | str) and not isinstance(value, bool):
        texts = {str(value)}
    if len(texts) > 1:
        raise _inexact("has more digits than can be told apart", _AS_TEXT, texts)
    try:
        return Decimal(next(iter(texts))) if texts else value
    except InvalidOperation:
        if isinstance(value, float):
            raise _inexact("has an exponent that a Decimal cannot hold", "send a smaller one", texts) from None
        return value


def _kept(value: Any, info: ValidationInfo) -> Any:
    """Refuse a number that is too small for a ``float``."""
    if isinstance(value, float) and (lost := _lost(value, info)):
        raise _inexact("is too small for a float", "send 0, or declare a Decimal", lost)
    return value


def _lost(value: float, info: ValidationInfo) -> set[str]:
    """Return the texts of a number that a ``float`` does not keep.

    Raises:
        TooManyNumbers: there are more of them than an answer names.
    """
    lost = {text for text in _texts(value, info) if not json_text.is_kept(text)}
    if lost:
        written = cast("Written", info.context)
        written.refused += 1
        if written.refused > PROBLEM_FIELDS_MAX:
            raise TooManyNumbers
    return lost


def _all_kept(value: Any, info: ValidationInfo) -> Any:
    """Refuse numbers inside a value without a declared type; its whole numbers keep all digits."""
    left: list[tuple[str, Any]] = [("", value)]
    while left:
        path, part = left.pop()
        if isinstance(part, float):
            if lost := _lost(part, info):
                raise _inexact(f"{f'at {path} ' if path else ''}is too small for a float", _AS_TEXT, lost)
        elif isinstance(part, dict):
            left += ((f"{path}/{name}"[:200], item) for name, item in cast("dict[str, Any]", part).items())
        elif isinstance(part, list):
            left += ((f"{path}/{place}"[:200], item) for place, item in enumerate(cast("list[object]", part)))
    return value


def _inexact(reason: str, remedy: str, texts: set[str]) -> PydanticCustomError:
    number = min(texts)[:_SHOWN_MAX]
    return PydanticCustomError(
        "inexact_number",
        "the number {number} {reason}; {remedy}",
        {"number": number, "reason": reason, "remedy": remedy},
    )
