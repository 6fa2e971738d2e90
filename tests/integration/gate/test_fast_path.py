"""The fast path and ASGI: equal responses, and responses in order on each connection.

A ``?`` at the end of the path sends a call through ASGI and has no other effect.
"""

from __future__ import annotations

import asyncio
import gc
import re
import weakref

import pytest

from goverse.model.frames import Problem, Reply
from goverse_gate.fast_path import HELD_BYTES_MAX
from goverse_gate.options import GateOptions
from goverse_gate.protocol import BoundedProtocol
from tests.gate.serving import Serving, serving
from tests.gate.wire import Answer, Wire, connected, request, until
from tests.loop_time import LoopTime

INCREMENT = "/objects/Counter/c1/call/increment"
READ = "/objects/Counter/c1/call/read"
CHANGES = re.compile(r"^(date|goverse-request-id|etag|goverse-commit-seq)$")
REQUEST_ID = re.compile(rb'"request_id":"[^"]*"')

pytestmark = [pytest.mark.requirement("GATE-1", "GATE-9"), pytest.mark.asyncio]


def comparable(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    """Return an answer without the parts that differ between two equal requests."""
    headers = {name: "" if CHANGES.match(name) else value for name, value in answer.headers.items()}
    return answer.status, headers, REQUEST_ID.sub(b"", answer.body)


def connection_of(gate: Serving) -> BoundedProtocol:
    """Return the only connection."""
    (connection,) = gate.server._uvicorn.server_state.connections
    assert isinstance(connection, BoundedProtocol)
    return connection


async def asked(wire: Wire, path: str, body: bytes = b"", **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    await wire.send(request("POST", path, body, headers=named))
    return await wire.answer()


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/objects/Counter/c2/call/read", b"", {}),
        ("/objects/Counter/c2/call/read", b"{}", {"GoVerse_Request_Id": "mine"}),
        ("/objects/Counter/c2/call/increment", b'{"by":"x"}', {}),
        ("/objects/Counter/c2/call/increment", b"{", {}),
        ("/objects/Counter/c2/call/increment", b"\xff", {}),
        ("/objects/Counter/c2/call/withdraw", b'{"amount":1000}', {}),
        ("/objects/Counter/c2/call/withdraw", b'{"amount":1000}', {"Idempotency_Key": "k1"}),
        ("/objects/Counter/c2/call/fail", b"", {}),
        ("/objects/Counter/c2/call/none", b"", {}),
        ("/objects/None/c2/call/none", b"", {}),
        ("/objects/Counter//call/read", b"", {}),
        ("/objects/Counter/%zz/call/read", b"", {}),
        ("/objects/Counter/shard%23x/call/read", b"", {}),
        ("/objects/Counter/c2/call/read", b"", {"If_Match": "7"}),
        ("/objects/Counter/c2/call/read", b"", {"If_Match": "x"}),
        ("/objects/Counter/c2/call/read", b"", {"If_Match": 'W/"1"'}),
        ("/objects/Counter/c2/call/read", b"", {"If_Match": '"1-gzip"'}),
        ("/objects/Counter/c2/call/read", b"", {"If_Match": '"1", "9"'}),
        ("/objects/Counter/c2/call/read", b"", {"If_Match": '"8", "9"'}),
        ("/objects/Counter/c2/call/read", b"", {"Content_Encoding": "gzip"}),
        ("/objects/Counter/c2/call/read", b"", {"GoVerse_Timeout": "2\t"}),
        ("/objects/Counter/c2/call/increment", b'\xef\xbb\xbf{"by":1}', {}),
        ("/objects/Counter/c2/call/read", b"", {"GoVerse_Timeout": "soon"}),
        ("/objects/Counter/c2/call/read", b"", {"GoVerse_Min_Seq": "99999"}),
        ("/objects/Counter/c2/call/read", b"", {"GoVerse_Namespace": "-"}),
        ("/objects/Counter/c2/call/read", b"", {"Idempotency_Key": ""}),
        ("/objects/Counter/c2/call/read", b"", {"Origin": "http://evil.example"}),
        ("/objects/Counter/c2/call/read", b"", {"Origin": "http://localhost"}),
        ("/objects/Counter/c2/call/read", b"", {"Sec_Fetch_Site": "cross-site"}),
        ("/objects/Counter/c2/call/read", b"", {"Content_Type": "text/plain"}),
    ],
)
async def test_both_paths_answer_alike(gate: Serving, path: str, body: bytes, headers: dict[str, str]) -> None:
    async with connected(gate.server.url) as wire:
        await asked(wire, "/objects/Counter/c2/call/increment")
        plain = await asked(wire, path, body, **headers)
        other = await asked(wire, f"{path}?", body, **headers)
        if "Idempotency_Key" in headers and plain.status == 402:
            assert other.headers.pop("idempotency-replayed") == "true"
        assert comparable(plain) == comparable(other)


@pytest.mark.parametrize("origins", [("https://app.example",), ("*",)])
async def test_both_paths_allow_the_same_pages(origins: tuple[str, ...]) -> None:
    async with serving(GateOptions(allowed_origins=origins)) as gate, connected(gate.server.url) as wire:
        for headers in ({"Origin": "https://app.example"}, {}):
            plain, other = await asked(wire, READ, b"", **headers), await asked(wire, f"{READ}?", b"", **headers)
            assert comparable(plain) == comparable(other)


@pytest.mark.parametrize("length", [100, 101, HELD_BYTES_MAX, HELD_BYTES_MAX + 1])
async def test_both_paths_have_the_same_body_limit(length: int) -> None:
    async with serving(GateOptions(body_bytes_max=100)) as gate, connected(gate.server.url) as wire:
        body = b"{}".ljust(length)
        plain, other = await asked(wire, READ, body), await asked(wire, f"{READ}?", body)
        assert comparable(plain) == comparable(other)
        assert plain.status == (200 if length <= 100 else 413)


async def test_a_replay_is_the_same_on_both_paths(gate: Serving) -> None:
    async with connected(gate.server.url) as wire:
        answers = [
            await asked(wire, path, b'{"by":3}', Idempotency_Key="k")
            for path in (INCREMENT, f"{INCREMENT}?", INCREMENT)
        ]
    assert [answer.body for answer in answers] == [b"3"] * 3
    assert [answer.headers.get("idempotency-replayed") for answer in answers] == [None, "true", "true"]
    assert gate.app.objects.metrics.replays == 2


async def test_requests_of_one_connection_are_answered_in_order_on_both_paths(gate: Serving) -> None:
    paths = [INCREMENT, f"{INCREMENT}?", INCREMENT, INCREMENT, f"{INCREMENT}?", f"{INCREMENT}?", INCREMENT]
    async with connected(gate.server.url) as wire:
        for _ in range(50):
            gate.link.held = True
            seen, before = len(gate.link.requests), gate.link.commit_seq
            await wire.send(b"".join(request("POST", path, b"{}") for path in paths))
            await until(lambda seen=seen: len(gate.link.requests) > seen)
            gate.link.release()
            bodies = [int((await wire.answer()).body) for _ in paths]
            assert bodies == list(range(before + 1, before + 1 + len(paths)))


async def test_a_body_can_arrive_in_parts(gate: Serving) -> None:
    async with connected(gate.server.url) as wire:
        whole = request("POST", INCREMENT, b'{"by": 5}')
        for byte in whole:
            await wire.send(bytes([byte]))
            await asyncio.sleep(0)
        assert (await wire.answer()).body == b"5"
        assert (await asked(wire, INCREMENT, b'{"by": 1}' + b" " * (HELD_BYTES_MAX + 1))).body == b"6"


async def test_a_slow_body_moves_to_asgi_and_is_answered(gate: Serving) -> None:
    async with connected(gate.server.url) as wire:
        head, tail = request("POST", INCREMENT, b'{"by": 5}')[:-4], b": 5}"
        await wire.send(head)
        await until(lambda: connection_of(gate).awaits_body)
        await until(lambda: not connection_of(gate).awaits_body)  # the sweep found it
        assert not gate.link.requests
        await wire.send(tail)
        assert (await wire.answer()).body == b"5"


async def test_a_disconnect_within_a_body_has_no_effect(gate: Serving) -> None:
    async with connected(gate.server.url) as wire:
        await wire.send(request("POST", INCREMENT, b'{"by": 5}')[:-4])
        await until(lambda: connection_of(gate).awaits_body)
    await until(lambda: not gate.server._uvicorn.server_state.connections)
    assert not gate.link.requests
    assert gate.app.objects.inflight == 0


async def test_a_broken_body_is_refused_without_an_effect(gate: Serving) -> None:
    async with connected(gate.server.url) as wire:
        await wire.send(request("POST", INCREMENT, headers={"Transfer-Encoding": "chunked"}) + b"2\r\n{}\r\nzz\r\n")
        answer = await wire.answer()
        assert (answer.status, answer.code) == (400, "malformed_request")
        assert await wire.is_closed()
    assert not gate.link.requests


async def test_garbage_behind_a_call_is_refused_after_its_response(gate: Serving) -> None:
    gate.link.held = True
    async with connected(gate.server.url) as wire:
        await wire.send(request("POST", INCREMENT, b"{}") + b"garbage\r\n\r\n")
        await until(lambda: gate.link.requests)
        gate.link.release()
        assert (await wire.answer()).body == b"1"
        assert (await wire.answer()).code == "malformed_request"
        assert await wire.is_closed()


async def test_an_invalid_url_behind_a_call_is_refused_after_its_response(gate: Serving) -> None:
    gate.link.held = True
    async with connected(gate.server.url) as wire:
        await wire.send(request("POST", INCREMENT, b"{}") + request("CONNECT", "localhost:80"))
        await until(lambda: gate.link.requests)
        gate.link.release()
        assert (await wire.answer()).body == b"1"
        assert (await wire.answer()).code == "malformed_request"
        assert await wire.is_closed()


async def test_a_closed_connection_is_not_kept_by_its_call(gate: Serving) -> None:
    gate.link.held = True
    async with connected(gate.server.url) as wire:
        await wire.send(request("POST", INCREMENT, b"{}"))
        await until(lambda: gate.link.waiters)
        connection = weakref.ref(connection_of(gate))
    await until(gate.link.waiters[0].done)
    await until(lambda: gc.collect() >= 0 and connection() is None)


async def test_a_disconnect_behind_pipelined_reads_is_noticed(gate: Serving, caplog: pytest.LogCaptureFixture) -> None:
    gate.link.held = True
    async with connected(gate.server.url) as wire:
        await wire.send(request("GET", "/objects/Counter/c1") * 3)
        await until(lambda: gate.link.waiters)
    await until(gate.link.waiters[0].done)
    gate.link.release()
    await until(lambda: not gate.app.objects.inflight)
    assert len(gate.link.requests) == 1
    assert not caplog.records


async def test_a_disconnect_behind_pipelined_calls_leaves_nothing(gate: Serving) -> None:
    gate.link.held = True
    async with connected(gate.server.url) as wire:
        await wire.send(request("POST", INCREMENT, b"{}") * 3)
        await until(lambda: gate.link.requests)
    gate.link.release()
    await until(lambda: not gate.server._uvicorn.server_state.connections)
    await until(lambda: gate.app.objects.inflight == 0)


async def test_a_connection_that_is_idle_for_too_long_is_closed() -> None:
    async with serving(GateOptions(keep_alive_timeout_s=1)) as gate, connected(gate.server.url) as wire:
        assert (await asked(wire, INCREMENT)).body == b"1"
        assert await wire.is_closed()


@pytest.mark.parametrize("second", [INCREMENT, f"{INCREMENT}?"])
async def test_a_call_that_began_before_the_previous_response_is_not_idle_time(
    second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    time, options = LoopTime(monkeypatch), GateOptions(keep_alive_timeout_s=100, default_call_timeout_s=1_000)
    async with serving(options) as gate, connected(gate.server.url) as wire:
        gate.link.held = True
        whole = request("POST", second, b"{}")
        await wire.send(request("POST", INCREMENT, b"{}") + whole[:20])
        await until(lambda: gate.link.requests)
        gate.link.release()
        assert (await wire.answer()).body == b"1"
        gate.link.held = True
        await wire.send(whole[20:])
        await until(lambda: len(gate.link.requests) == 2)
        await time.advance(250)
        gate.link.release()
        assert (await wire.answer()).body == b"2"


@pytest.mark.parametrize("path", [INCREMENT, f"{INCREMENT}?"])
async def test_an_empty_line_does_not_keep_an_idle_connection_alive(path: str) -> None:
    async with serving(GateOptions(keep_alive_timeout_s=1)) as gate, connected(gate.server.url) as wire:
        assert (await asked(wire, path)).body == b"1"
        await wire.send(b"\r\n")
        assert await wire.is_closed()


async def test_unread_responses_of_a_client_do_not_fill_the_memory(gate: Serving) -> None:
    gate.link.replies = lambda _: Reply(b'"' + b"x" * 500_000 + b'"', 1, 1)
    async with connected(gate.server.url) as wire:
        sender = asyncio.create_task(wire.send(request("POST", INCREMENT, b"{}") * 2_000))
        await until(lambda: connection_of(gate).flow.write_paused)
        served = len(gate.link.requests)
        await until(lambda: connection_of(gate)._held)
        assert len(gate.link.requests) <= served + 2
        assert connection_of(gate).transport.get_write_buffer_size() < 4_000_000
        sender.cancel()


async def test_stopping_waits_for_a_body_that_is_still_arriving(gate: Serving) -> None:
    async with connected(gate.server.url) as wire:
        await wire.send(request("POST", INCREMENT, b'{"by": 5}')[:-4])
        await until(lambda: connection_of(gate).awaits_body)
        stop = asyncio.create_task(gate.server.stop())
        await until(lambda: not connection_of(gate).awaits_body)
        await wire.send(b": 5}")
        answer = await wire.answer()
        assert (answer.body, answer.headers["connection"]) == (b"5", "close")
        await stop


async def test_an_error_of_the_link_is_answered_and_counted_once(gate: Serving) -> None:
    gate.link.replies = lambda _: Reply(problem=Problem("unavailable", "not now", True))
    async with connected(gate.server.url) as wire:
        assert [(await asked(wire, path)).code for path in (INCREMENT, f"{INCREMENT}?")] == ["unavailable"] * 2
    metrics = (await gate.client.get("/metrics")).text
    line = 'goverse_method_calls_total{method="increment",object_type="Counter",status="unavailable"} 2.0'
    assert line in metrics


@pytest.mark.requirement("OBS-1")
async def test_a_sampled_trace_is_an_exemplar_of_its_bucket_in_open_metrics_only(gate: Serving) -> None:
    traces = [f"{number:032x}" for number in range(1, 5)]
    async with connected(gate.server.url) as wire:
        for path, trace, flags in (
            (INCREMENT, traces[0], "00"),
            (INCREMENT, traces[1], "01"),
            (f"{READ}?", traces[2], "01"),
            ("/objects/Counter/c1/call/withdraw", traces[3], "1"),
        ):
            await asked(
                wire, path, b'{"amount":0}' if "withdraw" in path else b"", traceparent=f"00-{trace}-{1:016x}-{flags}"
            )
    plain = await gate.client.get("/metrics")
    opened = await gate.client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})

    assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "trace_id" not in plain.text
    assert opened.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert opened.text.endswith("# EOF\n")
    found = {
        (match[1], match[2])
        for line in opened.text.splitlines()
        if (match := re.search(r'_duration_seconds_bucket\{.*method="(\w+)".*# \{trace_id="(\w+)"\} ', line))
    }
    assert found == {("increment", traces[1]), ("read", traces[2])}
