"""A cluster of real processes under load while its parts die, leave, freeze and come back: no call fails, none is lost,
none has its effect twice."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.cluster_processes import LEASE_TTL_S, Load, Processes, cluster

pytestmark = [pytest.mark.requirement("CLU-9", "CLU-11", "CLU-3", "CLU-6", "DUR-1", "DUR-2")]

CALLS_PER_STEP = 200


@asynccontextmanager
async def under_load(processes: Processes) -> AsyncIterator[Load]:
    load = Load(processes.url)
    running = asyncio.create_task(load.run())
    try:
        yield load
    finally:
        load.stop()
        await running
    assert load.wrong == []


async def goes_on(load: Load) -> None:
    """Wait until each caller has been answered many times more."""
    goal = load.made + CALLS_PER_STEP
    async with asyncio.timeout(60):
        while load.made < goal and not load.wrong:  # noqa: ASYNC110  # counted by others
            await asyncio.sleep(0.02)
    assert load.wrong == []


async def test_nodes_die_leave_restart_and_freeze_under_load(tmp_path: Path) -> None:
    async with cluster(tmp_path) as processes, under_load(processes) as load:
        steps: list[Callable[[], Awaitable[object]]] = [
            lambda: processes.end("n1", signal.SIGKILL),
            lambda: _start(processes, "n1"),
            lambda: processes.end("n2", signal.SIGTERM),
            lambda: _start(processes, "n2"),
            lambda: processes.end("n3", signal.SIGQUIT),
            lambda: _start(processes, "n3"),
            lambda: _freeze(processes, "n1"),
        ]
        for step in steps:
            await step()
            await goes_on(load)
        await processes.ready()
        for name in ("n1", "n2"):
            assert await processes.end(name, signal.SIGTERM) == 0, processes.log(name)[-3000:]
        await goes_on(load)


async def _start(processes: Processes, name: str) -> None:
    processes.start_node(name)
    await _serves(processes, name)


async def _serves(processes: Processes, name: str) -> None:
    async with asyncio.timeout(40):
        while f"{name}  " not in (  # noqa: ASYNC110  # another process
            listed := await asyncio.to_thread(processes.command, "nodes", "list")
        ):
            await asyncio.sleep(0.1)
        while " 0 shards" in next(line for line in listed.splitlines() if line.startswith(f"{name}  ")):
            await asyncio.sleep(0.1)
            listed = await asyncio.to_thread(processes.command, "nodes", "list")


async def _freeze(processes: Processes, name: str) -> None:
    """Stop a process beyond its lease, and let it go on."""
    processes.signal(name, signal.SIGSTOP)
    await asyncio.sleep(LEASE_TTL_S + 2)  # the lease has to run out; nothing tells when
    processes.signal(name, signal.SIGCONT)


async def test_the_gate_and_etcd_die_and_come_back(tmp_path: Path) -> None:
    async with cluster(tmp_path, nodes=2) as processes:
        load = Load(processes.url, callers=8)
        running = asyncio.create_task(_keyed_only(load))
        await goes_on(load)
        processes.etcd.members[0].kill()
        await goes_on(load)
        await asyncio.sleep(LEASE_TTL_S + 1)  # all leases are past their deadline
        await goes_on(load)
        processes.etcd.members[0].start()
        await processes.etcd.healthy()
        await goes_on(load)
        await processes.end("gate", signal.SIGKILL)
        processes.start_gate()
        await processes.ready()
        await goes_on(load)
        load.stop()
        await running
        assert load.wrong == []


async def _keyed_only(load: Load) -> None:
    load.keyed_only = True
    await load.run()


async def test_an_operator_sees_pins_and_drains(tmp_path: Path) -> None:
    async with cluster(tmp_path, nodes=2, shards=64) as processes:
        assert "claimed 64 of 64 shards" in processes.command("shards", "list")
        assert "leader" in processes.command("nodes", "list")
        processes.command("shards", "pin", "17", "n1")
        assert "shard 17 is pinned to n1" in processes.command("shards", "list")
        processes.command("nodes", "drain", "n2")
        async with asyncio.timeout(30):
            while "n2: serves" in await asyncio.to_thread(  # noqa: ASYNC110  # another process
                processes.command, "shards", "list"
            ):
                await asyncio.sleep(0.1)
        await processes.ready()
        processes.command("nodes", "drain", "n2", "--undo")
        processes.command("shards", "unpin", "17")
        await _serves(processes, "n2")
