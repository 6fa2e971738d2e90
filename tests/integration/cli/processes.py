"""The ``goverse`` command as a user runs it: in a process of its own, in a folder of its own."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import httpx

from tests.tree import ROOT

PATIENCE_S = 60.0

COUNTER = """
from goverse import Object, call


class Counter(Object):
    \"\"\"Counts.\"\"\"

    value: int = 0

    @call
    async def increment(self, by: int = 1) -> int:
        \"\"\"Add to the value.\"\"\"
        self.value += by
        return self.value
"""


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a command: no settings of whoever runs the tests."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("GOVERSE_", "LOG_")) and name not in ("POD_NAME", "NO_COLOR")
    }
    roots = [str(ROOT / root) for root in ("shared", "node", "gate", "cli")]
    path = os.pathsep.join([*roots, *filter(None, [kept.get("PYTHONPATH")])])
    return {**kept, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **more}


def goverse(*arguments: str, cwd: Path, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "goverse_cli", *arguments],
        cwd=cwd,
        env=environment(**more),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition, for a bounded time."""
    waited = 0.0
    while not condition():
        assert waited < PATIENCE_S, f"waited {waited:.0f} s for {what}"
        threading.Event().wait(0.02)
        waited += 0.02


def runs(pid: int) -> bool:
    """Tell whether a process runs; one that only waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def text_of(record: dict[str, Any]) -> str:
    """Return what a record says, with its traceback."""
    return f"{record['event']}\n{record.get('exception', '')}"


class Dev:
    """A running ``goverse dev``."""

    def __init__(self, cwd: Path, *arguments: str, **more: str) -> None:
        """Start it; the log is JSON, so that it can be read here."""
        self.records: list[dict[str, Any]] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "goverse_cli", "dev", *arguments],
            cwd=cwd,
            env=environment(**{"LOG_FORMAT": "json", **more}),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            try:
                self.records.append(json.loads(line))
            except ValueError:
                self.records.append({"event": line.rstrip("\n")})

    def said(self, part: str) -> dict[str, Any] | None:
        """Return the first record that has ``part`` in its event or traceback."""
        return next((record for record in self.records if part in text_of(record)), None)

    def count(self, part: str) -> int:
        """Return how many records say ``part``."""
        return sum(part in text_of(record) for record in self.records)

    def wait_for(self, part: str) -> dict[str, Any]:
        """Wait until a record says ``part``."""
        until(lambda: self.said(part) is not None or self._process.poll() is not None, f"{part!r} in {self.records}")
        record = self.said(part)
        assert record is not None, self.records
        return record

    @property
    def url(self) -> str:
        """Where it serves."""
        return cast("str", self.wait_for("serving")["url"])

    def increment(self, by: int = 1, object_id: str = "c1") -> int:
        """Call the counter on a connection of its own."""
        answer = httpx.post(
            f"{self.url}/objects/Counter/{object_id}/call/increment", json={"by": by}, timeout=PATIENCE_S
        )
        assert answer.status_code == 200, answer.text
        return cast("int", answer.json())

    def children(self) -> list[int]:
        """Return the processes that it started."""
        try:
            listed = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        except FileNotFoundError:
            return []
        return [int(pid) for pid in listed if runs(int(pid))]

    def server_pid(self) -> int:
        """Return the server process, once there is exactly one."""
        until(lambda: len(self.children()) == 1, "one server process")
        return self.children()[0]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process that was started."""
        self._process.send_signal(number)

    def wait(self) -> int:
        """Wait for its end, and return the exit code."""
        code = self._process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return code

    def close(self) -> None:
        """End it and whatever it started."""
        for pid in [*self.children(), self.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.wait()
        if self._process.stderr is not None:
            self._process.stderr.close()


@contextmanager
def dev(cwd: Path, *arguments: str, **more: str) -> Iterator[Dev]:
    """Run ``goverse dev`` on a free port, and end it whatever happens."""
    server = Dev(cwd, *arguments, *([] if "--port" in arguments else ["--port", "0"]), **more)
    try:
        yield server
    finally:
        server.close()


def application(folder: Path, text: str = COUNTER, name: str = "app.py") -> Path:
    """Write an application."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def edit(path: Path, old: str, new: str) -> None:
    """Change a file as an editor does."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
