"""The server process of ``goverse dev``, started by the supervisor: ``python -m goverse_cli.dev.worker DESCRIPTOR``."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from goverse.errors import StartFailed
from goverse.objects.application import Application, ApplicationBroken, imported_files, load_application
from goverse.settings import EffectiveSettings, Settings, load_settings
from goverse.telemetry import logs
from goverse.telemetry.own_loggers import adopt
from goverse.telemetry.resources import Allowance
from goverse_cli.banner import announce
from goverse_cli.dev.channel import Failed, Imported, Job, Message, Serve, Serving, decode, encode
from goverse_cli.dev.lifeline import die_with_parent, watch_supervisor
from goverse_cli.event_loop import run_to_end
from goverse_cli.failure import failure_of
from goverse_cli.serve import Running, serve

logger = logging.getLogger("goverse.dev")

_OF_APPLICATION: Final = (ApplicationBroken, StartFailed)
"""Errors that an edit of the application can fix."""


def main() -> None:
    """Import and serve on request of the supervisor, and exit when it has ended."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor handles Ctrl-C
    channel = socket.socket(fileno=int(sys.argv[1]))
    said = channel.makefile("rb")
    job = _next(said)
    if not isinstance(job, Job):
        return
    try:
        settings, application = _prepare(job)
        _say(channel, Imported(imported_files(application.target)))
        told = _next(said)
        if isinstance(told, Serve):
            with socket.socket(fileno=job.listener) as listener:
                run_to_end(_serve(told, settings, application, listener, channel=channel, said=said))
    except Exception as error:
        failure = failure_of(error)
        if failure.unforeseen:
            logger.exception("the server process failed")
        _say(channel, Failed(failure.message, failure.exit_code, isinstance(error, _OF_APPLICATION)))
        sys.exit(failure.exit_code)


def _prepare(job: Job) -> tuple[EffectiveSettings[Settings], Application]:
    config = Path(job.config) if job.config is not None else None
    settings = load_settings(config=config, environ=os.environ, flags=job.flags, allowed=Allowance.read())
    logs.configure(settings.values.log.format, settings.values.log.level, node=settings.values.node.id)
    application = load_application(job.target)
    adopt()
    return settings, application


async def _serve(
    told: Serve,
    settings: EffectiveSettings[Settings],
    application: Application,
    listener: socket.socket,
    *,
    channel: socket.socket,
    said: BinaryIO,
) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    watch_supervisor(said, lambda: _from_thread(loop, stop))

    def started(running: Running) -> None:
        if told.announce:
            announce(running, settings.values, reloads=True)
        _say(channel, Serving())

    await serve(application, settings, listener=listener, started=started, stop=stop)


def _from_thread(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    with suppress(RuntimeError):  # the loop is closed: the process is about to exit
        loop.call_soon_threadsafe(stop.set)


def _next(said: BinaryIO) -> Message | None:
    line = said.readline()
    return decode(line) if line else None


def _say(channel: socket.socket, message: Message) -> None:
    with suppress(OSError):  # the supervisor has ended
        channel.sendall(encode(message))


if __name__ == "__main__":
    main()
