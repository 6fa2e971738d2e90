"""Metrics of a whole server: every documented metric is exported, without ids in labels."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from auction_house.counter import Counter
from goverse.objects.describe import describe
from goverse.objects.registry import Registry
from goverse_gate.app import create_app
from goverse_node.metrics import NodeMetrics
from goverse_node.node import Node
from goverse_node.stores.wal.metrics import WalMetrics
from goverse_node.stores.wal.store import WalStore

NAMES = {
    "goverse_objects_total",
    "goverse_method_calls",
    "goverse_method_call_duration_seconds",
    "goverse_operation_timeouts",
    "goverse_activations",
    "goverse_passivations",
    "goverse_calls_waiting",
    "goverse_commit_batch_records",
    "goverse_commit_seconds",
    "goverse_idempotency_replays",
    "goverse_wal_written_bytes",
    "goverse_wal_syncs",
    "goverse_wal_segments",
    "goverse_snapshots",
}


@pytest.mark.requirement("OBS-1")
async def test_scrape_has_the_series_of_gate_node_and_store(tmp_path: Path) -> None:
    store = WalStore(tmp_path / "data")
    await store.open()
    node = Node(Registry([Counter]), store)
    await node.start()
    metrics = CollectorRegistry()
    metrics.register(NodeMetrics(node))
    metrics.register(WalMetrics(store))
    app = create_app(node, describe(node.registry), registry=metrics)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        for _ in range(3):
            await client.post("/objects/Counter/secret-id/call/increment", headers={"Idempotency-Key": "k"})
        await client.post("/objects/Nothing/secret-id/call/increment")
        scrape = (await client.get("/metrics")).text
    await node.stop()
    await store.close()
    families = {family.name: family for family in text_string_to_metric_families(scrape)}
    assert families.keys() >= NAMES
    assert "secret-id" not in scrape
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in families.values()
        for sample in family.samples
    }
    assert samples["goverse_objects_total", "Counter"] == 1
    assert samples["goverse_activations", "Counter"] == 1
    assert samples["goverse_idempotency_replays_total",] == 2
    assert samples["goverse_commit_batch_records_count",] == 1
    assert samples["goverse_wal_records_total",] == 1
