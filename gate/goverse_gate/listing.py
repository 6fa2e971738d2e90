"""Listings: the query of ``GET /objects/{type}``, pages, and their cursors.

A cursor is opaque to clients and checked when it comes back. It holds the last id of its page, so a listing
goes on where it stopped whatever was created or deleted meanwhile.
"""

from __future__ import annotations

import binascii
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

import orjson

from goverse.errors import GoverseError, MalformedRequest
from goverse.limits import ID_BYTES_MAX, LIST_LIMIT, LIST_LIMIT_MAX
from goverse.model.keys import check_id_form
from goverse.model.records import ObjectSummary

_PARAMETERS: Final = ("cursor", "limit", "prefix")
_PARAMETERS_MAX: Final = 8
_LIMIT: Final = re.compile(r"[0-9]{1,6}")
_CURSOR_FORMAT: Final = b"1"


@dataclass(slots=True, frozen=True)
class Query:
    """Which objects a client wants to see; ``after`` is the last id of the page before."""

    limit: int = LIST_LIMIT
    prefix: str = ""
    after: str | None = None


def parse_query(query_string: bytes) -> Query:
    """Read the query of a listing.

    Raises:
        MalformedRequest: a parameter is unknown, repeated, or not of its form.
    """
    if not query_string:
        return Query()
    try:
        pairs = parse_qsl(
            query_string.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_PARAMETERS_MAX,
        )
    except ValueError as error:
        raise MalformedRequest("the query is not well encoded, or has too many parameters") from error
    values = dict(pairs)
    unknown = sorted(values.keys() - set(_PARAMETERS))
    if unknown:
        raise MalformedRequest(f"there is no query parameter {unknown[0][:64]!r}; there are {', '.join(_PARAMETERS)}")
    if len(values) != len(pairs):
        raise MalformedRequest("a query parameter came more than once")
    return Query(
        limit=_limit(values["limit"]) if "limit" in values else LIST_LIMIT,
        prefix=_prefix(values.get("prefix", "")),
        after=read_cursor(values["cursor"]) if "cursor" in values else None,
    )


def page(items: Sequence[ObjectSummary], limit: int) -> bytes:
    """Return one page as JSON; a full one has a cursor to the next."""
    cursor = make_cursor(items[-1].id) if len(items) >= limit else None
    return orjson.dumps({"items": [{"id": item.id, "version": item.version} for item in items], "cursor": cursor})


def make_cursor(last_id: str) -> str:
    """Return the cursor of a page that ends with ``last_id``."""
    return urlsafe_b64encode(_CURSOR_FORMAT + last_id.encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> str:
    """Return the id that the page of this cursor ended with.

    Raises:
        MalformedRequest: it is no cursor of ours.
    """
    try:
        raw = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        last_id = check_id_form(raw[1:].decode())
    except (UnicodeError, binascii.Error, GoverseError) as error:
        raise MalformedRequest("the cursor is not one that a listing gave") from error
    if raw[:1] != _CURSOR_FORMAT or make_cursor(last_id) != cursor:
        raise MalformedRequest("the cursor is not one that a listing gave")
    return last_id


def _limit(value: str) -> int:
    limit = int(value) if _LIMIT.fullmatch(value) else 0
    if not 1 <= limit <= LIST_LIMIT_MAX:
        raise MalformedRequest(f"limit is not a whole number from 1 to {LIST_LIMIT_MAX}")
    return limit


def _prefix(value: str) -> str:
    if len(value.encode()) > ID_BYTES_MAX:
        raise MalformedRequest(f"the prefix is longer than the {ID_BYTES_MAX} bytes that an id may have")
    return value
