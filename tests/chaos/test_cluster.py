"""What an operator does to a cluster of real processes, by the command line."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.cluster_processes import Processes, Shape, cluster

pytestmark = [pytest.mark.requirement("CLU-3", "CLU-4")]


async def test_an_operator_sees_pins_and_drains(tmp_path: Path) -> None:
    async with cluster(tmp_path, Shape(nodes=2, shards=64)) as processes:
        assert "claimed 64 of 64 shards" in processes.command("shards", "list")
        assert "leader" in processes.command("nodes", "list")
        processes.command("shards", "pin", "17", "n1")
        assert "shard 17 is pinned to n1" in processes.command("shards", "list")
        processes.command("nodes", "drain", "n2")
        await _says(processes, "n2: serves", wanted=False)
        await processes.ready()
        processes.command("nodes", "drain", "n2", "--undo")
        processes.command("shards", "unpin", "17")
        await _says(processes, "n2: serves", wanted=True)


async def _says(processes: Processes, words: str, *, wanted: bool) -> None:
    """Wait until the list of shards holds some words, or does not any more."""
    async with asyncio.timeout(60):
        while (words in await asyncio.to_thread(processes.command, "shards", "list")) is not wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


@pytest.mark.requirement("OBJ-3")
async def test_an_id_may_name_any_shard_of_the_cluster(tmp_path: Path) -> None:
    async with cluster(tmp_path, Shape(nodes=1, shards=128)) as processes:
        url = processes.url
        assert processes.command("call", "Counter", "shard#127/a", "increment", "--url", url) == "1\n"
        with pytest.raises(AssertionError, match="shard 128 does not exist; there are 128"):
            processes.command("call", "Counter", "shard#128/a", "increment", "--url", url)
