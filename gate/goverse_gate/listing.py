"""Listings: the query parameters of ``GET /objects/{type}``, and pages with cursors.

A cursor contains the last id of its page. A listing therefore continues at the right place even if objects were created
or deleted between two pages. Cursors are opaque to clients and are validated.
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
    """The parameters of a listing. ``after`` is the last id of the previous page."""

    limit: int = LIST_LIMIT
    prefix: str = ""
    after: str | None = None


def parse_query(query_string: bytes) -> Query:
    """Parse the query string of a listing.

    Raises:
        MalformedRequest: a parameter is unknown, repeated or invalid.
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
        raise MalformedRequest("the query string is not valid, or has too many parameters") from error
    values = dict(pairs)
    unknown = sorted(values.keys() - set(_PARAMETERS))
    if unknown:
        raise MalformedRequest(f"unknown query parameter {unknown[0][:64]!r}; expected {', '.join(_PARAMETERS)}")
    if len(values) != len(pairs):
        raise MalformedRequest("a query parameter is repeated")
    return Query(
        limit=_limit(values["limit"]) if "limit" in values else LIST_LIMIT,
        prefix=_prefix(values.get("prefix", "")),
        after=read_cursor(values["cursor"]) if "cursor" in values else None,
    )


def page(items: Sequence[ObjectSummary], limit: int) -> bytes:
    """Return one page as JSON. A full page has a cursor for the next one."""
    cursor = make_cursor(items[-1].id) if len(items) >= limit else None
    return orjson.dumps({"items": [{"id": item.id, "version": item.version} for item in items], "cursor": cursor})


def make_cursor(last_id: str) -> str:
    """Return the cursor of a page that ends with ``last_id``."""
    return urlsafe_b64encode(_CURSOR_FORMAT + last_id.encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> str:
    """Return the last id of the page that ``cursor`` belongs to.

    Raises:
        MalformedRequest: the cursor is invalid.
    """
    try:
        raw = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        last_id = check_id_form(raw[1:].decode())
    except (UnicodeError, binascii.Error, GoverseError) as error:
        raise MalformedRequest("invalid cursor: use the cursor of a previous page, unchanged") from error
    if raw[:1] != _CURSOR_FORMAT or make_cursor(last_id) != cursor:
        raise MalformedRequest("invalid cursor: use the cursor of a previous page, unchanged")
    return last_id


def _limit(value: str) -> int:
    limit = int(value) if _LIMIT.fullmatch(value) else 0
    if not 1 <= limit <= LIST_LIMIT_MAX:
        raise MalformedRequest(f"invalid limit: expected a whole number from 1 to {LIST_LIMIT_MAX}")
    return limit


def _prefix(value: str) -> str:
    if len(value.encode()) > ID_BYTES_MAX:
        raise MalformedRequest(f"the prefix is longer than an id, which has at most {ID_BYTES_MAX} bytes")
    return value
