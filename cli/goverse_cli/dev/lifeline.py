"""Ends a server process when its supervisor has ended, for whatever reason.

Two mechanisms, because neither covers every case:

* The kernel signals the child when its parent dies. This works on Linux only.
* A thread reads the channel to the supervisor, which ends when the supervisor ends, on every system. The thread also
  kills a process whose event loop is blocked by the application's code and cannot drain.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import BinaryIO, Final

ORPHAN_DRAIN_S: Final = 3.0

_PR_SET_PDEATHSIG: Final = 1


def die_with_parent() -> None:
    """Ask the kernel to terminate this process when its parent ends."""
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it ended just before
        os._exit(1)


def watch_supervisor(said: BinaryIO, stop: Callable[[], None]) -> None:
    """Call ``stop`` when the supervisor requests it or has ended; in the latter case, die after ``ORPHAN_DRAIN_S``."""
    Thread(target=_watch, args=(said, stop), name="goverse-lifeline", daemon=True).start()


def _watch(said: BinaryIO, stop: Callable[[], None]) -> None:
    with suppress(OSError):
        while said.readline():
            stop()
    stop()
    time.sleep(ORPHAN_DRAIN_S)  # time for the drain; this daemon thread dies with the process if that ends earlier
    os.kill(os.getpid(), signal.SIGKILL)
