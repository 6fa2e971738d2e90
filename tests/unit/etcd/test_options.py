"""Options of the etcd client, conversion of keys and prefixes, and classification of failures."""

from pathlib import Path
from typing import Any

import grpc
import pytest

from goverse.errors import ConfigError
from goverse.etcd.failures import Failure, Meaning
from goverse.etcd.options import Endpoint, EtcdOptions
from goverse.etcd.ranges import Names, Range

HERE = Endpoint("127.0.0.1", 2379, tls=False)
SECURE = Endpoint("etcd", 2379, tls=True)


@pytest.mark.parametrize(
    ("text", "endpoint", "address"),
    [
        ("http://127.0.0.1:2379", HERE, "127.0.0.1:2379"),
        ("127.0.0.1", HERE, "127.0.0.1:2379"),
        (" 127.0.0.1:2379/ ", HERE, "127.0.0.1:2379"),
        ("https://etcd-0.etcd.svc:1", Endpoint("etcd-0.etcd.svc", 1, tls=True), "etcd-0.etcd.svc:1"),
        ("http://[::1]:5", Endpoint("::1", 5, tls=False), "[::1]:5"),
        ("etcd:5", Endpoint("etcd", 5, tls=False), "etcd:5"),
    ],
)
def test_endpoints_are_parsed(text: str, endpoint: Endpoint, address: str) -> None:
    assert Endpoint.parse(text) == endpoint
    assert endpoint.address == address
    assert Endpoint.parse(str(endpoint)) == endpoint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://",
        "ftp://etcd:1",
        "etcd:port",
        "etcd:70000",
        "http://etcd/path",
        "http://a b",
        "http://u:secret@etcd",
    ],
)
def test_invalid_endpoints_are_refused_without_showing_a_password(text: str) -> None:
    with pytest.raises(ConfigError, match="invalid etcd address") as caught:
        Endpoint.parse(text)
    assert "secret" not in caught.value.detail


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"endpoints": ()}, "name at least one member"),
        ({"endpoints": (HERE, SECURE)}, "use https:// for all etcd endpoints or for none"),
        ({"username": "me"}, "set etcd.username and etcd.password together"),
        ({"password": "me"}, "set etcd.username and etcd.password together"),
        ({"endpoints": (SECURE,), "tls_cert": Path("c")}, "set etcd.tls_cert and etcd.tls_key together"),
        ({"endpoints": (SECURE,), "tls_key": Path("c")}, "set etcd.tls_cert and etcd.tls_key together"),
        ({"tls_ca": Path("c")}, "etcd certificates need endpoints with https"),
    ],
)
def test_contradicting_options_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        EtcdOptions(**{"endpoints": (HERE,), **options})


@pytest.mark.parametrize(
    ("namespace", "prefix", "expected"),
    [
        ("", "/a/", Range(b"/a/", b"/a0")),
        ("/ns", "/a", Range(b"/ns/a", b"/ns/b")),
        ("/ns", "", Range(b"/ns", b"/nt")),
        ("", "", Range(b"\0", b"\0")),
        ("", "\x7f", Range(b"\x7f", b"\x80")),
    ],
)
def test_a_prefix_becomes_a_range(namespace: str, prefix: str, expected: Range) -> None:
    assert Names(namespace).below(prefix) == expected


def test_keys_of_other_programs_may_be_any_bytes() -> None:
    names = Names("/ns/")

    assert names.outside(names.inside("ü")) == "ü"
    assert names.outside(b"/ns/\xff") == "\udcff"


@pytest.mark.parametrize(
    ("status", "words", "meaning"),
    [
        (grpc.StatusCode.UNAVAILABLE, "Socket closed", Meaning.AGAIN),
        (grpc.StatusCode.UNAVAILABLE, "etcdserver: request timed out", Meaning.AGAIN),
        (grpc.StatusCode.UNAVAILABLE, "etcdserver: no leader", Meaning.NOT_DONE),
        (grpc.StatusCode.UNKNOWN, "raft proposal dropped", Meaning.NOT_DONE),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "etcdserver: too many requests", Meaning.NOT_DONE),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded", Meaning.LATER),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "", Meaning.AGAIN),
        (grpc.StatusCode.UNAUTHENTICATED, "etcdserver: invalid auth token", Meaning.NEW_TOKEN),
        (grpc.StatusCode.INVALID_ARGUMENT, "etcdserver: revision of auth store is old", Meaning.NEW_TOKEN),
        (grpc.StatusCode.INVALID_ARGUMENT, "etcdserver: duplicate key given in txn request", Meaning.REFUSED),
        (grpc.StatusCode.PERMISSION_DENIED, "etcdserver: permission denied", Meaning.REFUSED),
        (grpc.StatusCode.UNIMPLEMENTED, "", Meaning.REFUSED),
    ],
)
def test_a_failure_is_classified_by_status_and_words(status: grpc.StatusCode, words: str, meaning: Meaning) -> None:
    assert Failure(status, words).meaning is meaning
