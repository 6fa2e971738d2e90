"""Edge cases of RFC 9110 and 9112: handled as the standard says, on the fast path and through ASGI."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest

from goverse.model.frames import Reply
from goverse_gate.options import GateOptions
from tests.gate.serving import Serving, serving
from tests.gate.wire import Answer, connected, request

READ = "/objects/Counter/c1/call/read"
INCREMENT = "/objects/Counter/c1/call/increment"
STATE = "/objects/Counter/c1"

pytestmark = [pytest.mark.requirement("GATE-1", "GATE-9"), pytest.mark.asyncio]


async def sent(gate: Serving, data: str | bytes) -> Answer:
    async with connected(gate.server.url) as wire:
        await wire.send(data.encode("latin-1") if isinstance(data, str) else data)
        return await wire.answer()


BOTH_PATHS = pytest.mark.parametrize("path", [READ, f"{READ}?", "/healthz", "/metrics"])


@BOTH_PATHS
@pytest.mark.parametrize("hosts", ["Host:\r\nHost: localhost", "Host: localhost\r\nHost:", "Host:\r\nHost:"])
async def test_a_repeated_host_header_is_refused_even_if_one_is_empty(gate: Serving, path: str, hosts: str) -> None:
    answer = await sent(gate, f"POST {path} HTTP/1.1\r\n{hosts}\r\nContent-Length: 0\r\n\r\n")
    assert (answer.status, answer.code) == (400, "malformed_request")


@BOTH_PATHS
@pytest.mark.parametrize("host", ["user@localhost", "localhost/x", "a b", "localhost:80:80"])
async def test_an_invalid_host_header_is_malformed(gate: Serving, path: str, host: str) -> None:
    answer = await sent(gate, f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n")
    assert (answer.status, answer.code) == (400, "malformed_request")


@BOTH_PATHS
async def test_http_1_1_needs_a_host(gate: Serving, path: str) -> None:
    answer = await sent(gate, f"POST {path} HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
    assert (answer.status, answer.code) == (400, "malformed_request")


@pytest.mark.parametrize("path", [READ, f"{READ}?"])
async def test_a_tab_after_a_value_is_ignored(gate: Serving, path: str) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\t\r\nIdempotency-Key: k \t\r\nContent-Length: 2\r\n\r\n{{}}"
    assert (await sent(gate, head)).status == 200
    assert gate.link.requests[-1].idempotency_key == "k"


@pytest.mark.parametrize("path", [INCREMENT, "/admin/log-level"])
@pytest.mark.parametrize("coding", ["gzip, chunked", "identity, chunked", "deflate,chunked"])
async def test_an_unsupported_transfer_encoding_is_refused(gate: Serving, path: str, coding: str) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: {coding}\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"
    answer = await sent(gate, head)
    assert (answer.status, answer.code) == (501, "unsupported_transfer_encoding")
    assert answer.headers["connection"] == "close"
    assert gate.link.requests == []


@pytest.mark.parametrize("path", [INCREMENT, f"{INCREMENT}?", "/admin/log-level"])
async def test_a_compressed_body_is_an_unsupported_media_type(gate: Serving, path: str) -> None:
    answer = await gate.client.post(path, content=gzip.compress(b"{}"), headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    assert gate.link.requests == []


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (b'\xef\xbb\xbf{"by": 1}', "byte order mark"),
        ('{"by": 1}'.encode("utf-16"), "UTF-16"),
        (gzip.compress(b'{"by": 1}', mtime=0), "gzip"),
    ],
)
async def test_a_body_in_another_encoding_is_refused_with_its_cause(gate: Serving, body: bytes, cause: str) -> None:
    answer = await gate.client.post(INCREMENT, content=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")
    assert cause in answer.json()["detail"]


@pytest.mark.parametrize(
    "line",
    [
        "GET /healthz",
        "GET /healthz HTTP/0.9",
        "GET /healthz HTTP/2.0",
        f"POST {READ} HTTP/0.9",
        f"POST {READ} HTTP/2.0",
        f"POST {READ} HTTP/2.0\r\nConnection: keep-alive",
    ],
)
async def test_other_versions_of_http_are_refused(gate: Serving, line: str) -> None:
    answer = await sent(gate, f"{line}\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
    assert (answer.status, answer.code) == (400, "malformed_request")


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        (f"http://localhost{READ}", "evil.example", 200),
        (f"HTTP://localhost:8000{READ}", "localhost", 200),
        (f"http://evil.example{READ}", "localhost", 403),
        (f"http://user@localhost{READ}", "localhost", 400),
        (f"ftp://localhost{READ}", "localhost", 400),
        ("http://evil.example/healthz", "localhost", 200),
        ("http://evil.example/metrics", "localhost", 403),
    ],
)
async def test_the_authority_of_an_absolute_url_replaces_the_host(
    gate: Serving, target: str, host: str, status: int
) -> None:
    method = "POST" if "/call/" in target else "GET"
    assert (await sent(gate, request(method, target, b"", host=host))).status == status


async def test_an_absolute_url_without_a_path_is_the_root(gate: Serving) -> None:
    assert (await sent(gate, request("GET", "http://localhost"))).status == 307


@pytest.mark.parametrize("path", [READ, f"{READ}?"])
async def test_leading_zeros_of_a_content_length_are_ignored(gate: Serving, path: str) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {'0' * 30}2\r\n\r\n{{}}"
    assert (await sent(gate, head)).status == 200


@pytest.mark.parametrize("length", ["4194305", "999999999999999999"])
async def test_a_body_announced_as_too_large_is_refused_before_it_arrives(gate: Serving, length: str) -> None:
    async with connected(gate.server.url) as wire:
        await wire.send(request("POST", INCREMENT, headers={"Content-Length": length}) + b"{")
        gate.server._sweeping.cancel()  # type: ignore[union-attr]  # so that the sweep does not refuse the request
        answer = await wire.answer()
        assert (answer.status, answer.code) == (413, "too_large")


@pytest.mark.parametrize(
    "path", ["/%0A", "/healthz%0A", "/docs%0a", "/metrics%0A", "/admin/log-level%0A", "/%00", "/a%0Db"]
)
async def test_control_characters_in_a_path_are_not_ignored(gate: Serving, path: str) -> None:
    answer = await sent(gate, request("GET", path))
    assert (answer.status, answer.code) == (404, "unknown_path")


@pytest.mark.parametrize("value", ["bytes=5-2", "bytes=x", "bytes=-", "bytes=9999999-", "bytes=0-1,9-5"])
async def test_every_error_of_a_file_is_a_problem(tmp_path: Path, value: str) -> None:
    (tmp_path / "page.html").write_text("<p>hello</p>")
    async with serving(GateOptions(web_dir=tmp_path)) as gate:
        answer = await gate.client.get("/page.html", headers={"Range": value})
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == answer.status_code
        assert answer.status_code in (400, 416)
        assert (await gate.client.get("/page.html", headers={"Range": "bytes=1-3"})).text == "p>h"


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", INCREMENT), ("PUT", STATE), ("POST", "/objects/Counter"), ("GET", STATE), ("DELETE", STATE)],
)
async def test_query_parameters_that_would_be_ignored_are_refused(gate: Serving, method: str, path: str) -> None:
    answer = await gate.client.request(method, f"{path}?by=5")
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")
    assert "query" in answer.json()["detail"]
    assert gate.link.requests == []


@pytest.mark.parametrize("path", [INCREMENT, f"{INCREMENT}?"])
@pytest.mark.parametrize(
    ("value", "status"),
    [('W/"1"', 200), ('"1-gzip"', 200), ('"1", "3"', 200), ('"2", W/"1"', 200), ('"3", "2"', 412), ("*", 200)],
)
async def test_if_match_accepts_tags_changed_by_proxies(gate: Serving, path: str, value: str, status: int) -> None:
    assert (await gate.client.post(INCREMENT)).text == "1"
    answer = await gate.client.post(path, headers={"If-Match": value})
    assert answer.status_code == status
    assert gate.link.commit_seq == (2 if status == 200 else 1)


async def test_if_match_may_be_a_list_for_reads_and_deletes(gate: Serving) -> None:
    await gate.client.post(INCREMENT)
    listed = {"If-Match": '"5", "1"'}
    assert (await gate.client.get(STATE, headers=listed)).json() == {"value": 1}
    assert (await gate.client.delete(STATE, headers=listed)).status_code == 204


async def test_pages_and_the_document_are_compressed_once_and_have_a_tag(gate: Serving) -> None:
    for path in ("/openapi.json", "/docs/assets/swagger-ui-bundle.js"):
        first = await gate.client.get(path, headers={"Accept-Encoding": "gzip"})
        assert (first.status_code, first.headers["content-encoding"]) == (200, "gzip")
        plain = await gate.client.get(path, headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers
        assert plain.content == first.content
        again = await gate.client.get(path, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        refused = await gate.client.get(path, headers={"Accept-Encoding": "gzip;q=0"})
        assert "content-encoding" not in refused.headers
    content = gate.app.document()
    assert (await gate.client.get("/openapi.json")).json() == json.loads(content.body)
    assert gate.app.document() is content


async def test_the_documents_tag_changes_with_the_types(gate: Serving) -> None:
    before = (await gate.client.get("/openapi.json")).headers["etag"]
    gate.app.set_catalog({name: each for name, each in gate.app.catalog.items() if name != "Room"})
    after = await gate.client.get("/openapi.json", headers={"If-None-Match": before})
    assert (after.status_code, after.headers["etag"] == before) == (200, False)


async def test_the_tag_of_a_state_follows_its_representation_from_state_version_2_on(gate: Serving) -> None:
    first, second = b'{"customer":"ann"}', b'{"buyer":"ann"}'
    catalog = dict(gate.app.catalog)
    gate.link.replies = lambda _: Reply(first, 1, 1)
    assert (await gate.client.get(STATE)).headers["etag"] == '"1"'
    gate.app.set_catalog(catalog | {"Counter": replace(catalog["Counter"], state_version=2)})
    old_node = await gate.client.get(STATE, headers={"If-None-Match": '"1"'})
    gate.link.replies = lambda _: Reply(second, 1, 1)
    new_node = await gate.client.get(STATE, headers={"If-None-Match": old_node.headers["etag"]})
    assert (old_node.status_code, old_node.content) == (200, first)
    assert (new_node.status_code, new_node.content) == (200, second)
    same = await gate.client.get(STATE, headers={"If-None-Match": f"W/{new_node.headers['etag']}"})
    assert (same.status_code, same.headers["etag"]) == (304, new_node.headers["etag"])
    await gate.client.post(INCREMENT, headers={"If-Match": new_node.headers["etag"]})
    assert gate.link.requests[-1].if_match == 1
