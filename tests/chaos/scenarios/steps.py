"""The scenario that kills a node between any two steps of a reliable call (``tests.chaos.fault_points``)."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Final

from tests.chaos import fault_points
from tests.chaos.bank_load import ended
from tests.chaos.fault_points import AT_SENDER, STEPS, fault_at
from tests.chaos.scenario import Scenario
from tests.chaos.stage import Stage

END_PATIENCE_S: Final = 90.0


async def kill_at_steps(stage: Stage) -> None:
    """Kill the node of a sender or of its receiver after each step, in random order."""
    orders = 0
    while stage.goes_on():
        for step in stage.random.sample(STEPS, len(STEPS)):
            await _kill_after(stage, step, f"{stage.load.name}-{orders}-{step}")
            orders += 1
    await ended(stage)
    stage.tell(f"{orders} calls, each of which took effect once though a node died after one of its steps")


async def _kill_after(stage: Stage, step: str, order: str) -> None:
    """Order across two nodes, of which one dies after ``step``, and wait for the outcome."""
    processes, observer = stage.processes, stage.observer
    at_sender, at_receiver = stage.random.sample(processes.nodes, 2)
    buyer = ("Buyer", f"shard#{stage.random.choice(observer.shards_of(at_sender))}/{order}")
    shop = ("Shop", f"shard#{stage.random.choice(observer.shards_of(at_receiver))}/{order}")
    killed = at_sender if step in AT_SENDER else at_receiver
    fault_at(step, processes.folder).touch()
    ordering = asyncio.create_task(
        stage.load.answered(0, buyer, "order", {"order": order, "shop": shop[1]}, f"order-{order}")
    )
    await observer.until(lambda: killed in processes.ended(), f"the end of {killed} after {step!r}")
    assert processes.ended() == {killed: -signal.SIGKILL}, step
    await processes.gone(killed)
    answer = await ordering
    assert answer.status == 200, f"{order}: {answer.text}"
    async with asyncio.timeout(END_PATIENCE_S):
        while (ends := await stage.load.asked(buyer, "logs")) == []:  # noqa: ASYNC110  # other processes change it
            await asyncio.sleep(0.05)
    assert ends == [[order, "success", 1]], ends
    taken = await stage.load.asked(shop, "logs")
    assert taken == [order], f"{order} was taken {len(taken)} times"
    processes.start_node(killed)
    await processes.started()
    await stage.joined(killed)


STEPWISE = [
    Scenario(
        "kill-at-steps",
        "a node is killed between any two steps of a reliable call, on the side of the sender or of the receiver",
        kill_at_steps,
        seconds=60,
        application=Path(fault_points.__file__),
        short=False,
    )
]
