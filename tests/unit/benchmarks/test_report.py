"""What a benchmark run says about targets and regressions, and what it writes down."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from benchmarks import report
from benchmarks.load import Latency, Throughput, at_rate
from benchmarks.measurements import DURABLE, ECHO, HANDWRITTEN, HOT, PEEK, Results


def _results(**calls_per_s: float) -> Results:
    """A run in which the echo does 100 calls/s and everything else exactly what is wanted of it."""
    rates = {ECHO: 100.0, HANDWRITTEN: 10.0, DURABLE: 35.0, HOT: 24.5, PEEK: 50.0, **calls_per_s}
    return Results(
        rounds={name: [Throughput(factor * rate, 1.0, 2.0, 0) for factor in (1, 2, 4)] for name, rate in rates.items()},
        latencies={"write": Latency(500, 1000, 0.5, 3.0, 9.0)},
        figures={"bytes on disk per call": 123.0},
        postgres="PostgreSQL 15",
    )


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(report, "FIGURES", tmp_path / "results.json")
    monkeypatch.setattr(report, "PAGE", tmp_path / "performance.md")
    report.write(_results(), "make bench")
    return tmp_path


@pytest.mark.requirement("QUA-3")
def test_a_target_is_reached_or_missed() -> None:
    assert [reached for *_, reached in report.verdicts(_results())] == [True, True, True, True]
    assert [what for what, _, _, reached in report.verdicts(_results(**{PEEK: 49.0})) if not reached] == [
        f"{PEEK} / {ECHO}"
    ]


def test_a_noisy_round_does_not_decide() -> None:
    results = _results()
    results.rounds[DURABLE][1] = Throughput(1.0, 1.0, 2.0, 0)

    assert results.ratio(DURABLE, ECHO) == pytest.approx(0.35)


@pytest.mark.requirement("QUA-3")
@pytest.mark.usefixtures("written")
def test_a_ratio_that_lost_more_than_a_fifth_is_a_regression() -> None:
    assert report.regressions(_results(**{DURABLE: 29.0})) == []
    assert report.regressions(_results(**{DURABLE: 27.0})) == [f"{DURABLE}: 0.27 of the echo, recorded were 0.35"]


@pytest.mark.requirement("QUA-3", "QUA-5")
def test_both_files_say_what_was_measured_where_and_how(written: Path) -> None:
    page = (written / "performance.md").read_text(encoding="utf-8")
    figures = json.loads((written / "results.json").read_text(encoding="utf-8"))

    assert figures["ratios"][DURABLE] == 0.35
    assert figures["latencies"]["write"]["rate_per_s"] == 500
    assert f"* machine: {figures['machine']}" in page
    assert f"* command: `{figures['command']}`" in page
    assert f"| {DURABLE} | 70 | 0.35 | 3.5 | 1.0 ms | 2.0 ms |" in page
    assert "| write | 500/s | 0.50 ms | 3.00 ms | 9.0 ms |" in page
    assert "| bytes on disk per call | 123.00 |" in page


@contextmanager
def _server(status: Callable[[int], int]) -> Iterator[str]:
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(self.path)
            self.send_response(status(len(asked)))
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def send_header(self, keyword: str, value: str) -> None:
            super().send_header(keyword.lower(), value)

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.requirement("QUA-5")
def test_a_fixed_rate_sends_every_call_that_was_due() -> None:
    with _server(lambda _: 200) as url:
        seen = at_rate(url, "/c%d", b"{}", rate_per_s=200, seconds=0.5)

    assert (seen.rate_per_s, seen.calls) == (200, 100)
    assert 0 < seen.p50_ms <= seen.p99_ms <= seen.worst_ms


def test_an_error_ends_the_measurement_instead_of_making_it_look_fast() -> None:
    with _server(lambda count: 503 if count == 20 else 200) as url, pytest.raises(ExceptionGroup) as caught:
        at_rate(url, "/c%d", b"{}", rate_per_s=200, seconds=0.5)

    assert "503" in str(caught.value.exceptions[0])
