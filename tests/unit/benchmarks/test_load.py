"""The client that measures latencies at a fixed rate."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from benchmarks.load import at_rate


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
