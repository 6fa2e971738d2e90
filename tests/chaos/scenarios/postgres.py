"""Scenarios of PostgreSQL: restarts, crashes, ended connections, an outage and a failover."""

from __future__ import annotations

import asyncio
from typing import Final

import asyncpg

from tests.chaos.scenario import Scenario
from tests.chaos.stage import Stage

BACKENDS: Final = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'goverse'"
PAUSE_S: Final = 0.2


async def restart(stage: Stage) -> None:
    """Stop the server gracefully, which ends all connections, then crash it."""
    server = stage.processes.postgres
    while stage.goes_on():
        for mode in ("fast", "immediate"):
            await asyncio.to_thread(server.stop, mode)
            await asyncio.to_thread(server.start)
            await stage.served()


async def kill_backends(stage: Stage) -> None:
    """End the connections of every node repeatedly."""
    killer = await asyncpg.connect(stage.processes.postgres.dsn)
    killed = 0
    try:
        while stage.goes_on() or killed < 20:
            killed += len(await killer.fetch(BACKENDS))
            await asyncio.sleep(PAUSE_S)
    finally:
        await killer.close()
    stage.tell(f"{killed} connections ended")


async def away(stage: Stage) -> None:
    """Stop the server for half a minute."""
    lasts_s = stage.lasting(30, brief=2)
    await asyncio.to_thread(stage.processes.postgres.stop)
    before = stage.load.tally.answered
    await asyncio.sleep(lasts_s)  # the outage itself is the test
    stage.tell(f"{stage.load.tally.answered - before} calls in {lasts_s:g} s without PostgreSQL")
    await asyncio.to_thread(stage.processes.postgres.start)
    await stage.served()


async def failover(stage: Stage) -> None:
    """Crash the primary permanently, and promote its standby."""
    standby = stage.processes.standby
    assert standby is not None
    now = asyncio.get_running_loop().time
    await asyncio.to_thread(stage.processes.postgres.stop, "immediate")
    crashed = now()
    await asyncio.to_thread(standby.promote)
    promoted_s = now() - crashed
    await asyncio.gather(*(stage.load.probe(shard) for shard in range(stage.processes.shape.shards)))
    stage.tell(f"every shard answers {now() - crashed:.2f} s after the crash, {promoted_s:.2f} s of them to promote")


POSTGRES = [
    Scenario("postgres-restart", "PostgreSQL restarts, then crashes", restart),
    Scenario("postgres-backends", "the connections to PostgreSQL are ended repeatedly", kill_backends, seconds=8),
    Scenario("postgres-away", "PostgreSQL is down for half a minute", away, seconds=0),
    Scenario(
        "postgres-failover",
        "PostgreSQL is killed permanently and its standby promoted",
        failover,
        seconds=0,
        standby=True,
    ),
]
