"""Tests of the resource limits: a server bounds its threads by the available processors and logs the bounds."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest

from goverse.limits import MIB
from goverse.settings import load_settings
from goverse.telemetry.resources import Allowance
from goverse_cli.allotment import keep_within
from tests.nodes import until


@pytest.mark.requirement("OPS-7")
@pytest.mark.parametrize(("processors", "threads"), [(1, 5), (2, 6), (64, 32)])
async def test_threads_for_what_blocks_follow_the_processors(
    processors: int, threads: int, caplog: pytest.LogCaptureFixture
) -> None:
    allowed = Allowance(processors, 512 * MIB, memory_bounded=True)
    with caplog.at_level(logging.INFO, "goverse"):
        keep_within(load_settings(environ={}, allowed=allowed).values, allowed)
    (record,) = (record for record in caplog.records if record.message == "resources of this process")
    assert vars(record)["threads_max"] == threads
    assert vars(record)["activations_bytes_max"] == 192 * MIB

    gate, names = threading.Event(), list[str]()

    def block() -> None:
        names.append(threading.current_thread().name)
        gate.wait(10.0)

    blocked = [asyncio.create_task(asyncio.to_thread(block)) for _ in range(threads + 3)]
    await until(lambda: len(names) == threads)
    gate.set()
    await asyncio.gather(*blocked)
    assert len(set(names)) <= threads


async def test_a_limit_that_is_less_than_a_process_takes_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    small = Allowance(1, 64 * MIB, memory_bounded=True)
    keep_within(load_settings(environ={}, allowed=small).values, small)
    (record,) = (record for record in caplog.records if record.levelno == logging.WARNING)
    assert record.message == "the memory limit is less than a process takes for itself"
