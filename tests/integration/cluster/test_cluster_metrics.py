"""Metrics, health and readiness of a node and a gate in a cluster."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from unittest.mock import ANY

import httpx
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as OPEN_METRICS
from prometheus_client.parser import text_string_to_metric_families

from goverse import Object, call
from goverse.errors import ConfigError, Unavailable
from goverse.objects.context import current_turn
from goverse.ports.clock import SystemClock
from goverse.ports.memory_coordinator import MemoryCoordinator
from goverse.ports.memory_keys import MemoryKeys
from goverse.routing.metrics import RouterMetrics
from goverse.telemetry.coordination import MeteredCoordinator
from goverse.telemetry.tls import TlsMetrics
from goverse.telemetry.wire import WireMetrics
from goverse.tls.files import TlsFiles, named
from goverse.tls.rotation import Rotating
from goverse.wire.stats import WireStats
from goverse_cli.cluster.admin import AdminServer, listen
from goverse_cli.cluster.gate_telemetry import gate_metrics
from goverse_cli.cluster.telemetry import node_metrics, node_report
from goverse_gate.app import create_app
from goverse_gate.options import GateOptions
from goverse_node.ownership.shutdown import Shutdown
from goverse_node.stores.memory import MemoryStore
from goverse_node.stores.metered import MeteredStore
from tests.certificates import Authority
from tests.gate.serving import ADMIN, ADMIN_TOKEN
from tests.nodes import until, value
from tests.tree import ROOT
from tests.twin_cluster import SHARDS, Host, TwinCluster

OF_THE_CONTRACTS = {
    "goverse_shards_total",
    "goverse_shard_claims",
    "goverse_shard_releases",
    "goverse_shard_migrations",
    "goverse_shards_migrating",
    "goverse_shard_migrations_stuck",
    "goverse_rebalance_decisions",
    "goverse_shards_imbalance_ratio",
    "goverse_operation_duration_seconds",
    "goverse_operation_timeouts",
    "goverse_etcd_request_duration_seconds",
    "goverse_etcd_errors",
    "goverse_store_operation_duration_seconds",
    "goverse_store_errors",
    "goverse_objects_total",
    "goverse_wire_connections",
    "goverse_wire_connections_opened",
    "goverse_wire_requests",
    "goverse_wire_replies",
    "goverse_wire_requests_batch",
    "goverse_wire_inflight_requests",
    "goverse_routing_parked_calls",
    "goverse_routing_retries",
    "goverse_routing_forwards",
}


LOG_FIELDS: list[Mapping[str, str | int]] = []


class Tally(Object):
    value: int = 0

    @call
    async def add(self) -> int:
        self.value += 1
        turn = current_turn.get()
        if turn is not None and self.context.traceparent:
            LOG_FIELDS.append(turn.log_fields())
        return self.value


@asynccontextmanager
async def served(host: Host, cluster: TwinCluster) -> AsyncIterator[httpx.AsyncClient]:
    """Serve the operator endpoints of a node on a port of its own."""
    metrics = node_metrics(
        host.node,
        host.keeper,
        host.router,
        MeteredCoordinator(host.coordinator),
        MeteredStore(cluster.store),
        WireMetrics(out=WireStats(), **{"in": WireStats()}),
    )
    listener = listen("127.0.0.1:0")
    access = GateOptions(admin_token=ADMIN_TOKEN)
    admin = AdminServer(metrics, partial(node_report, host.node, host.keeper), listener, access)
    await admin.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        yield client
    await admin.stop()


def samples(text: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.mark.requirement("OBS-1", "CLU-4", "CLU-8")
async def test_a_node_counts_its_shards_and_names_none_of_them() -> None:
    async with TwinCluster(Tally, lease_ttl_s=30.0) as cluster:
        await cluster.join("first")
        await cluster.served("first")
        await cluster.join("second")
        await cluster.served("first", "second")
        assert value(await cluster.call(Tally, "secret-id", "add")) == 1
        await until(lambda: not cluster.hosts["first"].keeper.leader.moves.under_way)
        async with served(cluster.hosts["first"], cluster) as client:
            text = (await client.get("/metrics")).text
            opened = await client.get("/metrics", headers={"Accept": "application/openmetrics-text"})
        assert opened.headers["content-type"] == OPEN_METRICS
        assert opened.text.endswith("# EOF\n")
        found = samples(text)
        assert {family.name for family in text_string_to_metric_families(text)} >= OF_THE_CONTRACTS
        own = cluster.owners().count("first")
        assert found["goverse_shards_total", "open"] == own < SHARDS
        assert found["goverse_shard_claims_total",] == SHARDS
        assert found["goverse_shard_releases_total", "handed_over"] == SHARDS - own
        assert found["goverse_shard_migrations_total",] == SHARDS + SHARDS - own  # including the first placements
        assert found["goverse_rebalance_decisions_total", "unplaced"] == SHARDS
        moved = sum(found["goverse_rebalance_decisions_total", why] for why in ("surplus", "shortage"))
        assert moved == SHARDS - own
        assert found["goverse_operation_duration_seconds_count", "shard_close", "success"] == SHARDS - own
        assert found["goverse_operation_duration_seconds_count", "shard_open", "success"] == SHARDS
        assert found["goverse_leader",] == 1
        assert "secret-id" not in text
        assert re.search(r'(shard|node|client|id)="', text) is None


@pytest.mark.requirement("OBS-1")
async def test_the_page_on_metrics_names_every_series_of_a_node_and_of_a_gate(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "guide" / "metrics.md").read_text(encoding="utf-8")
    async with TwinCluster(Tally, lease_ttl_s=30.0) as cluster:
        await cluster.join("a")
        async with served(cluster.hosts["a"], cluster) as client:
            node = (await client.get("/metrics")).text
        files = TlsFiles(link="etcd", ca=named("etcd.tls_ca", Authority(tmp_path).certificate))
        tls = TlsMetrics([Rotating(files, lambda _, material: material)])
        registry = gate_metrics(cluster.router, MeteredCoordinator(cluster.coordinator), WireStats(), tls)
        create_app(cluster.router, {}, registry=registry)
        gate = generate_latest(registry).decode()
    written = set(re.findall(r"goverse_\w+", page))
    exported = set(re.findall(r"^# TYPE (goverse_\w+)", node + gate, re.MULTILINE))
    assert {name for name in exported if name not in written} == set()
    assert len(exported) > 50


@pytest.mark.requirement("OBS-3")
async def test_a_record_of_a_turn_names_its_shard_and_trace() -> None:
    async with TwinCluster(Tally, lease_ttl_s=30.0) as cluster:
        await cluster.join("a")
        await cluster.served("a")
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        assert value(await cluster.call(Tally, "shard#5/t", "add", trace=trace)) == 1
        assert LOG_FIELDS == [
            {
                "object": "Tally/shard#5/t",
                "method": "add",
                "request_id": ANY,
                "shard": 5,
                "trace_id": "0af7651916cd43dd8448eb211c80319c",
                "span_id": ANY,
                "parent_span_id": "b7ad6b7169203331",
            }
        ]


@pytest.mark.requirement("CLU-10")
async def test_readiness_says_how_many_shards_are_claimed_and_follows_the_truth_both_ways() -> None:
    async with TwinCluster(Tally, lease_ttl_s=30.0) as cluster:
        await cluster.join("a")
        await cluster.served("a")
        host = cluster.hosts["a"]
        async with served(host, cluster) as client:
            answer = await client.get("/readyz")
            assert (answer.status_code, answer.json()["claimed"], answer.json()["wanted"]) == (200, SHARDS, SHARDS)
            assert (await client.get("/healthz")).json() == {"status": "ok"}
            host.keeper.fenced(3, host.keeper.epoch(3) or 0)
            answer = await client.get("/readyz")
            assert answer.status_code == 503
            assert answer.json()["reasons"] == [f"claimed {SHARDS - 1} of {SHARDS} shards"]
            await until(lambda: host.keeper.epoch(3) is not None)
            assert (await client.get("/readyz")).status_code == 200
            host.keeper.ownership.shut_down(Shutdown.GRACEFUL)
            assert (await client.get("/readyz")).json()["reasons"] == ["the node is giving its shards away"]


@pytest.mark.requirement("OBS-3")
async def test_the_log_level_changes_over_http_for_holders_of_the_admin_token_only() -> None:
    async with TwinCluster(Tally, lease_ttl_s=30.0) as cluster:
        await cluster.join("a")
        await cluster.served("a")
        async with served(cluster.hosts["a"], cluster) as client:
            before = (await client.get("/admin/log-level", headers=ADMIN)).json()["level"]
            elsewhere = {"origin": "https://elsewhere.example"}
            for foreign in (ADMIN | elsewhere, ADMIN | {"host": "rebound.example"}, ADMIN | {"via": "1.1 a"}, {}):
                refused = await client.put("/admin/log-level", json={"level": "DEBUG"}, headers=foreign)
                assert (refused.status_code, refused.json()["code"]) == (403, "access_denied")
            changed = await client.put("/admin/log-level", json={"level": before}, headers=ADMIN)
            assert (changed.status_code, changed.json()) == (200, {"level": before})


@pytest.mark.parametrize("address", ["7480", "nonsense", "127.0.0.1:http", "127.0.0.1:70000"])
def test_an_admin_address_that_is_none_names_its_setting(address: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        listen(address)
    assert refusal.value.extra["setting"] == "cluster.admin_listen"


def test_two_nodes_of_one_machine_find_an_admin_port_each() -> None:
    with listen("") as first, listen("") as second:
        assert first.getsockname() != second.getsockname()


async def test_errors_of_etcd_and_of_the_store_are_counted_by_code() -> None:
    cluster = MemoryCoordinator(MemoryKeys(SystemClock()))
    coordinator = MeteredCoordinator(cluster)
    await coordinator.write([], [])
    cluster.reach.cut()
    store = MeteredStore(MemoryStore())
    await store.open()
    await coordinator.close()
    with pytest.raises(Unavailable):
        await coordinator.read("/goverse/")
    registry = CollectorRegistry()
    for part in (coordinator, store):
        registry.register(part)
    found = samples(generate_latest(registry).decode())
    assert found["goverse_etcd_errors_total", "unavailable", "read"] == 1
    assert found["goverse_store_operation_duration_seconds_count", "open", "success"] == 1


async def test_calls_that_wait_for_an_owner_are_counted() -> None:
    async with TwinCluster(Tally, lease_ttl_s=30.0) as cluster:
        early = cluster.call(Tally, "t", "add")
        registry = CollectorRegistry()
        registry.register(RouterMetrics(cluster.router))
        found = samples(generate_latest(registry).decode())
        assert found["goverse_routing_parked_calls",] == found["goverse_routing_calls_parked_total",] == 1
        assert found["goverse_routing_shards_served",] == 0
        await cluster.join("a")
        assert value(await early) == 1
        found = samples(generate_latest(registry).decode())
        assert found["goverse_routing_parked_calls",] == 0
        assert found["goverse_routing_shards_served",] == found["goverse_routing_shards",] == SHARDS
