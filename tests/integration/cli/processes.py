"""The ``goverse`` command as a user runs it: in a separate process and folder."""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import httpx

from tests import preloaded
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
    """Return the environment of a command, without GoVerse settings of the test process."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("GOVERSE_", "LOG_")) and name not in ("POD_NAME", "NO_COLOR")
    }
    roots = [str(ROOT / root) for root in ("shared", "node", "gate", "cli")]
    path = os.pathsep.join([*roots, *filter(None, [kept.get("PYTHONPATH")])])
    return {**kept, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **more}


def goverse(*arguments: str, cwd: Path, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command and return its result."""
    return preloaded.run("goverse_cli", *arguments, cwd=cwd, env=environment(**more), stdin=stdin, timeout=PATIENCE_S)


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition, at most ``PATIENCE_S``."""
    waited = 0.0
    while not condition():
        assert waited < PATIENCE_S, f"waited {waited:.0f} s for {what}"
        threading.Event().wait(0.02)
        waited += 0.02


def runs(pid: int) -> bool:
    """True while a process runs. A zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def text_of(record: dict[str, Any]) -> str:
    """Return the event of a record and its traceback."""
    return f"{record['event']}\n{record.get('exception', '')}"


class Dev:
    """A running ``goverse dev``."""

    def __init__(self, cwd: Path, *arguments: str, **more: str) -> None:
        """Start the command, with its log in JSON so that the tests can read it."""
        self.records: list[dict[str, Any]] = []
        reading, writing = os.pipe()
        self._log = os.fdopen(reading, encoding="utf-8")
        with os.fdopen(writing, "wb") as log, Path(os.devnull).open("rb") as nothing:
            self._process = preloaded.start(
                *("goverse_cli", "dev", *arguments),
                cwd=cwd,
                env=environment(**{"LOG_FORMAT": "json", **more}),
                stdio=(nothing, 1, log),
            )
        self.pid = self._process.pid
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._log:
            try:
                self.records.append(json.loads(line))
            except ValueError:
                self.records.append({"event": line.rstrip("\n")})

    def said(self, part: str) -> dict[str, Any] | None:
        """Return the first record that has ``part`` in its event or traceback."""
        return next((record for record in self.records if part in text_of(record)), None)

    def count(self, part: str) -> int:
        """Return the number of records with ``part`` in their event or traceback."""
        return sum(part in text_of(record) for record in self.records)

    def wait_for(self, part: str) -> dict[str, Any]:
        """Wait until a record has ``part`` in its event or traceback, and return it."""
        until(lambda: self.said(part) is not None or self._process.poll() is not None, f"{part!r} in {self.records}")
        record = self.said(part)
        assert record is not None, self.records
        return record

    @property
    def url(self) -> str:
        """The base URL of the server."""
        return cast("str", self.wait_for("serving")["url"])

    def increment(self, by: int = 1, object_id: str = "c1") -> int:
        """Increment a counter over a new connection."""
        answer = httpx.post(
            f"{self.url}/objects/Counter/{object_id}/call/increment", json={"by": by}, timeout=PATIENCE_S
        )
        assert answer.status_code == 200, answer.text
        return cast("int", answer.json())

    def children(self) -> list[int]:
        """Return the running child processes of the command."""
        try:
            listed = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        except FileNotFoundError:
            return []
        return [int(pid) for pid in listed if runs(int(pid))]

    def server_pid(self) -> int:
        """Wait until there is exactly one server process, and return its id."""
        until(lambda: len(self.children()) == 1, "one server process")
        return self.children()[0]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the command."""
        self._process.send_signal(number)

    def wait(self) -> int:
        """Wait until the command ends, and return its exit code."""
        code = self._process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return code

    def close(self) -> None:
        """Kill the command and its child processes."""
        for pid in [*self.children(), self.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.wait()
        self._log.close()


@contextmanager
def dev(cwd: Path, *arguments: str, **more: str) -> Iterator[Dev]:
    """Run ``goverse dev`` on a free port until the block ends."""
    server = Dev(cwd, *arguments, *([] if "--port" in arguments else ["--port", "0"]), **more)
    try:
        yield server
    finally:
        server.close()


def application(folder: Path, text: str = COUNTER, name: str = "app.py") -> Path:
    """Write an application to a file and return its path."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def edit(path: Path, old: str, new: str) -> None:
    """Replace a text in a file."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
