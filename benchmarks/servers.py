"""The compared servers on one machine, each one process on a free port, started and stopped by the benchmark."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.ports import free_port

ROOT = Path(__file__).resolve().parent.parent
START_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Server:
    """A running server."""

    url: str
    pid: int
    started_s: float

    def resident_bytes(self) -> int:
        """Return the resident memory of the process."""
        for line in Path(f"/proc/{self.pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        return 0


@contextmanager
def _process(command: list[str], port: int, probe: str, env: dict[str, str] | None = None) -> Iterator[Server]:
    began = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **(env or {})}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        while not _answers(f"{url}{probe}"):
            if process.poll() is not None or time.perf_counter() - began > START_TIMEOUT_S:
                raise SystemExit(f"{' '.join(command)} did not start; run the command manually to see the error")
            time.sleep(0.005)
        yield Server(url, process.pid, time.perf_counter() - began)
    finally:
        process.terminate()
        process.wait(30)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def _uvicorn(application: str, port: int) -> list[str]:
    options = ["--host", "127.0.0.1", "--loop", "uvloop", "--http", "httptools", "--no-access-log"]
    return [sys.executable, "-m", "uvicorn", application, "--port", str(port), *options, "--log-level", "warning"]


@contextmanager
def echo() -> Iterator[Server]:
    """Run the raw ASGI echo."""
    port = free_port()
    with _process(_uvicorn("benchmarks.echo:app", port), port, "/") as server:
        yield server


@contextmanager
def handwritten(dsn: str) -> Iterator[Server]:
    """Run the hand-written service, FastAPI with asyncpg."""
    port = free_port()
    with _process(_uvicorn("benchmarks.handwritten:app", port), port, "/", {"BENCHMARK_DSN": dsn}) as server:
        yield server


@contextmanager
def goverse(data_dir: Path) -> Iterator[Server]:
    """Run ``goverse dev`` with default settings, without the reloader."""
    port = free_port()
    command = [sys.executable, "-m", "goverse_cli", "dev", "benchmarks/counters.py", "--no-reload"]
    command += ["--port", str(port), "--data-dir", str(data_dir)]
    with _process(command, port, "/readyz") as server:
        yield server
