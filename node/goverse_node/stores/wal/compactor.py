"""The parent's side of the process that makes and verifies snapshots (:mod:`goverse_node.stores.wal.compact`).

If the process fails, no data is lost: the log is still complete, and the next snapshot covers it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, cast

from goverse.errors import Unavailable
from goverse_node.stores.wal.compact import Made, Task
from goverse_node.stores.wal.manifest import SnapshotEntry


class Compactor:
    """Runs one job at a time in a child process. Its methods block."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False
        self._guard = threading.Lock()

    @property
    def pid(self) -> int | None:
        """The id of the running process, or None."""
        process = self._process
        return process.pid if process is not None else None

    def compact(self, task: Task) -> Made:
        """Make a snapshot.

        Raises:
            Unavailable: the process failed or was killed. The message contains the reason.
        """
        answer = self._run({"compact": asdict(task)})
        return Made(SnapshotEntry(**answer["snapshot"]), answer["base_seq"])

    def verify(self, directory: Path, snapshots_kept: int) -> None:
        """Verify the newest ``snapshots_kept`` snapshots.

        Raises:
            Unavailable: a snapshot is damaged, or the process failed. The message contains the reason.
        """
        self._run({"verify": str(directory), "snapshots_kept": snapshots_kept})

    def stop(self) -> None:
        """Kill the running process and refuse further jobs."""
        with self._guard:
            self._stopped = True
            if self._process is not None:
                self._process.kill()

    def _run(self, request: dict[str, Any]) -> dict[str, Any]:
        # The child has to find the same modules as this process, whatever put them on the path.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}
        command = [sys.executable, "-P", "-m", "goverse_node.stores.wal.compact", json.dumps(request)]
        with self._guard:
            if self._stopped:
                raise Unavailable("the store is closing")
            process = self._process = subprocess.Popen(  # noqa: S603 - our own module, arguments as a list
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                start_new_session=True,
            )
        with process:
            output, errors = _read_both(process)
            status = process.wait()
        with self._guard:
            self._process = None
        return _answer(output, errors, status)


def _read_both(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    """Read stdout and stderr to their ends. Standard input stays open: closing it would end the child."""
    errors: list[bytes] = []
    stdout, stderr = cast(IO[bytes], process.stdout), cast(IO[bytes], process.stderr)
    reader = threading.Thread(target=lambda: errors.append(stderr.read()))
    reader.start()
    output = stdout.read()
    reader.join()
    return output, b"".join(errors)


def _answer(output: bytes, errors: bytes, status: int) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = json.loads(output)
    except ValueError:
        answer = {}
    if status == 0 and output:
        return answer
    lines = errors.decode(errors="replace").strip().splitlines()
    why = answer.get("error") or (lines[-1] if lines else "it was killed" if status < 0 else "no output")
    raise Unavailable(f"the snapshot process failed (status {status}): {why}")
