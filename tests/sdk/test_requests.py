"""Invalid requests are refused with a typed error before anything is sent."""

import json
import socket
import threading
from typing import Any

import pytest

from goverse_client import GoVerse, GoVerseSync, MalformedRequest, Options
from tests.sdk.peer import peer

pytestmark = pytest.mark.requirement("GATE-2")

RING: dict[str, Any] = {}
RING["ring"] = RING
DEEP: list[Any] = []
for _ in range(100_000):
    DEEP = [DEEP]


def _one(connection: socket.socket, _: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1\r\n\r\n1")


@pytest.mark.parametrize(
    "choices",
    [
        *({"idempotency_key": key} for key in ("", "a\nb", "a\r\nx: y", "bestellung-ä", "注文", " a", "a\0", "\ud800")),
        *({"namespace": namespace} for namespace in ("läden", "a\nb", "a ")),
        *({"timeout_s": seconds} for seconds in (float("nan"), float("inf"), float("-inf"), 0, -1, 1e12)),
    ],
    ids=ascii,
)
async def test_options_that_cannot_be_sent_are_refused(choices: dict[str, Any]) -> None:
    with peer(_one) as server:
        async with GoVerse(server.url) as gv:
            with pytest.raises(MalformedRequest) as caught:
                await gv.object("A", "a").with_options(**choices).call("x")
        with GoVerseSync(server.url) as gv, pytest.raises(MalformedRequest):
            gv.object("A", "a").with_options(**choices).call("x")
        error = caught.value
        assert (error.code, error.status, error.attempts, error.retryable) == ("malformed_request", 0, 0, False)
        assert server.requests == []


@pytest.mark.parametrize(
    "argument",
    [object(), RING, DEEP, float("nan"), b"bytes", "\ud800", {1, 2}, {(1, 2): 3}],
    ids=lambda each: type(each).__name__,
)
def test_arguments_that_json_cannot_represent_are_refused(argument: object) -> None:
    with peer(_one) as server, GoVerseSync(server.url) as gv:
        with pytest.raises(MalformedRequest, match="the arguments cannot be encoded as JSON"):
            gv.object("A", "a").call("x", argument=argument)
        with pytest.raises(MalformedRequest, match="cannot be encoded as UTF-8"):
            gv.object("A", "a").call("\udfff")
        assert server.requests == []


def test_unusual_but_valid_options_are_sent() -> None:
    with peer(_one) as server, GoVerseSync(server.url, options=Options(timeout_s=24 * 24 * 3600)) as gv:
        assert gv.object("A", "a").with_options(idempotency_key="order 7~!").call("x") == 1
        (head,) = server.requests
        assert b"idempotency-key: order 7~!\r\n" in head + b"\r\n"


@pytest.mark.parametrize(
    "headers", [{"a": "secret\nb: c"}, {"a b": "secret"}, {"a": "secret-ä"}, {"": "secret"}, {"a": " secret"}]
)
def test_invalid_headers_are_refused_without_showing_them(headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="invalid header") as caught:
        GoVerse("https://gate.example", headers=headers)
    assert "secret" not in json.dumps(str(caught.value))
