"""Request headers are parsed as the reference says, and an invalid one is refused."""

from __future__ import annotations

import pytest

from goverse.errors import (
    GoverseError,
    MalformedRequest,
    ObjectNotFound,
    UnsupportedMediaType,
    UnsupportedTransferEncoding,
    VersionMismatch,
)
from goverse.model.frames import MUST_EXIST, Problem
from goverse_gate.headers import (
    CallHeaders,
    check_encodings,
    check_etags,
    collect,
    is_exclusive_create,
    matches_tag,
    other_match,
    read,
    request_id_of,
)


def reading(**headers: str) -> CallHeaders:
    found = {name.replace("_", "-").encode(): value.encode("latin-1") for name, value in headers.items()}
    return read(found, "default", 300.0)


def test_a_request_without_goverse_headers_has_the_defaults() -> None:
    host, length, found = collect([(b"host", b"x"), (b"content-length", b"3"), (b"accept", b"*/*")])
    assert (host, length, found) == (b"x", b"3", {})


@pytest.mark.parametrize("name", [b"host", b"idempotency-key", b"origin", b"goverse-timeout"])
def test_a_repeated_header_is_refused(name: bytes) -> None:
    with pytest.raises(MalformedRequest):
        collect([(name, b"a"), (name, b"a")])


def test_if_none_match_can_be_repeated() -> None:
    found = collect([(b"if-none-match", b'"1"'), (b"if-none-match", b'"2"')])[2]
    assert matches_tag(found[b"if-none-match"], b"2")


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
def test_an_invalid_idempotency_key_is_refused(value: str) -> None:
    with pytest.raises(MalformedRequest):
        reading(idempotency_key=value)


@pytest.mark.requirement("DUR-2")
@pytest.mark.parametrize("value", ["gv-", "gv-1", "gv-~1", "~", "~0123", '"~0123"', '"gv-1"'])
def test_a_key_with_a_reserved_prefix_is_refused(value: str) -> None:
    with pytest.raises(MalformedRequest, match="cannot begin with 'gv-' or '~': GoVerse makes such keys itself"):
        reading(idempotency_key=value)


@pytest.mark.parametrize("value", ["gv", "GV-1", "a~", "-~"])
def test_a_key_that_contains_a_reserved_prefix_elsewhere_is_accepted(value: str) -> None:
    assert reading(idempotency_key=value).idempotency_key == value


@pytest.mark.requirement("GATE-6")
@pytest.mark.parametrize(("value", "seconds"), [("1", 1.0), ("2.5", 2.5), ("0.001", 0.1), ("0", 0.1), ("999", 300.0)])
def test_a_timeout_is_adjusted_to_the_gates_limits(value: str, seconds: float) -> None:
    assert reading(goverse_timeout=value).timeout_s == seconds


@pytest.mark.parametrize("value", ["", "-1", "nan", "inf", "1e3", "1s", " 1", "1.", ".5", "1" * 10])
def test_an_invalid_timeout_is_refused(value: str) -> None:
    with pytest.raises(MalformedRequest):
        reading(goverse_timeout=value)


@pytest.mark.parametrize(
    ("value", "version"),
    [
        ('"7"', 7),
        ("7", 7),
        ("*", MUST_EXIST),
        ('"0"', 0),
        ('W/"7"', 7),
        ('"7-gzip"', 7),
        ('"7;gzip"', 7),
        ('W/"7-br"', 7),
        ('"7.0a1b2c3d"', 7),
        ('W/"7.0a1b2c3d-gzip"', 7),
        ('"6", "8", "7"', 8),
        ('W/"6" ,"8-gzip"', 8),
        ('"8"\t,\t"8"', 8),
    ],
)
def test_if_match_names_a_version_or_any(value: str, version: int) -> None:
    assert reading(if_match=value).if_match == version


@pytest.mark.parametrize(
    "value", ["", '"a"', 'w/"7"', '"7" "8"', '"7",', '"7", *', "7, 8", "-1", "7.0", '"7-x"', '"7.1"', '"-gzip"']
)
def test_an_invalid_version_is_refused(value: str) -> None:
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
    assert matches_tag(value.encode(), b"7") is matches


@pytest.mark.parametrize(
    ("value", "matches"),
    [('"7.0a1b2c3d"', True), ('W/"7.0a1b2c3d-gzip"', True), ('"7"', False), ("7", False), ('"7.ffffffff"', False)],
)
def test_a_tag_with_a_representation_matches_only_whole(value: str, matches: bool) -> None:
    assert matches_tag(value.encode(), b"7.0a1b2c3d") is matches


def test_the_next_version_of_a_list_is_the_one_that_the_object_has() -> None:
    found = {b"if-match": b'"3", "5", W/"4"'}
    refused = Problem.of(VersionMismatch(version=4))
    assert other_match(found, 5, refused) == 4
    assert other_match(found, 4, refused) is None
    assert other_match(found, 5, Problem.of(VersionMismatch(version=9))) is None
    assert other_match(found, 5, Problem.of(VersionMismatch())) is None
    assert other_match(found, 5, Problem.of(ObjectNotFound())) is None
    assert other_match({b"if-match": b'"5"'}, 5, refused) is None


def test_an_if_match_names_a_bounded_number_of_versions() -> None:
    assert reading(if_match=", ".join(f'"{n}"' for n in range(1, 17))).if_match == 16
    with pytest.raises(MalformedRequest):
        reading(if_match=", ".join(f'"{n}"' for n in range(1, 18)))


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("transfer-encoding", "gzip, chunked", UnsupportedTransferEncoding),
        ("transfer-encoding", "identity", UnsupportedTransferEncoding),
        ("content-encoding", "gzip", UnsupportedMediaType),
        ("content-encoding", "br, identity", UnsupportedMediaType),
    ],
)
def test_unsupported_encodings_of_a_body_are_refused(name: str, value: str, error: type[GoverseError]) -> None:
    with pytest.raises(error):
        check_encodings({name.encode(): value.encode()})


def test_a_body_without_encodings_is_accepted() -> None:
    check_encodings({})
    check_encodings({b"transfer-encoding": b"Chunked", b"content-encoding": b"Identity"})


def test_spaces_and_tabs_around_a_value_are_ignored() -> None:
    _, _, found = collect([(b"host", b"a"), (b"goverse-timeout", b"2\t"), (b"idempotency-key", b" \tk ")])
    assert found == {b"goverse-timeout": b"2", b"idempotency-key": b"k"}


@pytest.mark.parametrize("first", [b"", b"localhost"])
@pytest.mark.parametrize("second", [b"", b"localhost"])
def test_a_second_host_header_is_refused_even_if_one_is_empty(first: bytes, second: bytes) -> None:
    with pytest.raises(MalformedRequest, match="is repeated"):
        collect([(b"host", first), (b"host", second)])


@pytest.mark.parametrize("value", ["*", '"7"', 'W/"7"', '"6", "7"', '"6","7"', '"anything"', '""'])
def test_a_list_of_entity_tags_is_accepted(value: str) -> None:
    check_etags(value.encode())


@pytest.mark.parametrize("value", ["", "x", "7, 8", '"7', '"7" "8"', '"7",', "*, *", 'w/"7"'])
def test_an_invalid_list_of_entity_tags_is_refused(value: str) -> None:
    with pytest.raises(MalformedRequest):
        check_etags(value.encode())


def test_only_a_star_makes_a_create_exclusive() -> None:
    assert is_exclusive_create({b"if-none-match": b"*"})
    assert not is_exclusive_create({})
    with pytest.raises(MalformedRequest):
        is_exclusive_create({b"if-none-match": b'"1"'})


@pytest.mark.parametrize("value", ["", "x", "-1", "1.5", "1" * 21])
def test_an_invalid_position_is_refused(value: str) -> None:
    with pytest.raises(MalformedRequest):
        reading(goverse_min_seq=value)


@pytest.mark.parametrize("value", ["", "../x", "a b", "-a", "n" * 129])
def test_an_invalid_namespace_is_refused(value: str) -> None:
    with pytest.raises(MalformedRequest):
        reading(goverse_namespace=value)


def test_a_well_formed_traceparent_is_passed_on_and_another_ignored() -> None:
    good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    assert reading(traceparent=good).trace == (good, "")
    for bad in ("", "x", good.upper(), good[:-1], "ff" + good[2:], "00-" + "0" * 32 + good[35:], good + "-x"):
        assert reading(traceparent=bad, tracestate="a=1").trace == ("", "")


def test_a_tracestate_is_passed_on_with_its_traceparent_and_an_invalid_one_ignored_alone() -> None:
    good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    assert reading(traceparent=good, tracestate="congo=t61,rojo=00f").trace == (good, "congo=t61,rojo=00f")
    assert reading(tracestate="congo=t61").trace == ("", "")
    for bad in ("congo", "Congo=1", "a=1,a=2", "a=\xe9"):
        assert reading(traceparent=good, tracestate=bad).trace == (good, "")


def test_a_tracestate_in_several_lines_is_one_list() -> None:
    parent = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    _, _, found = collect([(b"tracestate", b"a=1"), (b"traceparent", parent), (b"tracestate", b"b=2 ")])
    assert read(found, "default", 300.0).trace == (parent.decode(), "a=1,b=2")


@pytest.mark.requirement("GATE-10")
def test_a_valid_request_id_of_the_client_is_used_and_an_invalid_one_ignored() -> None:
    assert request_id_of({b"goverse-request-id": b"a-1", b"x-request-id": b"b"}) == "a-1"
    assert request_id_of({b"x-request-id": b"trace/1:2"}) == "trace/1:2"
    for bad in (b"", b"a b", b"a\x1b[31m", b"x" * 129, b"\xe9"):
        assert request_id_of({b"x-request-id": bad}) is None
