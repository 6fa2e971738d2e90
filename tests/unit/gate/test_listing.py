"""Listings: queries are validated, full pages have a cursor, and cursors can hold any id."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goverse.errors import MalformedRequest
from goverse.model.records import ObjectSummary
from goverse_gate.listing import Query, make_cursor, page, parse_query, read_cursor

ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60).filter(
    lambda name: not name.startswith(("shard#", "node#"))
)


@given(ids)
def test_a_cursor_holds_any_id(name: str) -> None:
    assert read_cursor(make_cursor(name)) == name


@pytest.mark.parametrize("cursor", ["", "x", "!", "MQ", "MWFh=", "MmFhYQ", "é", "MWFh\n"])
def test_an_invalid_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(MalformedRequest):
        read_cursor(cursor)


def test_a_query_names_limit_prefix_and_cursor() -> None:
    query = parse_query(b"limit=7&prefix=a%2Fb&cursor=" + make_cursor("z").encode())
    assert query == Query(7, "a/b", "z")
    assert parse_query(b"") == Query(100, "", None)


@pytest.mark.parametrize(
    "query",
    [
        b"limit=0",
        b"limit=1001",
        b"limit=x",
        b"limit=",
        b"limit=1&limit=2",
        b"limit=%EF%BC%91",
        b"other=1",
        b"prefix=%ff",
        b"prefix=" + b"x" * 513,
        b"cursor=x",
        b"&".join(b"a%d=1" % n for n in range(20)),
        b"\xff=1",
    ],
)
def test_an_invalid_query_is_refused(query: bytes) -> None:
    with pytest.raises(MalformedRequest):
        parse_query(query)


def test_only_a_full_page_has_a_cursor() -> None:
    items = [ObjectSummary("a", 1), ObjectSummary("b", 2)]
    assert json.loads(page(items, 2))["cursor"] == make_cursor("b")
    assert json.loads(page(items, 3)) == {
        "items": [{"id": "a", "version": 1}, {"id": "b", "version": 2}],
        "cursor": None,
    }
    assert json.loads(page([], 3)) == {"items": [], "cursor": None}
