"""Paths of the object API are parsed as raw bytes."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goverse.errors import MalformedRequest, UnknownPath
from goverse_gate.target import Names, object_id, split


@pytest.mark.parametrize("prefix", [b"/objects/", b"/v1/objects/"])
def test_both_prefixes_lead_to_the_same_segments(prefix: bytes) -> None:
    assert split(prefix + b"Counter/c1/call/increment") == [b"Counter", b"c1", b"call", b"increment"]


@pytest.mark.parametrize("path", [b"/", b"/nothing/x", b"/v1", b"/v1/other/x", b"/v2/objects/x"])
def test_other_paths_are_unknown(path: bytes) -> None:
    with pytest.raises(UnknownPath):
        split(path)


def test_an_encoded_slash_stays_inside_its_segment() -> None:
    assert split(b"/objects/Counter/a%2Fb") == [b"Counter", b"a%2Fb"]


@pytest.mark.requirement("OBJ-3")
@given(st.text(min_size=1, max_size=100).filter(lambda text: not text.startswith(("shard#", "node#"))))
def test_any_id_survives_percent_encoding(name: str) -> None:
    if "\ud800" <= max(name) <= "\udfff":
        return
    assert object_id(quote(name, safe="").encode()) == name


@pytest.mark.parametrize("name", [".", "..", "a b", "%", "é", "shard#3/x", "node#n1/x", "x" * 512])
def test_unusual_ids_are_accepted(name: str) -> None:
    assert object_id(quote(name, safe="").encode()) == name


@pytest.mark.parametrize(
    "segment",
    [
        b"",
        b"%",
        b"%4",
        b"%zz",
        b"a%2",
        b"%ff",
        b"%c3%28",
        b"%ed%a0%80",
        b"x" * 513,
        b"%F0%9F%98%80" * 129,
        b"shard%23x",
    ],
)
def test_an_invalid_id_is_refused(segment: bytes) -> None:
    with pytest.raises(MalformedRequest):
        object_id(segment)


def test_a_name_is_found_bare_and_encoded() -> None:
    names = Names({"Counter": 1})
    assert (names.find(b"Counter"), names.find(b"%43ounter"), names.find(b"counter")) == (1, 1, None)
