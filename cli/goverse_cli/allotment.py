"""Resource limits of a server process: bounded by what its container may use, and logged at the start."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from goverse.settings import Settings
from goverse.settings.derived import OWN_BYTES
from goverse.telemetry.resources import Allowance

THREADS_MORE: Final = 4
THREADS_MAX: Final = 32
"""Size of the thread pool for blocking work: Python's own formula, applied to the processors the process may use."""

logger = logging.getLogger("goverse")


def keep_within(values: Settings, allowed: Allowance | None = None) -> None:
    """Bound the thread pool of the running loop and log all bounds. ``values`` contains the memory bounds already.

    A gate or a node is one process with one event loop, which keeps one processor busy. To use more processors, run
    more processes.
    """
    allowed = allowed or Allowance.read()
    threads = min(THREADS_MAX, allowed.processors + THREADS_MORE)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="goverse-blocking")
    asyncio.get_running_loop().set_default_executor(pool)
    if allowed.memory_bounded and allowed.memory_bytes < OWN_BYTES:
        logger.warning(
            "the memory limit is less than a process takes for itself",
            extra={"memory_bytes": allowed.memory_bytes, "needed_bytes": OWN_BYTES},
        )
    logger.info(
        "resources of this process",
        extra={
            "processors": allowed.processors,
            "memory_bytes": allowed.memory_bytes,
            "memory_limited": allowed.memory_bounded,
            "threads_max": threads,
            "activations_bytes_max": int(values.node.activations_bytes_max),
            "bodies_bytes_max": int(values.gate.bodies_bytes_max),
        },
    )
