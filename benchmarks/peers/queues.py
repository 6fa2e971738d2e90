"""Start queues on PostgreSQL: one process per core, each with its own queue, a worker, and a producer for it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.peers.servers import INSTALLED

PROCESSES: Final = 2
START_TIMEOUT_S: Final = 60.0
END_TIMEOUT_S: Final = 20.0
_RECEIVERS: Final = "CREATE TABLE receivers (id int PRIMARY KEY, value bigint NOT NULL)"


@dataclass(frozen=True)
class Queue:
    """A running queue.

    Attributes:
        dsn: the database, whose table ``receivers`` has the effects of the work.
        pids: the processes.
    """

    dsn: str
    pids: tuple[int, ...]


@contextmanager
def running(program: str, folder: Path, dsn: str) -> Iterator[Queue]:
    """Run ``program`` (``procrastinate`` or ``dbos``) on the empty database of ``dsn`` until the exit.

    Raises:
        SystemExit: it does not start.
    """
    folder.mkdir(parents=True)
    subprocess.run(["psql", "-q", dsn, "-c", _RECEIVERS], check=True)
    command = [str(INSTALLED / "queues" / "bin" / "python"), str(Path(__file__).with_name(f"{program}_counter.py"))]
    with ExitStack() as undo:
        pids: list[int] = []
        for number in range(PROCESSES):  # one after the other, because the first one creates the tables
            log = folder / f"log-{number}"
            with log.open("wb") as out:
                process = subprocess.Popen([*command, dsn, str(number)], stdout=out, stderr=out, cwd=folder)
            undo.callback(_end, process)
            _until_started(process, log)
            pids.append(process.pid)
        yield Queue(dsn, tuple(pids))


def _until_started(process: subprocess.Popen[bytes], log: Path) -> None:
    end_at = time.monotonic() + START_TIMEOUT_S
    while b"started" not in log.read_bytes():
        if process.poll() is not None or time.monotonic() > end_at:
            raise SystemExit(f"the queue did not start:\n{log.read_text(errors='replace')[-3000:]}")
        time.sleep(0.05)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process: nothing is measured after the window."""
    process.kill()
    process.wait(END_TIMEOUT_S)
