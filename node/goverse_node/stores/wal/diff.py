"""Comparison of two stores or dumps by names, states and versions. Positions, times and calls are not compared.

Reliable calls are in order of their numbers, and these are positions.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from goverse.errors import DataDamaged
from goverse_node.stores.wal.dump import dump

_Line = tuple[tuple[str, str, str, str], dict[str, Any]]
"""The name (namespace, type, id, idempotency key) and the members of a line."""

_COMPARED: Final = ("version", "generation", "state_version", "state", "creation", "deleted", "fingerprint", "reply")


_NOT_COMPARED: Final = frozenset({"floor", "deleted", "pending", "receipt", "finished_ms"})


@dataclass(frozen=True, slots=True)
class Difference:
    """An object or a reply that is different in the two stores.

    Attributes:
        namespace, type, id, idempotency_key: the name. The idempotency key is empty for an object.
        what: ``only in a``, ``only in b``, or the names of the members that differ.
        a, b: the lines in the two stores; None if there is no such line.
    """

    namespace: str
    type: str
    id: str
    idempotency_key: str
    what: str
    a: dict[str, Any] | None
    b: dict[str, Any] | None


def diff(a: Path, b: Path, *, replies: bool = False) -> Iterator[Difference]:
    """Yield the differences between two data directories or dump files, sorted by name.

    Positions and times are not compared, because the same calls at another time leave the same objects.

    Raises:
        DataDamaged: a line of a dump file is invalid, or a record of a data directory is damaged.
    """
    left, right = _lines(a, replies), _lines(b, replies)
    one, other = next(left, None), next(right, None)
    while one is not None or other is not None:
        if one is not None and (other is None or _order(one) < _order(other)):
            yield Difference(*one[0], "only in a", one[1], None)
            one = next(left, None)
        elif other is not None and (one is None or _order(other) < _order(one)):
            yield Difference(*other[0], "only in b", None, other[1])
            other = next(right, None)
        elif one is not None and other is not None:
            parts = [name for name in _COMPARED if one[1].get(name) != other[1].get(name)]
            if parts:
                yield Difference(*one[0], ", ".join(parts), one[1], other[1])
            one, other = next(left, None), next(right, None)


def _order(line: _Line) -> str:
    return "\0".join(line[0])


def _lines(path: Path, replies: bool) -> Iterator[_Line]:
    if path.is_dir():
        yield from _parsed(dump(path, replies=replies), path, replies)
    else:
        with path.open(encoding="utf-8") as lines:
            yield from sorted(_parsed(lines, path, replies), key=_order)


def _parsed(lines: Iterable[str], path: Path, replies: bool) -> Iterator[_Line]:
    """Yield the living objects, and with ``replies`` the kept replies. Tombstones, floors and calls are skipped."""
    for number, line in enumerate(lines, 1):
        try:
            value: dict[str, Any] = json.loads(line)
            if not _NOT_COMPARED.isdisjoint(value) or ("idempotency_key" in value and not replies):
                continue
            name = (value["namespace"], value["type"], value["id"], value.get("idempotency_key") or "")
        except (ValueError, KeyError, TypeError) as error:
            raise DataDamaged(f"{path}, line {number}: invalid line of a dump ({error})", file=str(path)) from error
        yield name, value
