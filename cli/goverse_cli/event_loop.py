"""The event loop of a server: uvloop's, and a trace of what ends it against all expectation."""

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
    """Run a server to its end.

    Whoever runs a command again with ``--debug`` sees where it failed; a server's failure may not come a second time,
    so it is logged at once.
    """
    try:
        run_to_end(main)
    except Exception as error:
        if failure_of(error).unforeseen:
            logger.exception("the process ends in a way that nobody foresaw")
        raise


def run_to_end(main: Coroutine[Any, Any, None]) -> None:
    """Run ``main`` on a new event loop until it is done.

    ``sys.exit`` in a task stops the loop, and ``asyncio.gather`` and task groups make tasks of an application's
    coroutines. The loop goes on then: the method that waits for the task fails like any other, and a call that is
    routed again does not end one node after the other. The same holds for ``KeyboardInterrupt`` as soon as the
    server handles the signal itself.
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
                logger.error("a task of the application raised %s; the server goes on", type(error).__name__)
