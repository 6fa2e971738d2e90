"""The supervisor's handle on one server process."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from goverse_cli.dev.channel import Job, Message, Serve, Stop, decode, encode

MESSAGE_BYTES_MAX: Final = 1 << 20  # the longest message is a traceback of the application's code


class ServerProcess:
    """A process that imports the application, and serves it on request."""

    def __init__(self, process: Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Wrap a running process; use :meth:`start` to create one."""
        self._process = process
        self._reader = reader
        self._writer = writer
        self.stopping = False

    @classmethod
    async def start(cls, job: Job) -> ServerProcess:
        """Start a process that imports the application of ``job``."""
        ours, theirs = socket.socketpair()
        with theirs:
            descriptor = theirs.fileno()
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "goverse_cli.dev.worker", str(descriptor)),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(descriptor, job.listener),
                process_group=0,  # so that Ctrl-C reaches the supervisor only, which then drains this process
            )
        reader, writer = await asyncio.open_connection(sock=ours, limit=MESSAGE_BYTES_MAX)
        started = cls(process, reader, writer)
        started._say(job)
        return started

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    async def follow(self, heard: Callable[[Message], None]) -> int:
        """Pass its messages to ``heard`` until it ends. Returns its exit code, or minus the number of a signal."""
        with suppress(ConnectionError):
            while line := await self._reader.readline():
                heard(decode(line))
        status = await self._process.wait()
        self._writer.close()
        return status

    def serve(self, *, announce: bool) -> None:
        """Request that it opens the store and serves."""
        self._say(Serve(announce))

    def stop(self) -> None:
        """Request that it drains and exits."""
        self.stopping = True
        self._say(Stop())

    def kill(self) -> None:
        """Kill it immediately."""
        self.stopping = True
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def _say(self, message: Message) -> None:
        if not self._writer.is_closing():
            self._writer.write(encode(message))
