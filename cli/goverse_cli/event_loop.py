"""The event loop of a server: uvloop's, and a trace of what ends it against all expectation."""

from __future__ import annotations

import logging
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
        uvloop.run(main)
    except Exception as error:
        if failure_of(error).unforeseen:
            logger.exception("the process ends in a way that nobody foresaw")
        raise
