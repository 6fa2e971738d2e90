"""What an operator does with a running cluster of real processes, by the command alone."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from tests.cluster_processes import Shape, cluster


@pytest.mark.requirement("CLU-4", "CLU-10", "OBS-1")
async def test_an_operator_looks_at_nodes_moves_a_shard_and_checks_the_database(tmp_path: Path) -> None:
    async with cluster(tmp_path, Shape(nodes=2, shards=16)) as processes:
        nodes = json.loads(processes.command("-o", "json", "nodes", "list"))
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
