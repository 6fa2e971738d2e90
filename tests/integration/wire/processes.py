"""A link server in a separate process, which a test can kill or freeze."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import uvloop

from goverse.testing.link_objects import Door
from tests.links import ledgers, server_of
from tests.tree import PACKAGES, ROOT

START_S = 60.0  # starting a process on a busy machine may take long


@dataclass
class Served:
    """The process of a link server."""

    process: Process
    address: str

    def send(self, signal_: signal.Signals) -> None:
        """Send a signal to the process."""
        self.process.send_signal(signal_)

    def stop(self) -> None:
        """Freeze the process with SIGSTOP and wait until it has stopped."""
        self.send(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)


@asynccontextmanager
async def served() -> AsyncIterator[Served]:
    """Run this module, a node with ledgers, in a process. Calls of ``add_later`` never end in it."""
    paths = os.pathsep.join([*(str(ROOT / folder) for folder in PACKAGES), str(ROOT)])
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.wire.processes"),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": paths},
        stdout=PIPE,
    )
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), START_S)
        yield Served(process, line.decode().strip())
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _serve() -> None:
    Door.waiting = []
    async with ledgers() as node, server_of(node) as (_, address):
        sys.stdout.write(f"{address}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve())
