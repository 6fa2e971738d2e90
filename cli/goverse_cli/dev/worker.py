"""The server process of ``goverse dev``, started by the supervisor: ``python -m goverse_cli.dev.worker JOB``.

It imports the application, builds what depends on its code alone, reports that, and serves once the supervisor requests
it. SIGTERM lets it drain and end. The channel to the supervisor ends when the supervisor ends, for whatever reason;
then this process ends as well.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Final

from goverse.errors import DefinitionError, StartFailed
from goverse.objects.application import ApplicationBroken, imported_files, load_application
from goverse.settings import EffectiveSettings, Settings, load_settings
from goverse.telemetry import logs
from goverse.telemetry.own_loggers import adopt
from goverse.telemetry.resources import Allowance
from goverse_cli.banner import announce
from goverse_cli.dev.messages import Job, Report
from goverse_cli.event_loop import run_to_end
from goverse_cli.failure import failure_of
from goverse_cli.serve import Prepared, Running, prepared, serve

ORPHAN_DRAIN_S: Final = 3.0

logger = logging.getLogger("goverse.dev")


def main() -> None:
    """Import the application, and serve it on request of the supervisor."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor handles Ctrl-C
    job = Job(*json.loads(sys.argv[1]))
    channel = socket.socket(fileno=job.channel)
    requests: SimpleQueue[bytes] = SimpleQueue()
    Thread(target=_listen, args=(channel, requests), name="goverse-lifeline", daemon=True).start()
    try:
        settings, ready = _prepare(job)
        _report(channel, Report("imported", imported_files(ready.application.target)))
        announces = requests.get() == b"announce\n"
        with socket.socket(fileno=job.listener) as listener:
            run_to_end(_serve(settings, ready, listener, channel, announces=announces))
    except Exception as error:
        failure = failure_of(error)
        if failure.unforeseen:
            logger.exception("the server process failed")
        broken = failure.unforeseen or isinstance(error, ApplicationBroken | DefinitionError | StartFailed)
        _report(channel, Report("broken" if broken else "failed", [], failure.message, failure.exit_code, failure.hint))
        sys.exit(failure.exit_code)


def _listen(channel: socket.socket, requests: SimpleQueue[bytes]) -> None:
    """Pass on requests. When the supervisor has ended, stop this process, and kill it if its code blocks that."""
    with suppress(OSError), channel.makefile("rb") as lines:
        for line in lines:
            requests.put(line)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(ORPHAN_DRAIN_S)  # time for the drain; this daemon thread dies with the process if that ends earlier
    os.kill(os.getpid(), signal.SIGKILL)


def _prepare(job: Job) -> tuple[EffectiveSettings[Settings], Prepared]:
    config = Path(job.config) if job.config is not None else None
    settings = load_settings(config=config, environ=os.environ, flags=job.flags, allowed=Allowance.read())
    logs.configure(settings.values.log.format, settings.values.log.level, node=settings.values.node.id)
    application = load_application(job.target)
    adopt()
    return settings, prepared(application, settings.values)


async def _serve(
    settings: EffectiveSettings[Settings],
    ready: Prepared,
    listener: socket.socket,
    channel: socket.socket,
    *,
    announces: bool,
) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)

    def started(running: Running) -> None:
        if announces:
            announce(running, settings.values, reloads=True)
        _report(channel, Report("serving"))

    await serve(ready, settings, listener=listener, started=started, stop=stop, supervisor=os.getppid())


def _report(channel: socket.socket, report: Report) -> None:
    with suppress(OSError):  # the supervisor has ended
        channel.sendall(json.dumps(report).encode() + b"\n")


if __name__ == "__main__":
    main()
