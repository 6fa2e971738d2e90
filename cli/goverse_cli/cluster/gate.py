"""One gate process of a cluster, from start to stop. This module alone names its concrete parts.

    watch the cluster in etcd → register the gate → serve HTTP → drain → stop

One exit stack undoes the steps that succeeded, in reverse order.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack

from goverse.cluster.member import Member
from goverse.cluster.view import ClusterView
from goverse.errors import Unavailable
from goverse.model.catalog import Catalog, TypeDescription
from goverse.ports.coordinator import Coordinator, Put
from goverse.routing.cluster_watch import ClusterWatch
from goverse.routing.lease_keeper import LeaseKeeper
from goverse.routing.router import Router
from goverse.settings import EffectiveSettings, Settings
from goverse.telemetry.tls import TlsMetrics
from goverse.wire.handshake import Hello
from goverse.wire.stats import WireStats
from goverse_cli.cluster.certificates import Certificates
from goverse_cli.cluster.gate_telemetry import gate_metrics
from goverse_cli.cluster.parts import check_encryption, coordinator_of, layout_of, new_incarnation, router_of
from goverse_cli.collector import calm_collector
from goverse_cli.gate_options import cluster_admin_token, gate_options
from goverse_cli.listener import url_of
from goverse_cli.version import release
from goverse_gate.app import GateApp, create_app
from goverse_gate.server import GateServer


class Offered:
    """The object types that a gate offers: the union of the types that the registered nodes serve."""

    def __init__(self) -> None:
        """Start without types; ``follow`` adds them."""
        self.catalog: Catalog = {}
        self.app: GateApp | None = None
        self._followed = (-1, -1)

    def follow(self, view: ClusterView) -> None:
        """Update the types from the nodes' catalogs. If nodes describe a type differently, the newest catalog wins."""
        if (view.reloads, view.catalogs_revision) == self._followed:
            return
        self._followed = view.reloads, view.catalogs_revision
        catalog: dict[str, TypeDescription] = {}
        for node in sorted(view.catalogs, key=lambda node: view.revision_of(view.layout.catalog(node))):
            catalog.update(view.catalogs[node])
        if catalog and catalog != self.catalog:
            self.catalog = catalog
            if self.app is not None:
                self.app.set_catalog(catalog)


async def serve_gate(
    settings: EffectiveSettings[Settings],
    *,
    listener: socket.socket,
    started: Callable[[str], None],
    stop: asyncio.Event,
) -> None:
    """Serve the cluster's objects over HTTP on ``listener`` until ``stop`` is set. Call ``started`` with the URL.

    Raises:
        ConfigError: the settings contradict each other or those of the cluster.
        Unavailable: etcd does not respond.
    """
    values = settings.values
    hello = Hello(kind="gate", id=values.node.id, incarnation=new_incarnation())
    links = WireStats()
    async with AsyncExitStack() as undo:
        certificates = Certificates.of_gate(values)
        certificates.follow(undo)
        coordinator = coordinator_of(values, certificates.etcd)
        undo.push_async_callback(coordinator.close)
        watch = ClusterWatch(coordinator, layout_of(values))
        offered = Offered()
        router = router_of(values, hello, links, security=certificates.out)
        await _follow(values, watch, offered, router, undo)
        url = url_of(listener, "https" if certificates.gate else "http")
        registration = _Registration(values, coordinator, watch, url, hello.incarnation)
        registration.start()
        undo.push_async_callback(registration.stop)

        options = gate_options(values, cluster_admin_token(values))
        metrics = gate_metrics(router, coordinator, links, TlsMetrics(certificates.links))
        app = offered.app = create_app(router, offered.catalog, options, registry=metrics, config=settings.shown)
        server = GateServer(app, options, sockets=[listener], certificates=certificates.gate)
        await server.start()
        undo.push_async_callback(server.stop)
        calm_collector()
        started(url)
        await stop.wait()
        await server.drain(values.cluster.pre_stop_delay_s)


async def _follow(
    values: Settings, watch: ClusterWatch, offered: Offered, router: Router, undo: AsyncExitStack
) -> None:
    """Read the cluster's state from etcd, and keep the router and the offered types up to date with it."""
    undo.push_async_callback(router.close)
    watch.add(offered.follow)
    watch.add(router.follow)
    await watch.start(values.cluster.shards)
    undo.push_async_callback(watch.stop)
    check_encryption(values, watch.view.nodes.values())


class _Registration:
    """The gate's own key in etcd, kept under a lease so that operators can see the gate."""

    def __init__(
        self, values: Settings, coordinator: Coordinator, watch: ClusterWatch, url: str, incarnation: str
    ) -> None:
        self._coordinator = coordinator
        self._member = Member(values.node.id, url, incarnation, release())
        self._key = watch.view.layout.gate(values.node.id)
        self._tasks: set[asyncio.Task[None]] = set()
        self._leases = LeaseKeeper(coordinator, values.cluster.lease_ttl_s, changed=self._register)
        watch.add(self._leases.follow)

    def start(self) -> None:
        self._leases.start()

    async def stop(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await self._leases.stop(revoke=True)

    def _register(self) -> None:
        if self._leases.lease.id is not None:
            task = asyncio.create_task(self._put(self._leases.lease.id))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _put(self, lease_id: int) -> None:
        while self._leases.lease.id == lease_id:
            try:
                await self._coordinator.write([], [Put(self._key, self._member.encode(), lease_id)])
            except Unavailable:
                await asyncio.sleep(1.0)
            else:
                return
