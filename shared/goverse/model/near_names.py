"""The name that a mistyped one resembles, for the answers to unknown types and methods.

Clients without any permission can ask, so the cost has a bound that no request changes: a long name is not compared at
all, a name of a very different length is passed over, and at most 200 names are looked at. A caller gives only names
that the asking side may see.
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
    """Return the name that ``given`` was probably meant to be, or None; upper and lower case count as equal."""
    if len(given) > _LENGTH_MAX:
        return None
    looked_at = (name for name in islice(names, _NAMES_MAX) if abs(len(name) - len(given)) <= _LENGTH_DIFFERENCE_MAX)
    candidates = {name.lower(): name for name in looked_at}
    near = get_close_matches(given.lower(), candidates, 1, _SIMILAR)
    return candidates[near[0]] if near else None


def advice(given: str, names: Iterable[str], listing: str) -> str:
    """Return what stands behind a complaint about ``given``: the near name, if there is one, and ``listing``.

    >>> advice("incremet", ["increment", "reset"], "it has increment, reset")
    "did you mean 'increment'? It has increment, reset"
    """
    near = near_name(given, names)
    return listing if near is None else f"did you mean {near!r}? {listing[0].upper()}{listing[1:]}"
