"""One node process of a cluster, from start to stop. This module alone names its concrete parts.

    connect to PostgreSQL and etcd → watch the cluster → run @on_start → start the node → accept calls
    → register and claim shards → serve → move the shards away → stop → run @on_stop

One exit stack undoes the steps that succeeded, in reverse order.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import ip_address
from typing import NamedTuple

from goverse.cluster.member import Member
from goverse.model.catalog import Catalog
from goverse.objects.application import Application
from goverse.objects.describe import describe
from goverse.routing.cluster_watch import ClusterWatch
from goverse.routing.router import Router
from goverse.settings import Settings
from goverse.telemetry.coordination import MeteredCoordinator
from goverse.telemetry.resources import Resources
from goverse.telemetry.tls import TlsMetrics
from goverse.telemetry.wire import WireMetrics
from goverse.wire.handshake import Hello
from goverse.wire.options import WireOptions
from goverse.wire.server import LinkServer
from goverse.wire.stats import WireStats
from goverse_cli.allotment import keep_within
from goverse_cli.cluster.admin import AdminServer, listen
from goverse_cli.cluster.certificates import Certificates
from goverse_cli.cluster.database import postgres_of
from goverse_cli.cluster.parts import (
    check_encryption,
    check_listen,
    coordinator_of,
    layout_of,
    new_incarnation,
    router_of,
)
from goverse_cli.cluster.telemetry import node_metrics, node_report
from goverse_cli.collector import calm_collector
from goverse_cli.gate_options import cluster_admin_token, gate_options
from goverse_cli.hooks import start_hooks
from goverse_cli.node_options import node_options
from goverse_cli.served_types import with_settings
from goverse_cli.version import release
from goverse_gate.options import GateOptions
from goverse_node.node import Node
from goverse_node.ownership.keeper import Keeper
from goverse_node.ownership.leader import LeaderLimits
from goverse_node.ownership.loads import LoadMeter
from goverse_node.ownership.shutdown import Shutdown
from goverse_node.ownership.situation import PlanLimits
from goverse_node.stalls import watch_for_stalls
from goverse_node.stores.metered import MeteredStore
from goverse_node.stores.postgres.store import PostgresStore

logger = logging.getLogger("goverse.node")


@dataclass(frozen=True, slots=True)
class ServingNode:
    """A node that accepts calls: its name, its addresses, and the keeper of its shards."""

    id: str
    address: str
    admin: str
    keeper: Keeper


async def serve_node(
    application: Application,
    values: Settings,
    *,
    started: Callable[[ServingNode], None],
    stop: asyncio.Future[Shutdown],
) -> None:
    """Serve the objects of ``application`` as a node of the cluster until ``stop`` is set to a shutdown mode.

    Raises:
        StartFailed: an @on_start function failed.
        ConfigError: the settings contradict each other or those of the cluster.
        Unavailable: etcd or PostgreSQL does not respond.
        StoreError: the database does not have the schema of this release.
    """
    check_listen(values)
    keep_within(values)
    registry = with_settings(application, values).registry
    catalog = describe(registry)
    hello = Hello(kind="node", id=values.node.id, incarnation=new_incarnation())
    async with AsyncExitStack() as undo:
        listener = undo.enter_context(listen(values.cluster.admin_listen))
        opened = await _open_store(values, undo)
        store, certificates = opened.store, opened.certificates
        seen = await _follow(values, hello, opened, undo)
        member = _member(values, hello, listener)
        keeper = _keeper(values, member, seen, opened, catalog)
        node = Node(registry, store, options=node_options(values), shard_access=keeper, memory=Resources().memory)
        served = WireStats()
        wires = WireMetrics(out=seen.links, **{"in": served}), TlsMetrics(certificates.links)
        metrics = node_metrics(node, keeper, seen.router, seen.coordinator, store, *wires)
        report = partial(node_report, node, keeper)
        await _administer(AdminServer(metrics, report, listener, _access(values)), undo)
        server = _link_server(node, hello, _bounds(values, catalog), certificates, served)
        if not await start_hooks(application, values, undo, stop):
            return
        await _start(node, seen.router, server, values, undo)
        _take_shards(node, keeper, undo)
        started(ServingNode(member.id, member.address, member.admin, keeper))
        await _leave(keeper, await stop, values)


def _link_server(
    node: Node, hello: Hello, bounds: WireOptions, certificates: Certificates, stats: WireStats
) -> LinkServer:
    return LinkServer(node, hello, options=bounds, credentials=certificates.into, roles=certificates.roles, stats=stats)


def _take_shards(node: Node, keeper: Keeper, undo: AsyncExitStack) -> None:
    keeper.start(node.evacuation, LoadMeter(node, Resources()), node.dispatcher)
    undo.push_async_callback(keeper.stop)
    calm_collector()


async def _administer(admin: AdminServer, undo: AsyncExitStack) -> None:
    await admin.start()
    undo.push_async_callback(admin.stop)


class _Opened(NamedTuple):
    """The store, with and without the wrapper that counts its operations, and the node's certificates.

    ``base`` is the number of shards that the cluster was created with.
    """

    postgres: PostgresStore
    store: MeteredStore
    certificates: Certificates
    base: int


async def _open_store(values: Settings, undo: AsyncExitStack) -> _Opened:
    """Read all certificates, and open the store."""
    postgres = PostgresStore(postgres_of(values), owner=values.node.id)
    certificates = Certificates.of_node(values, postgres.certificates)
    certificates.follow(undo)
    store = MeteredStore(postgres)
    await store.open()
    undo.push_async_callback(store.close)
    base = await postgres.join(values.cluster.name, values.cluster.shards)
    return _Opened(postgres, store, certificates, base)


def _keeper(values: Settings, member: Member, seen: _Seen, opened: _Opened, catalog: Catalog) -> Keeper:
    """Return the keeper of the node's shards. It claims them again if the database lost acknowledged commits."""
    keeper = Keeper(
        member,
        seen.watch,
        seen.coordinator,
        opened.store,
        table=seen.router.table,
        lease_ttl_s=values.cluster.lease_ttl_s,
        catalog=catalog,
        leader_limits=LeaderLimits(plan=PlanLimits(quorum=values.cluster.nodes_min)),
    )
    opened.postgres.on_reverted = keeper.reclaim
    return keeper


def _access(values: Settings) -> GateOptions:
    """Return the access options of the node's administration."""
    return gate_options(values, cluster_admin_token(values))


def _bounds(values: Settings, catalog: Catalog) -> WireOptions:
    """Return the limits on incoming streams. A method may declare a longer timeout than the settings allow."""
    declared = (method.timeout_s or 0.0 for described in catalog.values() for method in described.methods.values())
    return replace(
        values.wire.options(values.node.inflight_calls_max),
        outside_body_bytes_max=values.gate.body_bytes_max,
        call_timeout_s_max=max(values.node.call_timeout_s_max, *declared, 0.0),
    )


def _member(values: Settings, hello: Hello, listener: socket.socket) -> Member:
    """Return the entry that the node registers in etcd."""
    cluster = values.cluster
    address = cluster.advertise or cluster.listen
    host, port = listener.getsockname()[:2]
    if ip_address(host).is_unspecified:
        host = address.rpartition(":")[0].strip("[]")
    admin = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    return Member(
        hello.id,
        address,
        hello.incarnation,
        release(),
        weight=cluster.weight,
        admin=admin,
        tls=values.wire.tls_ca is not None,
    )


class _Seen(NamedTuple):
    """The parts that give this process its view of the cluster."""

    coordinator: MeteredCoordinator
    watch: ClusterWatch
    router: Router
    links: WireStats


async def _follow(
    values: Settings,
    hello: Hello,
    opened: _Opened,
    undo: AsyncExitStack,
) -> _Seen:
    """Read the cluster's state from etcd, and keep a router for calls between objects up to date with it."""
    coordinator, links = coordinator_of(values, opened.certificates.etcd), WireStats()
    undo.push_async_callback(coordinator.close)
    watch = ClusterWatch(coordinator, layout_of(values))
    router = router_of(values, hello, links, base=opened.base, security=opened.certificates.out)
    undo.push_async_callback(router.close)
    watch.add(router.follow)
    await watch.start(values.cluster.shards, opened.base)
    undo.push_async_callback(watch.stop)
    check_encryption(values, watch.view.nodes.values(), values.node.id)
    return _Seen(coordinator, watch, router, links)


async def _start(node: Node, router: Router, server: LinkServer, values: Settings, undo: AsyncExitStack) -> None:
    """Start the node and accept calls, from its own objects and from other processes."""
    undo.callback(watch_for_stalls())
    router.own = (values.node.id, node)
    node.calls = router
    await node.start()
    undo.push_async_callback(node.stop, values.gate.drain_timeout_s)
    await server.start(values.cluster.listen)
    undo.push_async_callback(server.drain, values.gate.drain_timeout_s)


async def _leave(keeper: Keeper, how: Shutdown, values: Settings) -> None:
    """Move the shards to other nodes, or give them up if that takes too long."""
    await asyncio.sleep(values.cluster.pre_stop_delay_s)
    timeout_s = values.gate.drain_timeout_s
    if not await keeper.leave(how, timeout_s) and how is Shutdown.GRACEFUL:
        logger.warning("some shards could not be moved to other nodes in time; giving them up")
        await keeper.leave(Shutdown.FINAL, timeout_s)
