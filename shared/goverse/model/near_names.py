"""Suggestions for mistyped names, in the errors for unknown types and methods.

Clients without any permission can trigger the search, so its cost is bounded: names of more than 48 characters are not
compared, names whose length differs by more than 3 are skipped, and at most 200 names are considered. Pass only names
that the client may see.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice
from typing import Final

_LENGTH_MAX: Final = 48
_LENGTH_DIFFERENCE_MAX: Final = 3
_NAMES_MAX: Final = 200
_SIMILAR: Final = 0.7


def near_name(given: str, names: Iterable[str]) -> str | None:
    """Return the name that ``given`` most resembles, ignoring case, or None if no name is similar."""
    if len(given) > _LENGTH_MAX:
        return None
    compared = (name for name in islice(names, _NAMES_MAX) if abs(len(name) - len(given)) <= _LENGTH_DIFFERENCE_MAX)
    candidates = {name.lower(): name for name in compared}
    near = get_close_matches(given.lower(), candidates, 1, _SIMILAR)
    return candidates[near[0]] if near else None


def advice(given: str, names: Iterable[str], listing: str) -> str:
    """Return the hint for an error about the unknown name ``given``: the nearest name, if any, and ``listing``.

    >>> advice("incremet", ["increment", "reset"], "it has increment, reset")
    "did you mean 'increment'? It has increment, reset"
    """
    near = near_name(given, names)
    return listing if near is None else f"did you mean {near!r}? {listing[0].upper()}{listing[1:]}"
