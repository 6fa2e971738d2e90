"""The process that makes snapshots while the store serves, seen from its parent.

Its failure is harmless: the log is still there, and the next snapshot tries again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import asdict
from typing import Any

from goverse.errors import Unavailable
from goverse_node.stores.wal.compact import Task
from goverse_node.stores.wal.manifest import SnapshotEntry


class Compactor:
    """Runs one compaction at a time in a process of its own."""

    def __init__(self) -> None:
        """Nothing runs yet."""
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False
        self._guard = threading.Lock()

    @property
    def pid(self) -> int | None:
        """The process that works now."""
        process = self._process
        return process.pid if process is not None else None

    def run(self, task: Task) -> SnapshotEntry:
        """Make a snapshot; blocks until it is written.

        Raises:
            Unavailable: the process failed or was killed; says why.
        """
        # A child that finds the same modules, however this process came by them.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}
        command = [sys.executable, "-P", "-m", "goverse_node.stores.wal.compact", json.dumps(asdict(task))]
        with self._guard:
            if self._stopped:
                raise Unavailable("the store is closing; no snapshot is made")
            process = self._process = subprocess.Popen(  # noqa: S603 - our own module, arguments as a list
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                start_new_session=True,
            )
        with process:
            output, complaints = _read_both(process)
            process.wait()
        self._process = None
        return _entry(output, complaints, process.returncode)

    def stop(self) -> None:
        """Kill what runs, and start nothing any more."""
        with self._guard:
            self._stopped = True
            if self._process is not None:
                self._process.kill()


def _read_both(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    """Read both outputs to their ends, with standard input left open: closing it would tell the child to end."""
    complaints: list[bytes] = []
    assert process.stdout is not None and process.stderr is not None  # noqa: S101 - both are pipes
    reader = threading.Thread(target=lambda stream: complaints.append(stream.read()), args=(process.stderr,))
    reader.start()
    output = process.stdout.read()
    reader.join()
    return output, b"".join(complaints)


def _entry(output: bytes, complaints: bytes, status: int) -> SnapshotEntry:
    try:
        answer: dict[str, Any] = json.loads(output)
    except ValueError:
        answer = {}
    if "snapshot" in answer:
        return SnapshotEntry(**answer["snapshot"])
    lines = complaints.decode(errors="replace").strip().splitlines()
    why = answer.get("error") or (
        lines[-1] if lines else "it was killed" if status < 0 else "it said nothing"
    )
    raise Unavailable(f"the snapshot failed (status {status}): {why}")
