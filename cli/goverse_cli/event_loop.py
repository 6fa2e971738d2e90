"""The event loop of a server process: uvloop, with a log record for an unexpected end."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Coroutine
from typing import Any

import uvloop

from goverse_cli.failure import failure_of

logger = logging.getLogger("goverse")


def run_server(main: Coroutine[Any, Any, None]) -> None:
    """Run a server until it ends, and log the traceback of an unexpected error.

    A short-lived command can be repeated with ``--debug``. A server's failure may not happen a second time, so its
    traceback is logged the first time.
    """
    try:
        run_to_end(main)
    except Exception as error:
        if failure_of(error).unforeseen:
            logger.exception("the server failed unexpectedly")
        raise


def run_to_end(main: Coroutine[Any, Any, None]) -> None:
    """Run ``main`` on a new event loop until it is done, even if a task of the application calls ``sys.exit``.

    ``SystemExit`` in a task stops the event loop, and an application creates tasks through ``asyncio.gather`` and task
    groups. This function starts the loop again: the method that awaits the task fails like any other method, and a call
    that is retried elsewhere cannot end one node after another. ``KeyboardInterrupt`` is treated the same once the
    server handles SIGINT itself.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        loop = runner.get_loop()
        serving = loop.create_task(main)
        while True:
            try:
                return loop.run_until_complete(serving)
            except (SystemExit, KeyboardInterrupt) as error:
                if serving.done() or signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                    raise
                logger.error("a task of the application raised %s; the server keeps running", type(error).__name__)
