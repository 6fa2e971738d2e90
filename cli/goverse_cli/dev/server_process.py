"""The supervisor's handle on one server process."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import sys
from asyncio.subprocess import Process
from contextlib import suppress
from typing import Final

from goverse_cli.dev.messages import Job, Report

REPORT_BYTES_MAX: Final = 1 << 20  # the longest report is a traceback of the application's code

logger = logging.getLogger("goverse.dev")


class ServerProcess:
    """A process that imports the application, and serves it on request.

    Attributes:
        imported: the files that were imported, or None if the process ended without a successful import.
        serving: the time at which it began to serve.
        failure: the reason why it ends, if it reported one.
        ended: done once it has ended; the result is a predicate, such as "was ended by SIGKILL".
    """

    def __init__(self, process: Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Wrap a running process; use :meth:`start` to create one."""
        self._process = process
        self._writer = writer
        self.imported: asyncio.Future[list[str] | None] = asyncio.get_running_loop().create_future()
        self.serving: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self.failure: Report | None = None
        self.ended = asyncio.create_task(self._follow(reader))

    @classmethod
    async def start(cls, job: Job) -> ServerProcess:
        """Start a process that imports the application of ``job``."""
        ours, theirs = socket.socketpair()
        with theirs:
            reader, writer = await asyncio.open_connection(sock=ours, limit=REPORT_BYTES_MAX)
            job = job._replace(channel=theirs.fileno())
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "goverse_cli.dev.worker", json.dumps(job)),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(job.channel, job.listener),
                process_group=0,  # so that Ctrl-C reaches the supervisor only, which then drains this process
            )
        return cls(process, reader, writer)

    def serve(self, *, announce: bool) -> None:
        """Let it open the store and serve; with ``announce``, it prints the banner."""
        self._writer.write(b"announce\n" if announce else b"serve\n")

    def served_s(self) -> float:
        """Return for how long it has served."""
        return asyncio.get_running_loop().time() - self.serving.result() if self.serving.done() else 0.0

    async def stop(self, timeout_s: float) -> None:
        """Let it drain and end; kill it if that takes too long."""
        self._signal(signal.SIGTERM)
        done, _ = await asyncio.wait({self.ended}, timeout=timeout_s)
        if not done:
            logger.error("the server process did not stop within %g s; killing it", timeout_s)
            await self.kill()

    async def kill(self) -> None:
        """Kill it, and wait for its end."""
        self._signal(signal.SIGKILL)
        await asyncio.wait({self.ended})

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def _follow(self, reader: asyncio.StreamReader) -> str:
        with suppress(ConnectionError):
            while line := await reader.readline():
                self._note(Report(*json.loads(line)))
        status = await self._process.wait()
        self._writer.close()
        if not self.imported.done():
            self.imported.set_result(None)
        if status < 0:
            with suppress(ValueError):
                return f"was ended by {signal.Signals(-status).name}"
        return f"ended with exit code {status}"

    def _note(self, report: Report) -> None:
        match report.state:
            case "imported":
                self.imported.set_result(report.files)
            case "serving":
                self.serving.set_result(asyncio.get_running_loop().time())
            case "broken" | "failed":
                self.failure = report
