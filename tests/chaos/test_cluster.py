"""Tests of the operator's commands on a cluster of real processes."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
from pathlib import Path

import httpx
import pytest

from benchmarks.ports import free_ports
from tests.cluster_processes import Processes, Shape, cluster

pytestmark = [pytest.mark.requirement("CLU-3", "CLU-4")]


async def test_an_operator_sees_pins_and_drains(tmp_path: Path) -> None:
    async with cluster(tmp_path, Shape(nodes=2, shards=64)) as processes:
        assert "claimed 64 of 64 shards" in processes.command("shards", "list")
        assert "leader" in processes.command("nodes", "list")
        processes.command("shards", "pin", "17", "n1")
        assert "shard 17 is pinned to n1" in processes.command("shards", "list")
        with pytest.raises(
            AssertionError, match=r"node 'n9' is not registered in the cluster\n.*registered nodes: n1, n2"
        ):
            processes.command("nodes", "drain", "n9")
        assert "its shards are moving" in processes.command("nodes", "drain", "n2")
        assert "which is draining" in processes.command("shards", "pin", "18", "n2")
        assert "it keeps its shards" in processes.command("nodes", "drain", "n1")
        processes.command("nodes", "drain", "n1", "--undo")
        await _says(processes, "n2: serves 0,", wanted=True)
        await processes.ready()
        processes.command("nodes", "drain", "n2", "--undo")
        assert "is no longer pinned to n1" in processes.command("shards", "unpin", "17")
        assert "was not pinned" in processes.command("shards", "unpin", "17")
        await _says(processes, "n2: serves 0,", wanted=False)


async def _says(processes: Processes, words: str, *, wanted: bool) -> None:
    """Wait until the list of shards contains some words, or no longer contains them."""
    async with asyncio.timeout(60):
        while (words in await asyncio.to_thread(processes.command, "shards", "list")) is not wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


@pytest.mark.requirement("OBJ-3")
async def test_an_id_may_name_any_shard_of_the_cluster(tmp_path: Path) -> None:
    async with cluster(tmp_path, Shape(nodes=1, shards=128)) as processes:
        url = processes.url
        assert processes.command("call", "Counter", "shard#127/a", "increment", "--url", url) == "1\n"
        with pytest.raises(AssertionError, match="names shard 128, which does not exist; use a number from 0 to 127"):
            processes.command("call", "Counter", "shard#128/a", "increment", "--url", url)


@pytest.mark.requirement("CLU-4", "CLU-10", "OBS-1")
async def test_an_operator_lists_nodes_moves_a_shard_and_checks_the_database(tmp_path: Path) -> None:
    async with cluster(tmp_path, Shape(nodes=2, shards=16)) as processes:
        nodes = json.loads(processes.command("-o", "json", "nodes", "list"))
        assert all(node["answers"] for node in nodes.values())
        assert sum(node["shards"] for node in nodes.values()) == 16
        async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
            for node in nodes.values():
                ready = (await client.get(f"{node['admin']}/readyz")).json()
                assert (ready["ready"], ready["claimed"]) == (True, node["shards"])
            created = await client.post(f"{processes.url}/objects/Counter/shard%233%2Fc/call/increment")
            assert (created.status_code, created.text) == (200, "1")
            before = json.loads(processes.command("-o", "json", "shards", "move", "3", "n1"))["from"]
            json.loads(processes.command("-o", "json", "shards", "move", "3", "n2"))
            again = await client.post(f"{processes.url}/objects/Counter/shard%233%2Fc/call/increment")
            assert (again.status_code, again.text) == (200, "2")
            assert before in ("n1", "n2")
            scraped = (await client.get(f"{nodes['n2']['admin']}/metrics")).text
            assert "goverse_shard_claims_total" in scraped
            assert 'goverse_store_operation_duration_seconds_count{operation="commit",status="success"}' in scraped
            assert 'goverse_wire_requests_total{direction="in"}' in scraped
        assert "ok" in processes.command("db", "verify")
        assert json.loads(processes.command("-o", "json", "shards", "list"))["pins"] == {}


@pytest.mark.requirement("CLU-4", "OBS-3")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_node_that_does_not_answer_is_marked_while_its_lease_lives(
    tmp_path: Path, number: signal.Signals
) -> None:
    async with cluster(tmp_path, Shape(nodes=2, shards=16, lease_ttl_s=60)) as processes:
        processes.signal("n2", number)
        listed = await asyncio.to_thread(processes.command, "nodes", "list")
        (silent,) = [line for line in listed.splitlines() if "DOES NOT ANSWER" in line]
        assert silent.startswith("n2 ")
        for line in processes.log("n1").splitlines():
            assert json.loads(line)["event"]
        for line in processes.log("gate-1").splitlines():
            assert json.loads(line)["event"]


@pytest.mark.requirement("CLU-2")
@pytest.mark.parametrize(
    "settings",
    [
        {"GOVERSE_CLUSTER__NAME": "other", "GOVERSE_CLUSTER__SHARDS": "16"},
        {"GOVERSE_CLUSTER__NAME": "other", "GOVERSE_CLUSTER__SHARDS": "32"},
        {"GOVERSE_ETCD__NAMESPACE": "elsewhere/", "GOVERSE_CLUSTER__SHARDS": "32"},
    ],
    ids=["another name", "another name and count", "another count, in an etcd that knows nothing"],
)
async def test_a_second_cluster_is_kept_from_the_database_of_the_first(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    async with cluster(tmp_path, Shape(nodes=1, shards=16)) as processes:
        node = (
            "node",
            str(processes.shape.application),
            "--id",
            "stranger",
            "--listen",
            f"127.0.0.1:{free_ports(1)[0]}",
        )
        with pytest.raises(AssertionError, match=r"belongs to cluster 'goverse' with 16 shards"):
            await asyncio.to_thread(processes.command, *node, **settings)
        assert processes.command("call", "Counter", "c", "increment", "--url", processes.url) == "1\n"


@pytest.mark.requirement("CLU-4", "CLU-5")
async def test_unreadable_targets_are_written_again(tmp_path: Path) -> None:
    async with cluster(tmp_path, Shape(nodes=2, shards=16)) as processes:
        key = base64.b64encode(b"/goverse/goverse/targets").decode()
        await processes.etcd.ask("kv/put", {"key": key, "value": base64.b64encode(b"\x00nonsense").decode()})
        await processes.end("n2", signal.SIGKILL)
        await _says(processes, "n1: serves 16,", wanted=True)
        await processes.ready()
        assert processes.command("call", "Counter", "c", "increment", "--url", processes.url) == "1\n"
