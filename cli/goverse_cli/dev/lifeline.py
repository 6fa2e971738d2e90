"""A server process never outlives its supervisor, however that one ended.

Two ways, because each alone has a hole: the kernel signals the child when its parent dies (Linux only), and a
thread reads the channel, whose end says the same everywhere. The thread also makes an end of a process whose
event loop is stuck in the user's code and cannot drain.
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
    """Call ``stop`` when the supervisor says so or is gone; then, in the latter case, end within ``ORPHAN_DRAIN_S``."""
    Thread(target=_watch, args=(said, stop), name="goverse-lifeline", daemon=True).start()


def _watch(said: BinaryIO, stop: Callable[[], None]) -> None:
    with suppress(OSError):
        while said.readline():
            stop()
    stop()
    time.sleep(ORPHAN_DRAIN_S)  # the drain has this long; a process that ends meanwhile takes this thread along
    os.kill(os.getpid(), signal.SIGKILL)
