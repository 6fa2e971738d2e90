"""The guard denies requests of foreign web pages to a gate on a developer's machine."""

from __future__ import annotations

import pytest

from goverse.errors import AccessDenied, MalformedRequest
from goverse_gate.guard import Guard, Header, is_preflight
from goverse_gate.options import GateOptions

HOST = b"localhost:8000"


def checked(guard: Guard, method: str = "GET", **headers: str) -> dict[bytes, bytes]:
    found = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    cors: tuple[Header, ...] = guard.check_page(method, HOST, found)
    return dict(cors)


@pytest.mark.parametrize(
    "host", [b"localhost", b"localhost:8000", b"LocalHost:1", b"127.0.0.1:80", b"[::1]", b"[::1]:9"]
)
def test_loopback_names_are_served_under_any_port(host: bytes) -> None:
    guard = Guard(GateOptions())
    guard.check_host(host)
    assert host in guard.known_hosts


@pytest.mark.parametrize(
    "host",
    [b"evil.example", b"localhost.evil.example", b"localhost.", b"127.0.0.1.nip.io:8000", b"\xff"],
)
def test_a_host_name_rebound_to_this_machine_is_denied(host: bytes) -> None:
    with pytest.raises(AccessDenied, match=r"gate\.allowed_hosts"):
        Guard(GateOptions()).check_host(host)


def test_only_http_1_0_allows_a_missing_host() -> None:
    Guard(GateOptions()).check_host(b"", "1.0")
    with pytest.raises(MalformedRequest):
        Guard(GateOptions()).check_host(b"", "1.1")


def test_hosts_can_be_named_with_a_port_or_all_allowed() -> None:
    guard = Guard(GateOptions(allowed_hosts=("api.example:443",)))
    guard.check_host(b"api.example:443")
    with pytest.raises(AccessDenied):
        guard.check_host(b"api.example:80")
    Guard(GateOptions(allowed_hosts=("*",))).check_host(b"whatever")


def test_the_cache_of_hosts_is_bounded() -> None:
    guard = Guard(GateOptions())
    for port in range(1, 3_000):
        guard.check_host(b"localhost:%d" % port)
    assert len(guard.known_hosts) == 1_024


@pytest.mark.requirement("GATE-10")
def test_the_gates_own_pages_and_programs_may_call() -> None:
    assert checked(Guard(GateOptions())) == {}
    assert checked(Guard(GateOptions()), "POST", origin="http://localhost:8000") == {}


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://localhost:3000", "http://localhost", "null", "ftp://localhost:8000", ""]
)
def test_pages_of_other_origins_are_denied(origin: str, method: str) -> None:
    with pytest.raises(AccessDenied, match=r"gate\.allowed_origins"):
        checked(Guard(GateOptions()), method, origin=origin)


def test_an_allowed_origin_can_read_responses_that_vary_by_origin() -> None:
    guard = Guard(GateOptions(allowed_origins=("https://shop.example/",)))
    cors = checked(guard, origin="https://Shop.example")
    assert cors[b"access-control-allow-origin"] == b"https://Shop.example"
    assert cors[b"vary"] == b"Origin"
    assert checked(guard) == {b"vary": b"Origin"}
    with pytest.raises(AccessDenied):
        checked(guard, origin="https://evil.example")


def test_a_star_allows_every_origin() -> None:
    guard = Guard(GateOptions(allowed_origins=("*",)))
    assert checked(guard, origin="null")[b"access-control-allow-origin"] == b"*"


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_foreign_page_can_link_to_the_gate_but_not_embed_it(site: str) -> None:
    guard = Guard(GateOptions())
    assert checked(guard, sec_fetch_site=site, sec_fetch_mode="navigate") == {}
    with pytest.raises(AccessDenied):
        checked(guard, sec_fetch_site=site, sec_fetch_mode="no-cors")
    with pytest.raises(AccessDenied):
        checked(guard, "POST", sec_fetch_site=site, sec_fetch_mode="navigate")


def test_a_preflight_of_an_allowed_origin_gets_the_allowed_methods_and_headers() -> None:
    guard = Guard(GateOptions(allowed_origins=("https://shop.example",)))
    headers = {
        b"origin": b"https://shop.example",
        b"access-control-request-method": b"POST",
        b"access-control-request-private-network": b"true",
    }
    assert is_preflight("OPTIONS", headers)
    answer = dict(guard.preflight_headers(guard.check_page("OPTIONS", HOST, headers), headers))
    assert b"Idempotency-Key" in answer[b"access-control-allow-headers"]
    assert answer[b"access-control-allow-private-network"] == b"true"
    assert {b"baggage", b"traceparent", b"tracestate"} < set(answer[b"access-control-allow-headers"].split(b", "))
    assert guard.preflight_headers(guard.vary, headers) == []


def test_a_preflight_also_allows_the_headers_of_the_setting() -> None:
    options = GateOptions(allowed_origins=("*",), allowed_headers=("sentry-trace", "X-Requested-With"))
    guard = Guard(options)
    headers = {b"origin": b"https://shop.example", b"access-control-request-method": b"POST"}
    answer = dict(guard.preflight_headers(guard.check_page("OPTIONS", HOST, headers), headers))
    assert answer[b"access-control-allow-headers"].endswith(b", sentry-trace, X-Requested-With")


@pytest.mark.parametrize("host", [b"evil.example" + b"x" * 60_000, b"\xff" * 60_000])
def test_a_refusal_repeats_only_the_beginning_of_a_host(host: bytes) -> None:
    with pytest.raises(AccessDenied) as refusal:
        Guard(GateOptions()).check_host(host)
    assert len(refusal.value.detail) < 512


def test_a_refusal_repeats_only_the_beginning_of_an_origin() -> None:
    with pytest.raises(AccessDenied) as refusal:
        checked(Guard(GateOptions()), origin="https://" + "evil" * 15_000)
    assert len(refusal.value.detail) < 512


@pytest.mark.parametrize(
    "host",
    [b"user@localhost", b"localhost/path", b"local host", b"localhost:80:80", b"http://localhost", b"localhost?x"],
)
def test_an_invalid_host_is_malformed(host: bytes) -> None:
    for options in (GateOptions(), GateOptions(allowed_hosts=("*",))):
        with pytest.raises(MalformedRequest):
            Guard(options).check_host(host)


@pytest.mark.parametrize("dest", ["iframe", "frame", "object", "embed", "fencedframe", "worker", ""])
@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_foreign_page_cannot_show_the_gate_in_a_frame(site: str, dest: str) -> None:
    with pytest.raises(AccessDenied):
        checked(Guard(GateOptions()), sec_fetch_site=site, sec_fetch_mode="navigate", sec_fetch_dest=dest)


def test_a_link_in_a_tab_is_allowed() -> None:
    guard = Guard(GateOptions())
    assert checked(guard, sec_fetch_site="cross-site", sec_fetch_mode="navigate", sec_fetch_dest="document") == {}


@pytest.mark.parametrize(
    ("origins", "policy"),
    [
        ((), "frame-ancestors 'self'"),
        (("https://a.example",), "frame-ancestors 'self' https://a.example"),
        (("*",), None),
    ],
)
def test_only_own_and_allowed_pages_can_frame_the_gate(origins: tuple[str, ...], policy: str | None) -> None:
    headers = dict(Guard(GateOptions(allowed_origins=origins)).frame_headers)
    assert headers.get(b"content-security-policy", b"").decode() == (policy or "")
    assert (b"x-frame-options" in headers) is (origins == ())
