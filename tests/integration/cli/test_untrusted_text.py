"""Untrusted text reaches a terminal without control characters, and no command reads a response without a limit."""

from __future__ import annotations

import json
import re
import socket
import sys
import threading
import unicodedata
from pathlib import Path

import pytest

from goverse.model.terminal_text import UNSAFE
from goverse_cli import printable
from tests.integration.cli.processes import goverse
from tests.sdk.peer import Answering, peer

CONTROLS = "a\x1b[2J\x1b]0;title\x07\r\nb\x9bc\x7f\u2028\u202e\u061cd\te"


def answering(body: bytes, status: str = "200 OK", kind: str = "application/json", *headers: str) -> Answering:
    def answer(connection: socket.socket, over: threading.Event) -> None:
        lines = [f"HTTP/1.1 {status}", f"content-type: {kind}", f"content-length: {len(body)}", *headers, "", ""]
        connection.sendall("\r\n".join(lines).encode() + body)

    return answer


def endless(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
    while not over.is_set():
        connection.sendall(b"100000\r\n" + b" " * 0x100000 + b"\r\n")


def _controls(text: str) -> list[str]:
    return [each for each in text if each != "\n" and not each.isprintable()]


@pytest.mark.parametrize("output", ["text", "json"])
def test_a_problem_cannot_control_the_terminal(output: str, tmp_path: Path) -> None:
    problem = {"code": CONTROLS, "detail": CONTROLS, "request_id": CONTROLS, "retryable": True}
    problem |= {"errors": [{"path": CONTROLS, "message": CONTROLS}, 5]}
    body = json.dumps(problem, ensure_ascii=False).encode()
    with peer(answering(body, "500 Internal Server Error", "application/problem+json")) as server:
        ended = goverse("call", "A", "a", "x", "--url", server.url, "-o", output, cwd=tmp_path)

    assert ended.returncode == 1
    assert _controls(ended.stderr) == []
    assert "\\u001b[2J" in ended.stderr
    if output == "json":
        assert json.loads(ended.stderr)["detail"] == CONTROLS, (
            "control characters are escaped, and the text is complete"
        )
    else:
        assert len(ended.stderr.splitlines()) == 3, "a text cannot add a line to the error, the field and the hint"


@pytest.mark.parametrize("output", ["text", "json"])
def test_a_result_cannot_control_the_terminal(output: str, tmp_path: Path) -> None:
    with peer(answering(json.dumps(CONTROLS, ensure_ascii=False).encode())) as server:
        ended = goverse("call", "A", "a", "x", "--url", server.url, "-o", output, cwd=tmp_path)

    assert (ended.returncode, _controls(ended.stdout)) == (0, [])
    result = json.loads(ended.stdout)
    assert (result["result"] if output == "json" else result) == CONTROLS


@pytest.mark.parametrize("errors", [5, None, "text", {"a": 1}])
def test_a_problem_with_unexpected_fields_is_still_shown(errors: object, tmp_path: Path) -> None:
    body = json.dumps({"code": "no", "detail": "it is refused", "errors": errors}).encode()
    with peer(answering(body, "409 Conflict", "application/problem+json")) as server:
        ended = goverse("call", "A", "a", "x", "--url", server.url, cwd=tmp_path)

    assert (ended.returncode, ended.stderr) == (1, "error: it is refused (409 no)\n")


def test_an_endless_response_is_cut_off(tmp_path: Path) -> None:
    with peer(endless) as server:
        ended = goverse("call", "A", "a", "x", "--url", server.url, cwd=tmp_path)
        assert server.broken_off.wait(10)

    assert (ended.returncode, ended.stdout) == (1, "")
    assert "is longer than 67108864 bytes" in ended.stderr


def test_an_encoding_that_was_not_asked_for_is_not_unpacked(tmp_path: Path) -> None:
    with peer(answering(b"1", "200 OK", "application/json", "content-encoding: gzip")) as server:
        ended = goverse("call", "A", "a", "x", "--url", server.url, cwd=tmp_path)

    assert ended.returncode == 1
    assert "the content encoding 'gzip'" in ended.stderr


def test_control_characters_are_escaped_in_the_output_of_commands_and_in_the_log() -> None:
    steering = {
        chr(code)
        for code in range(sys.maxunicode + 1)
        if unicodedata.category(chr(code)) in ("Cc", "Cs", "Zl", "Zp")
        or unicodedata.bidirectional(chr(code)) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
        or code in (0x061C, 0x200E, 0x200F)  # invisible direction marks
    }
    escaped = re.compile(f"[{UNSAFE}]")

    assert {chr(code) for code in range(sys.maxunicode + 1) if escaped.match(chr(code))} == steering
    assert printable.line("".join(sorted(steering))).isprintable()
    assert {each for each in steering if printable.lines(each) == each} == {"\t", "\n"}


def test_plain_text_stays_as_it_is() -> None:
    text = "größe 価格 👍 a\tb\nc"
    assert printable.lines(text) == text
    assert printable.line(text) == "größe 価格 👍 a\\u0009b\\u000ac"
