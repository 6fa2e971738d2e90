"""Size limits of problem documents, applied when a problem is created.

The content of a problem comes from the application's exceptions and from validators of client requests, so it can have
any size. The limits are 2 KiB of ``detail``, 16 KiB of further members as JSON, and 20 field errors with a path and a
message of 256 bytes each. A larger problem is cut, never rejected: the caller has to learn that the call failed. A text
that was cut ends with ``CUT``. Members that do not fit are left out and listed in the member ``truncated``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from goverse.limits import NAME_BYTES_MAX, PROBLEM_DETAIL_BYTES_MAX, PROBLEM_FIELDS_MAX, PROBLEM_MEMBERS_BYTES_MAX

CUT: Final = " … (cut)"
"""Suffix of a text that was cut."""

TRUNCATED: Final = "truncated"
"""Name of the member that lists the members that were left out."""

_UTF8_WIDTH_MAX: Final = 4


def bounded_text(text: str, bytes_max: int) -> str:
    """Return ``text``; if it has more than ``bytes_max`` bytes of UTF-8, cut it to that size, ending with ``CUT``."""
    if len(text) * _UTF8_WIDTH_MAX <= bytes_max:
        return text
    head = text[: bytes_max + 1].encode("utf-8", "replace")
    if len(text) <= bytes_max and len(head) <= bytes_max:
        return text
    return head[: bytes_max - len(CUT.encode())].decode("utf-8", "ignore") + CUT


def bounded_members(members: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return those ``members`` that fit, in their order, into ``PROBLEM_MEMBERS_BYTES_MAX`` bytes of JSON."""
    if json_bytes(members) <= PROBLEM_MEMBERS_BYTES_MAX:
        return members
    left = PROBLEM_MEMBERS_BYTES_MAX - (PROBLEM_FIELDS_MAX + 1) * (NAME_BYTES_MAX + 4)
    kept: dict[str, Any] = {}
    dropped: list[str] = []
    for name, value in members.items():
        fitting = bounded_text(value, PROBLEM_DETAIL_BYTES_MAX) if isinstance(value, str) else value
        size = json_bytes({name: fitting})
        if size > left:
            dropped.append(bounded_text(str(name), NAME_BYTES_MAX))
            continue
        kept[name] = fitting
        left -= size
    if dropped:
        kept[TRUNCATED] = dropped[:PROBLEM_FIELDS_MAX]
    return kept


def json_bytes(value: Any) -> int:
    """Return the size of ``value`` as JSON, or a size above every bound if it has no JSON form."""
    attempts: tuple[Callable[[], int], ...] = (
        lambda: len(orjson.dumps(value, default=str)),
        lambda: len(json.dumps(value, default=str)),
    )
    for attempt in attempts:
        try:
            return attempt()
        except (TypeError, ValueError, RecursionError):
            continue
    return PROBLEM_MEMBERS_BYTES_MAX + 1
