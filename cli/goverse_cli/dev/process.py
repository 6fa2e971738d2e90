"""A server process, as the supervisor holds it."""

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

MESSAGE_BYTES_MAX: Final = 1 << 20  # the longest is a traceback of the user's code


class ServerProcess:
    """One process that imports the application, and serves it when told so."""

    def __init__(self, process: Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a process that was started; use :meth:`start`."""
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
                process_group=0,  # Ctrl-C is for the supervisor, which drains
            )
        reader, writer = await asyncio.open_connection(sock=ours, limit=MESSAGE_BYTES_MAX)
        started = cls(process, reader, writer)
        started._say(job)
        return started

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def follow(self, heard: Callable[[Message], None]) -> int:
        """Pass on what it says, and return how it ended: an exit code, or minus the number of a signal."""
        with suppress(ConnectionError):
            while line := await self._reader.readline():
                heard(decode(line))
        status = await self._process.wait()
        self._writer.close()
        return status

    def serve(self, *, announce: bool) -> None:
        """Let it open the store and serve."""
        self._say(Serve(announce))

    def stop(self) -> None:
        """Let it drain and end."""
        self.stopping = True
        self._say(Stop())

    def kill(self) -> None:
        """End it at once."""
        self.stopping = True
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def _say(self, message: Message) -> None:
        if not self._writer.is_closing():
            self._writer.write(encode(message))
