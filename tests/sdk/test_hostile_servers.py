"""Broken or hostile servers cause typed errors: no unbounded memory, and no results of other calls."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from goverse_client import GoVerse, GoverseError, GoVerseSync, Options, RetryPolicy, UnexpectedAnswer
from goverse_client.errors import InvalidArguments, error_of
from tests.sdk.peer import Answering, peer

pytestmark = pytest.mark.requirement("GATE-2", "GATE-9")

LIMIT = 100_000
Doing = Callable[[GoVerseSync], object]


def answering(*answers: bytes) -> Answering:
    """Send these responses in turn, and then the last one forever."""
    left = list(answers)

    def answer(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(left.pop(0) if len(left) > 1 else left[0])

    return answer


def response(body: bytes, *headers: str, kind: str = "application/json", status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-type: {kind}", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def endless(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
    while not over.is_set():
        connection.sendall(b"10000\r\n" + b" " * 65_536 + b"\r\n")


def call(gv: GoVerseSync) -> object:
    return gv.object("A", "a").call("x")


def fails(answer: Answering, do: Doing = call, **options: Any) -> GoverseError:
    with (
        peer(answer) as server,
        GoVerseSync(server.url, options=Options(timeout_s=20), answer_bytes_max=LIMIT, **options) as gv,
        pytest.raises(GoverseError) as caught,
    ):
        do(gv)
    return caught.value


async def test_an_endless_response_is_aborted_at_the_limit() -> None:
    assert "larger than 100000 bytes" in fails(endless).detail
    with peer(endless) as server:
        async with GoVerse(server.url, answer_bytes_max=LIMIT) as gv:
            with pytest.raises(UnexpectedAnswer, match="larger than 100000 bytes") as caught:
                await gv.object("A", "a").call("x")
        assert server.broken_off.wait(10), "its connection is closed"
    assert caught.value.attempts == 1


def test_a_response_at_the_limit_is_read() -> None:
    body = b'"' + b"a" * (LIMIT - 2) + b'"'
    with peer(answering(response(body))) as server, GoVerseSync(server.url, answer_bytes_max=LIMIT) as gv:
        assert gv.object("A", "a").call("x") == "a" * (LIMIT - 2)


def test_an_unrequested_compressed_response_is_not_decompressed() -> None:
    bomb = gzip.compress(b"0" * 50_000_000)[: LIMIT - 1]
    with peer(answering(response(bomb, "content-encoding: gzip"))) as server, GoVerseSync(server.url) as gv:
        with pytest.raises(UnexpectedAnswer, match="content encoding 'gzip'"):
            call(gv)
        assert b"\r\naccept-encoding: identity\r\n" in server.requests[0].lower()


async def test_a_surplus_response_is_not_used_for_the_next_request() -> None:
    twice = response(b"1") + response(b"666")
    with peer(answering(twice, response(b"2"))) as server, GoVerseSync(server.url) as gv:
        assert call(gv) == 1
        with pytest.raises(UnexpectedAnswer, match="before the request was sent"):
            call(gv)
        assert call(gv) == 2, "on another connection"
    with peer(answering(twice, response(b"2"))) as server:
        async with GoVerse(server.url) as also:
            assert await also.object("A", "a").call("x") == 1
            with pytest.raises(UnexpectedAnswer, match="before the request was sent"):
                await also.object("A", "a").call("x")


@pytest.mark.parametrize(
    "body", [b"[" * 50_000 + b"]" * 50_000, b"9" * 50_000, b"\xff", b"{"], ids=["deep", "digits", "not UTF-8", "half"]
)
def test_invalid_json_is_an_unexpected_answer(body: bytes) -> None:
    error = fails(answering(response(body)))
    assert isinstance(error, UnexpectedAnswer)
    assert (error.attempts, error.status) == (1, 200)
    failed = fails(answering(response(body, kind="application/problem+json", status="400 Bad Request")))
    assert isinstance(failed, UnexpectedAnswer)


def test_headers_with_absurd_numbers_are_ignored() -> None:
    headers = (f'etag: "{"9" * 5_000}"', f"goverse-commit-seq: {'9' * 5_000}", f"retry-after: {'9' * 5_000}")
    with peer(answering(response(b"1", *headers))) as server, GoVerseSync(server.url) as gv:
        reply = gv.object("A", "a").call_reply("x")
    assert (reply.value, reply.version, reply.commit_seq) == (1, None, None)


def pages(gv: GoVerseSync) -> object:
    return list(gv.list("A"))


@pytest.mark.parametrize(
    "page",
    [
        {"items": [], "cursor": "same"},
        {"items": 5, "cursor": None},
        {"items": [{"id": 1}], "cursor": None},
        {"items": [{"id": "a", "version": 1}], "cursor": 7},
        {},
        [],
    ],
    ids=["a cursor that stays", "no list", "no summary", "no cursor", "nothing", "a list"],
)
def test_an_invalid_page_is_an_unexpected_answer(page: object) -> None:
    error = fails(answering(response(json.dumps(page).encode())), pages)
    assert isinstance(error, UnexpectedAnswer)


@pytest.mark.parametrize("created", [b"[]", b"{}", b'{"id": 5}', b"null"])
def test_a_create_response_without_an_id_is_an_unexpected_answer(created: bytes) -> None:
    error = fails(answering(response(created, status="201 Created")), lambda gv: gv.create("A"))
    assert isinstance(error, UnexpectedAnswer)


def test_control_characters_of_a_detail_stay_out_of_the_message() -> None:
    problem = {"code": "no", "detail": "gone\r\n\x1b[2J\x9b\ud800 forged", "request_id": "r\x1b]0;title\x07"}
    error = fails(
        answering(response(json.dumps(problem).encode(), kind="application/problem+json", status="409 Conflict"))
    )
    assert str(error).isprintable()
    assert "gone\\r\\n\\x1b[2J\\x9b\\ud800 forged" in str(error)
    assert "\x1b" in error.detail, "the detail itself is what was sent"


@pytest.mark.parametrize("errors", [5, None, "text", [1, {"path": "/a", "message": "bad"}]])
def test_invalid_fields_are_left_out(errors: object) -> None:
    body = json.dumps({"code": "invalid_arguments", "errors": errors}).encode()
    error = error_of(422, {"content-type": "application/problem+json"}, body)
    assert isinstance(error, InvalidArguments)
    assert error.errors == ([{"path": "/a", "message": "bad"}] if isinstance(errors, list) else [])


def test_an_unusable_response_is_not_retried() -> None:
    """An unusable response is final, also for a repeatable request."""
    with peer(endless) as server, GoVerseSync(server.url, answer_bytes_max=LIMIT, retries=RetryPolicy()) as gv:
        with pytest.raises(UnexpectedAnswer):
            call(gv)
        assert len(server.requests) == 1
