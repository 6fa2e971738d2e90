"""The Pods of the rendered chart as one running cluster, and operations on it."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.deploy import connections
from tests.deploy.engine import Engine
from tests.deploy.kubelet import Kubelet
from tests.deploy.policies import Edge
from tests.deploy.rendering import VALUES, Document, named, template
from tests.tree import ROOT, load_module

SERVICE = "goverse-gate.objects.svc"


def rendered(images: dict[str, str]) -> list[Document]:
    """Return the objects of the chart for the values ``pods``, with these images."""
    chosen = {f"images.{name}": images[name] for name in ("gate", "tools", "etcd", "postgres")}
    chosen["app.image"] = images["app"]
    values = next(path for path in VALUES if path.stem == "pods")
    ran = template("--values", values, *(f"--set={name}={value}" for name, value in chosen.items()))
    assert ran.returncode == 0, ran.stderr
    return [document for document in yaml.safe_load_all(ran.stdout) if document]


@dataclass
class PodCluster:
    """A cluster of Pods.

    Attributes:
        documents: the rendered chart.
        acknowledged: answered calls by idempotency key, as counter and value.
    """

    engine: Engine
    documents: list[Document]
    kubelet: Kubelet
    watcher: connections.Watcher
    acknowledged: dict[str, tuple[str, int]] = field(default_factory=dict[str, tuple[str, int]])

    def job(self, ending: str) -> str:
        """Return the name of a Pod that runs once."""
        (found,) = [name for name in self.kubelet.pods if name.startswith(f"goverse-{ending}")]
        return str(found)

    def start_stores(self) -> None:
        """Start etcd and PostgreSQL, and migrate the database."""
        stores = [*self.kubelet.of("etcd"), *self.kubelet.of("postgres")]
        for name in stores:
            self.kubelet.start(name)
        self.kubelet.await_ready(*stores)

    def start_processes(self, *, migrate: bool) -> None:
        """Start nodes and gates. Nodes wait for the schema, which may be created at the same time."""
        names = [*self.kubelet.of("node"), *self.kubelet.of("gate")]
        with ThreadPoolExecutor(len(names)) as threads:
            started = [threads.submit(self.kubelet.start, name) for name in names]
            if migrate:
                self.kubelet.run_to_end(self.job("migrate"))
        for one in started:
            one.result()
        self.kubelet.await_ready(*names)

    def secret(self, name: str) -> dict[str, bytes]:
        """Return the content of a secret of the chart."""
        data = self.document("Secret", name)["data"]
        return {key: base64.b64decode(value) for key, value in data.items()}

    def document(self, kind: str, name: str) -> Document:
        """Return an object of the chart."""
        return named(self.documents, kind, name)

    def client(self, gate: str | None = None) -> httpx.AsyncClient:
        """Return a client of one gate that trusts only the CA of the chart."""
        name = gate or self.kubelet.of("gate")[0]
        context = ssl.create_default_context(cadata=self.secret("goverse-gate-tls")["ca.crt"].decode())
        return httpx.AsyncClient(
            base_url=f"https://{self.kubelet.address(name)}:8000",
            headers={"host": SERVICE},
            verify=context,
            timeout=60.0,
        )

    async def increment(self, client: httpx.AsyncClient, counter: str, key: str) -> httpx.Response:
        """Increment a counter once, without retry, and record the acknowledged value."""
        answer = await client.post(
            f"/objects/Counter/{counter}/call/increment",
            headers={"idempotency-key": key},
            extensions={"sni_hostname": SERVICE},
        )
        assert answer.status_code == 200, f"{counter} {key}: {answer.status_code} {answer.text}"
        self.acknowledged[key] = (counter, answer.json())
        return answer

    async def value(self, client: httpx.AsyncClient, counter: str) -> int:
        """Return the value of a counter."""
        answer = await client.get(f"/objects/Counter/{counter}", extensions={"sni_hostname": SERVICE})
        assert answer.status_code == 200, answer.text
        return int(answer.json()["value"])

    async def bid_at_auctions(self, gate: str, name: str) -> None:
        """Make enough objects with this name prefix call each other that some are on different nodes."""
        async with self.client(gate) as client:
            for number in range(8):
                auction, bidder = f"Auction/{name}-{number}", f"{name}-{number}"
                for method, path, body in (
                    ("PUT", auction, {"title": "A lamp", "seller": "sue"}),
                    ("POST", f"Wallet/{bidder}/call/deposit", {"amount": 1_000}),
                    ("POST", f"{auction}/call/bid", {"bidder": bidder, "amount": 200}),
                ):
                    answer = await client.request(
                        method, f"/objects/{path}", json=body, extensions={"sni_hostname": SERVICE}
                    )
                    assert answer.is_success, answer.text

    def back_up(self) -> str:
        """Run each backup CronJob once, and return the output."""
        return "".join(self.kubelet.run_to_end(self.job(f"backup-{kind}")) for kind in ("postgres", "etcd"))

    def parts(self) -> dict[str, Any]:
        """Return the labels of each component's Pods."""
        return {pod.component: pod.rendered["metadata"]["labels"] for pod in self.kubelet.pods.values()}

    def edges(self) -> set[Edge]:
        """Return the edges on which connections were seen so far."""
        pods = self.kubelet.pods.values()
        return connections.edges_of(
            self.watcher.until_now(),
            self.kubelet.identities,
            {pod.address: pod.name for pod in pods},
            {pod.name: pod.component for pod in pods},
        )


@contextmanager
def pod_cluster(engine: Engine, images: dict[str, str]) -> Iterator[PodCluster]:
    """Run all long-running Pods; tests start the Pods of Jobs."""
    documents = rendered(images)
    script = load_module(ROOT / "scripts" / "pods.py")
    kubelet = Kubelet(engine, script, Path(engine.scratch) / "machine", documents)
    with connections.Watcher() as watcher:
        made = PodCluster(engine, documents, kubelet, watcher)
        try:
            made.start_stores()
            made.start_processes(migrate=True)
            yield made
        finally:
            engine.close()
