"""A real Prometheus scrapes a real cluster: every panel and every alert finds its series, and it stores exemplars."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from benchmarks.ports import free_ports
from tests.cluster_processes import PATIENCE_S, Processes, Shape, cluster
from tests.tree import ROOT

pytestmark = [pytest.mark.deploy, pytest.mark.requirement("OBS-4")]

FILES = ROOT / "helm" / "goverse" / "files"
NAMESPACE = "objects"
INTERVAL_S = 1
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
# Series that exist only after a failure: a panel may be empty without one, but a process must export its series.
TROUBLE = {
    "goverse_etcd_errors_total",
    "goverse_rebalance_decisions_total",
    "goverse_routing_retries_total",
    "goverse_shard_releases_total",
    "goverse_store_errors_total",
    "goverse_tls_reloads_total",
    "goverse_turn_timeouts_total",
}


@contextmanager
def prometheus(folder: Path, processes: Processes) -> Iterator[str]:
    """Run Prometheus over all processes, with the labels that they have in Kubernetes; yields its address."""
    certificates = processes.certificates
    assert certificates is not None
    nodes = json.loads(processes.command("-o", "json", "nodes", "list")).values()
    caller_cert, caller_key = certificates.caller
    config: dict[str, Any] = {
        "global": {"scrape_interval": f"{INTERVAL_S}s"},
        "rule_files": [str(FILES / "rules.yaml")],
        "scrape_configs": [
            {
                "job_name": "goverse-node",
                "static_configs": [
                    {
                        "targets": [each["admin"].removeprefix("http://") for each in nodes],
                        "labels": {"namespace": NAMESPACE},
                    }
                ],
            },
            {
                "job_name": "goverse-gate",
                "scheme": "https",
                "tls_config": {
                    "ca_file": str(certificates.first.certificate),
                    "cert_file": str(caller_cert),
                    "key_file": str(caller_key),
                },
                "static_configs": [
                    {
                        "targets": [url.removeprefix("https://") for url in processes.gates.values()],
                        "labels": {"namespace": NAMESPACE},
                    }
                ],
            },
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (port,) = free_ports(1)
    program = shutil.which("prometheus")
    assert program is not None, "scripts/install_system.sh prometheus"
    with (folder / "prometheus.log").open("wb") as log:
        running = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig=KILL", program, f"--config.file={folder / 'prometheus.yml'}"),
                *(f"--storage.tsdb.path={folder / 'tsdb'}", f"--web.listen-address=127.0.0.1:{port}"),
                "--enable-feature=exemplar-storage",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        running.kill()
        running.wait(PATIENCE_S)


class Queries:
    """Client for Prometheus queries."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def found(self, query: str) -> list[dict[str, Any]]:
        """Return the series of a query now."""
        answer = (await self._client.get("/api/v1/query", params={"query": query})).json()
        assert answer["status"] == "success", (query, answer)
        series: list[dict[str, Any]] = answer["data"]["result"]
        return series

    async def traces(self, query: str) -> set[str]:
        """Return the trace ids in the exemplars of a query."""
        times = {"start": "0", "end": str(time.time() + 60)}
        answer = (await self._client.get("/api/v1/query_exemplars", params={"query": query, **times})).json()
        assert answer["status"] == "success", (query, answer)
        return {each["labels"]["trace_id"] for series in answer["data"] for each in series["exemplars"]}

    async def names(self) -> set[str]:
        """Return the names and help texts of all series."""
        told = (await self._client.get("/api/v1/label/__name__/values")).json()["data"]
        described = (await self._client.get("/api/v1/metadata")).json()["data"]
        return {*told, *described}

    async def until(self, query: str) -> None:
        """Wait until a query has a result."""
        assert await self.without_result({query: query}) == []

    async def without_result(self, wanted: Mapping[str, str]) -> list[str]:
        """Wait until every query has a result; return the names of those that never get one.

        Processes are scraped one by one, and a rate needs two samples, so a result of one query does not imply others.
        """
        empty = dict(wanted)
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    empty = {name: query for name, query in empty.items() if not await self.found(query)}
                    if not empty:
                        break
                    await asyncio.sleep(INTERVAL_S / 4)
        return sorted(empty)

    async def ready(self) -> None:
        """Wait until Prometheus answers queries."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                with suppress(httpx.TransportError):
                    if (await self._client.get("/-/ready")).status_code == 200:
                        return
                await asyncio.sleep(INTERVAL_S / 4)


async def _use(processes: Processes) -> None:
    """Make calls of several kinds, and move a shard."""
    async with processes.client(30.0) as client:
        for number in range(20):
            path = f"{processes.url}/objects/Counter/m{number}/call"
            assert (await client.post(f"{path}/increment", headers={"idempotency-key": "k"})).status_code == 200
            assert (await client.post(f"{path}/increment", headers={"idempotency-key": "k"})).status_code == 200
            assert (await client.post(f"{path}/peek")).status_code == 200
        traced = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
        path = f"{processes.url}/objects/Counter/traced/call"
        assert (await client.post(f"{path}/increment", headers=traced)).status_code == 200
        assert (await client.post(f"{processes.url}/objects/Counter/m0/call/nothing")).status_code == 404
    for node in ("n1", "n2"):  # one of the two pins moves the shard
        processes.command("shards", "move", "3", node)


async def test_every_panel_and_every_alert_finds_its_series(tmp_path: Path) -> None:
    panels = {
        f"{path.stem}: {panel['title']}: {target['legendFormat']}": target["expr"]
        for path in sorted((FILES / "dashboards").glob("*.json"))
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]
        for target in panel["targets"]
    }
    rules = yaml.safe_load((FILES / "rules.yaml").read_text(encoding="utf-8"))["groups"][0]["rules"]
    async with cluster(tmp_path, Shape(nodes=2, gates=1, tls=True)) as processes, AsyncExitStack() as undo:
        url = undo.enter_context(prometheus(tmp_path, processes))
        client = await undo.enter_async_context(httpx.AsyncClient(base_url=url, timeout=10, trust_env=False))
        queries = Queries(client)
        await queries.ready()
        await queries.until(f'count(up{{namespace="{NAMESPACE}"}} == 1) == 3')
        await _use(processes)
        await queries.until('goverse_method_calls_total{status="success"}')
        await _use(processes)  # a rate needs a second value of the series
        await queries.until('sum(rate(goverse_method_calls_total{status="success"}[1m])) > 0')
        await queries.until("sum(rate(goverse_shard_claims_total[1m])) > 0")

        async with asyncio.timeout(PATIENCE_S):
            while await queries.traces("goverse_method_call_duration_seconds_bucket") != {TRACE}:  # noqa: ASYNC110
                await asyncio.sleep(INTERVAL_S / 4)

        known = {_plain(name) for name in await queries.names()}
        wanted = dict[str, str]()
        for title, template in panels.items():
            query = template.replace("$namespace", NAMESPACE).replace("$__rate_interval", "1m")
            names = re.findall(r"\bgoverse_\w+", query)
            assert {_plain(name) for name in names} <= known, title
            if not set(names) & TROUBLE:
                wanted[title] = query
        for rule in rules:
            for selector in re.findall(r"\b(?:goverse|process|up)\w*(?:\{[^}]*\})?", rule["expr"]):
                name = selector.partition("{")[0]
                assert _plain(name) in known, rule["alert"]
                if name not in TROUBLE and "status=" not in selector:
                    wanted[f"{rule['alert']}: {selector}"] = selector
        assert await queries.without_result(wanted) == []

        loaded = (await client.get("/api/v1/rules")).json()["data"]["groups"][0]["rules"]
        assert [each["name"] for each in loaded] == [rule["alert"] for rule in rules]
        assert {each["health"] for each in loaded} <= {"ok", "unknown"}
        firing = await queries.found('ALERTS{alertstate="firing"}')
        assert firing == [], "an alert fires on a healthy cluster"


def _plain(name: str) -> str:
    return re.sub(r"_(bucket|sum|count|total)$", "", name)
