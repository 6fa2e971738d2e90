"""A node of a real cluster, stopped as the kubelet does with `nodes.shutdown: auto`: the hook, then SIGTERM."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from goverse.cluster.keys import KeyLayout
from goverse.cluster.member import Member, MemberState
from goverse.etcd.coordinator import EtcdCoordinator
from goverse.etcd.options import Endpoint, EtcdOptions
from goverse.ports.coordinator import Changed, Deleted
from tests.cluster_processes import PATIENCE_S, Processes, Shape, cluster
from tests.service_account import OWNER, ServiceAccount, service_account, stateful_set

pytestmark = [pytest.mark.requirement("OPS-2", "OPS-4")]


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Processes]:
    """Two nodes and a gate."""
    async with cluster(tmp_path, Shape(nodes=2)) as processes:
        yield processes


async def _hook(processes: Processes, account: ServiceAccount, pid: int, pod: str) -> str:
    """Run the hook beside the process of a node, as in its Pod. Return its output."""
    command = [sys.executable, "-m", "goverse_cli.pre_stop", str(PATIENCE_S), "--pid", str(pid)]
    ran = await asyncio.to_thread(
        subprocess.run,
        [*command, "--account", str(account.folder)],
        env={**processes.environment, **account.of(pod)},
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout + ran.stderr


def _said(log: str) -> list[dict[str, Any]]:
    """Return the hook's lines in the log of a node."""
    entries = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return [entry for entry in entries if entry["logger"] == "goverse.pre_stop"]


async def _states(processes: Processes, node: str, after: int) -> list[MemberState]:
    """Return the member states that a node wrote after revision ``after``, until it deleted its key."""
    coordinator, keys = _coordinator(processes), KeyLayout("goverse")
    said: list[MemberState] = []
    try:
        async with asyncio.timeout(PATIENCE_S):
            async for event in coordinator.watch(keys.node(node), after):
                assert isinstance(event, Changed)
                for change in event.changes:
                    if isinstance(change, Deleted):
                        return said
                    said.append(Member.decode(change.value).state)
    finally:
        await coordinator.close()
    raise AssertionError(f"{node} did not leave")


def _coordinator(processes: Processes) -> EtcdCoordinator:
    return EtcdCoordinator(EtcdOptions(endpoints=tuple(map(Endpoint.parse, processes.etcd.urls))))


async def _revision(processes: Processes) -> int:
    coordinator = _coordinator(processes)
    try:
        return (await coordinator.read(KeyLayout("goverse").node("n1"))).revision
    finally:
        await coordinator.close()


async def test_a_node_whose_pod_comes_back_ends_at_the_hook_and_says_that_it_restarts(
    running: Processes, tmp_path: Path
) -> None:
    before, pid = await _revision(running), running.pid("n2")
    with service_account(tmp_path) as account:
        account.server.put(stateful_set(2))
        ended = asyncio.create_task(running.gone("n2"))
        assert await _hook(running, account, pid, f"{OWNER}-1") == ""
        assert await ended == 0, "no SIGTERM was needed"

    assert await _states(running, "n2", before) == [MemberState.RESTARTING]
    (entry,) = _said(running.log("n2"))
    assert (entry["shutdown"], entry["level"]) == ("fast", "info")
    running.start_node("n2")
    await running.ready()


async def test_a_node_whose_pod_does_not_come_back_drains_at_the_sigterm_behind_the_hook(
    running: Processes, tmp_path: Path
) -> None:
    before, pid = await _revision(running), running.pid("n2")
    with service_account(tmp_path) as account:
        account.server.put(stateful_set(1))
        assert await _hook(running, account, pid, f"{OWNER}-1") == ""

    assert running.ended() == {}
    (entry,) = _said(running.log("n2"))
    assert (entry["shutdown"], entry["level"]) == ("graceful", "info")
    assert await running.end("n2", signal.SIGTERM) == 0
    assert await _states(running, "n2", before) == [MemberState.DRAINING]
    await running.ready()
