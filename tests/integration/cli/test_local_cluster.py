"""``make cluster`` where it cannot be what it says, and how it ends."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.ports import free_port
from tests.integration.cli.processes import runs

ROOT = Path(__file__).parents[3]


@pytest.mark.requirement("QUA-1")
def test_a_port_that_is_taken_is_said_before_anything_starts() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        command = [sys.executable, "scripts/cluster.py", "benchmarks/counters.py", "--port", str(port), "--gates", "1"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 1
    assert f"port {port} is taken" in done.stderr
    assert done.stdout == ""


@pytest.mark.requirement("QUA-1")
def test_it_ends_in_order_however_often_it_is_told() -> None:
    command = [sys.executable, "scripts/cluster.py", "benchmarks/counters.py", "--port", str(free_port())]
    process = subprocess.Popen(
        [*command, "--nodes", "1", "--gates", "1"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        shown = [process.stdout.readline()]
        while not shown[-1].startswith("ready"):
            assert shown[-1], shown
            shown.append(process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        assert next(line for line in process.stdout if "stopping" in line)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()

    assert (process.returncode, errors) == (0, "")
    pids = [int(line.rpartition("pid ")[2]) for line in shown if "pid " in line]
    assert len(pids) == 3
    assert not [pid for pid in pids if runs(pid)]
