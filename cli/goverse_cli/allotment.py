"""A server process keeps within what its container may use, and says at its start what that is."""

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
"""Threads for what blocks, as Python would have it, counted from processors that the process may use."""

logger = logging.getLogger("goverse")


def keep_within(values: Settings, allowed: Allowance | None = None) -> None:
    """Bound the threads of the running loop, and log the bounds; memory bounds are in ``values`` already.

    A gate or a node is one process with one event loop, which one processor carries: more processors are for more
    processes.
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
        "what this process may use",
        extra={
            "processors": allowed.processors,
            "memory_bytes": allowed.memory_bytes,
            "memory_limited": allowed.memory_bounded,
            "threads_max": threads,
            "activations_bytes_max": int(values.node.activations_bytes_max),
            "bodies_bytes_max": int(values.gate.bodies_bytes_max),
        },
    )
