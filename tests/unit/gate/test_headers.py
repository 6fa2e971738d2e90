"""Request headers mean what the reference says, and a wrong one is refused."""

from __future__ import annotations

import pytest

from goverse.errors import MalformedRequest
from goverse.model.frames import MUST_EXIST
from goverse_gate.headers import (
    CallHeaders,
    check_etags,
    collect,
    is_exclusive_create,
    matches_version,
    read,
    request_id_of,
)


def reading(**headers: str) -> CallHeaders:
    found = {name.replace("_", "-").encode(): value.encode("latin-1") for name, value in headers.items()}
    return read(found, "default", 300.0)


def test_a_request_without_headers_of_ours_asks_for_nothing() -> None:
    host, length, found = collect([(b"host", b"x"), (b"content-length", b"3"), (b"accept", b"*/*")])
    assert (host, length, found) == (b"x", b"3", {})


@pytest.mark.parametrize("name", [b"host", b"idempotency-key", b"if-match", b"origin", b"goverse-timeout"])
def test_a_header_that_may_come_once_is_refused_twice(name: bytes) -> None:
    with pytest.raises(MalformedRequest):
        collect([(name, b"a"), (name, b"a")])


def test_if_none_match_may_come_in_pieces() -> None:
    found = collect([(b"if-none-match", b'"1"'), (b"if-none-match", b'"2"')])[2]
    assert matches_version(found[b"if-none-match"], 2)


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("abc", "abc"),
        ('"abc"', "abc"),
        ('"a b"', "a b"),
        ("a b", "a b"),
        ("k" * 255, "k" * 255),
        ('"' + "k" * 255 + '"', "k" * 255),
    ],
)
def test_an_idempotency_key_is_bare_or_quoted(value: str, key: str) -> None:
    assert reading(idempotency_key=value).idempotency_key == key


@pytest.mark.parametrize("value", ["", '""', '"', 'a"b', '"a"b"', "k" * 256, "é", "a\tb", '"a\\"b"'])
def test_what_is_no_idempotency_key_is_refused(value: str) -> None:
    with pytest.raises(MalformedRequest):
        reading(idempotency_key=value)


@pytest.mark.requirement("GATE-6")
@pytest.mark.parametrize(("value", "seconds"), [("1", 1.0), ("2.5", 2.5), ("0.001", 0.1), ("0", 0.1), ("999", 300.0)])
def test_a_timeout_is_cut_to_what_the_gate_allows(value: str, seconds: float) -> None:
    assert reading(goverse_timeout=value).timeout_s == seconds


@pytest.mark.parametrize("value", ["", "-1", "nan", "inf", "1e3", "1s", " 1", "1.", ".5", "1" * 10])
def test_what_is_no_timeout_is_refused(value: str) -> None:
    with pytest.raises(MalformedRequest):
        reading(goverse_timeout=value)


@pytest.mark.parametrize(("value", "version"), [('"7"', 7), ("7", 7), ("*", MUST_EXIST), ('"0"', 0)])
def test_if_match_names_a_version_or_any(value: str, version: int) -> None:
    assert reading(if_match=value).if_match == version


@pytest.mark.parametrize("value", ["", '"a"', 'W/"7"', '"7", "8"', "-1", "7.0"])
def test_what_is_no_version_is_refused(value: str) -> None:
    with pytest.raises(MalformedRequest):
        reading(if_match=value)


@pytest.mark.parametrize(
    ("value", "matches"),
    [
        ('"7"', True),
        ('W/"7"', True),
        ('"6", "7"', True),
        ("*", True),
        ('"8"', False),
        ('"77"', False),
        ("7", True),
        ("77", False),
        ('"a", W/"7"', True),
    ],
)
def test_if_none_match_compares_weakly(value: str, matches: bool) -> None:
    assert matches_version(value.encode(), 7) is matches


@pytest.mark.parametrize("value", ["*", '"7"', 'W/"7"', '"6", "7"', '"6","7"', '"anything"', '""'])
def test_a_list_of_entity_tags_is_one(value: str) -> None:
    check_etags(value.encode())


@pytest.mark.parametrize("value", ["", "x", "7, 8", '"7', '"7" "8"', '"7",', "*, *", 'w/"7"'])
def test_what_is_no_list_of_entity_tags_is_refused(value: str) -> None:
    with pytest.raises(MalformedRequest):
        check_etags(value.encode())


def test_only_a_star_makes_a_create_exclusive() -> None:
    assert is_exclusive_create({b"if-none-match": b"*"})
    assert not is_exclusive_create({})
    with pytest.raises(MalformedRequest):
        is_exclusive_create({b"if-none-match": b'"1"'})


@pytest.mark.parametrize("value", ["", "x", "-1", "1.5", "1" * 21])
def test_what_is_no_position_is_refused(value: str) -> None:
    with pytest.raises(MalformedRequest):
        reading(goverse_min_seq=value)


@pytest.mark.parametrize("value", ["", "../x", "a b", "-a", "n" * 129])
def test_what_is_no_namespace_is_refused(value: str) -> None:
    with pytest.raises(MalformedRequest):
        reading(goverse_namespace=value)


def test_a_well_formed_traceparent_is_passed_on_and_another_ignored() -> None:
    good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    assert reading(traceparent=good).traceparent == good
    for bad in ("", "x", good.upper(), good[:-1], "ff" + good[2:], "00-" + "0" * 32 + good[35:], good + "-x"):
        assert reading(traceparent=bad).traceparent == ""


@pytest.mark.requirement("GATE-10")
def test_a_harmless_request_id_of_the_client_is_used_and_another_is_not() -> None:
    assert request_id_of({b"goverse-request-id": b"a-1", b"x-request-id": b"b"}) == "a-1"
    assert request_id_of({b"x-request-id": b"trace/1:2"}) == "trace/1:2"
    for bad in (b"", b"a b", b"a\x1b[31m", b"x" * 129, b"\xe9"):
        assert request_id_of({b"x-request-id": bad}) is None
