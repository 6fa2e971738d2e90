"""``make cluster``: a port in use, the shutdown, and pages and process hooks."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from benchmarks.ports import free_port
from tests.integration.cli.processes import runs
from tests.integration.cli.test_process_hooks import HOOKED, steps

ROOT = Path(__file__).parents[3]


@pytest.mark.requirement("QUA-1")
def test_a_port_in_use_is_reported_before_the_start() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        command = [sys.executable, "scripts/cluster.py", "benchmarks/counters.py", "--port", str(port), "--gates", "1"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 1
    assert f"port {port} is in use" in done.stderr
    assert done.stdout == ""


@contextmanager
def _cluster(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Run a cluster of one node and one gate; yield it with its output until it was ready."""
    command = [sys.executable, "scripts/cluster.py", *arguments, "--nodes", "1", "--gates", "1"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        shown = [process.stdout.readline()]
        while not shown[-1].startswith("ready"):
            assert shown[-1], shown
            shown.append(process.stdout.readline())
        yield process, shown
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.mark.requirement("QUA-1")
def test_it_shuts_down_in_order_even_after_several_signals() -> None:
    with _cluster("benchmarks/counters.py", "--port", str(free_port())) as (process, shown):
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        assert next(line for line in process.stdout if "stopping" in line)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)

    assert (process.returncode, errors) == (0, "")
    pids = [int(line.rpartition("pid ")[2]) for line in shown if "pid " in line]
    assert len(pids) == 3
    assert not [pid for pid in pids if runs(pid)]


def test_its_gates_serve_a_page_and_its_nodes_run_the_hooks_of_the_process(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "index.html").write_text("<h1>the page</h1>", encoding="utf-8")
    (tmp_path / "app.py").write_text(
        HOOKED.replace('Path("steps")', f"Path({os.fspath(tmp_path)!r}, 'steps')"), encoding="utf-8"
    )

    with _cluster(str(tmp_path / "app.py"), "--port", str(port), "--web", str(tmp_path / "web")):
        url = f"http://127.0.0.1:{port}"
        assert "the page" in httpx.get(url, timeout=60).text
        assert httpx.post(f"{url}/objects/Counter/c1/call/increment", json={}, timeout=60).json() == 1

    assert steps(tmp_path) == ["start", "passivated", "stop"]
