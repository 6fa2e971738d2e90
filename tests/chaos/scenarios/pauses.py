"""Scenarios of processes that freeze for longer than their lease and then continue."""

from __future__ import annotations

import asyncio
import signal
from typing import Final

from tests.chaos.scenario import Scenario
from tests.chaos.stage import Stage
from tests.chaos.stale_callers import StaleCallers, stale_callers

RACES_MIN: Final = 1_000
RACES_PER_ROUND: Final = 600


async def pause(stage: Stage) -> None:
    """Freeze a node beyond its lease, with calls waiting in its sockets that its successors have overtaken."""
    refused = answered = 0
    while stage.goes_on() or refused + answered < (1 if stage.brief else RACES_MIN):
        node = stage.random.choice(stage.processes.nodes)
        async with stale_callers(stage.observer.address(node), stage.load) as callers:
            await _freeze(stage, node, callers)
            await callers.finish()
        refused, answered = refused + callers.refused, answered + callers.answered
        await stage.joined(node)
    stage.tell(
        f"{refused + answered} calls to stale owners, {refused} refused, {answered} answered by the store's word"
    )


async def _freeze(stage: Stage, node: str, callers: StaleCallers) -> None:
    shards = stage.observer.shards_of(node)

    def is_replaced() -> bool:
        return not stage.observer.owners()[node] and stage.observer.is_whole()

    await asyncio.gather(*map(stage.load.probe, shards))  # their objects are in its memory
    stage.processes.signal(node, signal.SIGSTOP)
    try:
        await stage.observer.until(is_replaced, f"the shards of {node} with others")
        await asyncio.gather(*map(stage.load.probe, shards))  # its cached state is outdated now
        callers.call(shards, max(1, RACES_PER_ROUND // (2 * len(shards))))
        await asyncio.sleep(0.2)  # the calls are in its sockets
    finally:
        stage.processes.signal(node, signal.SIGCONT)


PAUSES = [Scenario("pause", "a node is frozen beyond its lease and continues, repeatedly", pause, seconds=25)]
