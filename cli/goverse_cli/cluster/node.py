"""One node, from settings to its end: the only place that names its parts.

connect to etcd and PostgreSQL → follow the cluster → start the node → take calls → register and claim → serve → give
the shards away → stop. Each step that succeeded is undone in reverse order.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import NamedTuple

from goverse.cluster.member import Member
from goverse.objects.application import Application
from goverse.objects.describe import describe
from goverse.objects.registry import Registry
from goverse.ports.coordinator import Coordinator
from goverse.routing.cluster_watch import ClusterWatch
from goverse.routing.router import Router
from goverse.settings import Settings
from goverse.wire.introduction import Introduction
from goverse.wire.server import LinkServer
from goverse_cli.cluster.parts import connect, coordinator_of, layout_of, new_incarnation, postgres_of
from goverse_cli.serve import node_options
from goverse_cli.version import release
from goverse_node.node import Node
from goverse_node.ownership.keeper import Keeper
from goverse_node.ownership.leader import LeaderLimits
from goverse_node.ownership.ownership import Shutdown
from goverse_node.ownership.situation import PlanLimits
from goverse_node.stores.postgres.store import PostgresStore

logger = logging.getLogger("goverse.node")


@dataclass(frozen=True, slots=True)
class ServingNode:
    """A node that takes calls: its name and address, and what knows how much of its share it has."""

    id: str
    address: str
    keeper: Keeper


async def serve_node(
    application: Application,
    values: Settings,
    *,
    started: Callable[[ServingNode], None],
    stop: asyncio.Future[Shutdown],
) -> None:
    """Serve the objects of ``application`` as a node of the cluster until ``stop`` says how to leave.

    Raises:
        ConfigError: the settings do not fit together, or the cluster's.
        Unavailable: etcd or PostgreSQL does not answer.
        StoreError: the database has not the schema of this release.
    """
    cluster, registry = values.cluster, application.registry
    introduction = Introduction(kind="node", id=values.node.id, incarnation=new_incarnation())
    address = cluster.advertise or cluster.listen
    async with AsyncExitStack() as undo:
        store = PostgresStore(postgres_of(values), owner=values.node.id)
        await store.open()
        undo.push_async_callback(store.close)
        seen = await _follow(values, registry, introduction, undo)
        member = Member(introduction.id, address, introduction.incarnation, release(), weight=cluster.weight)
        keeper = Keeper(
            member,
            seen.watch,
            seen.coordinator,
            store,
            table=seen.router.table,
            lease_ttl_s=cluster.lease_ttl_s,
            catalog=describe(registry),
            leader_limits=LeaderLimits(plan=PlanLimits(quorum=cluster.nodes_min)),
        )
        options = replace(node_options(values), shard_count=cluster.shards)
        node = Node(registry, store, options=options, tenure=keeper)
        await _start(node, seen.router, LinkServer(node, introduction), values, undo)
        keeper.start(node.evacuation)
        undo.push_async_callback(keeper.stop)
        started(ServingNode(introduction.id, address, keeper))
        await _leave(keeper, await stop, values)


class _Seen(NamedTuple):
    """The cluster as this process sees it."""

    coordinator: Coordinator
    watch: ClusterWatch
    router: Router


async def _follow(values: Settings, registry: Registry, introduction: Introduction, undo: AsyncExitStack) -> _Seen:
    """Read what etcd says, and follow it with a router for calls between objects."""
    coordinator = coordinator_of(values)
    undo.push_async_callback(coordinator.close)
    watch = ClusterWatch(coordinator, layout_of(values))
    router = Router(
        lambda address: connect(address, introduction),
        shard_count=values.cluster.shards,
        readonly=lambda type_name, method: registry.method(type_name, method).readonly,
        incarnation=introduction.incarnation,
    )
    undo.push_async_callback(router.close)
    watch.add(router.follow)
    await watch.start(values.cluster.shards)
    undo.push_async_callback(watch.stop)
    return _Seen(coordinator, watch, router)


async def _start(node: Node, router: Router, server: LinkServer, values: Settings, undo: AsyncExitStack) -> None:
    """Take calls: from objects of this node, and from outside."""
    router.own = (values.node.id, node)
    node.calls = router
    await node.start()
    undo.push_async_callback(node.stop, values.gate.drain_timeout_s)
    await server.start(values.cluster.listen)
    undo.push_async_callback(server.drain, values.gate.drain_timeout_s)


async def _leave(keeper: Keeper, how: Shutdown, values: Settings) -> None:
    """Give the shards away, or up where nobody takes them in time."""
    await asyncio.sleep(values.cluster.pre_stop_delay_s)
    timeout_s = values.gate.drain_timeout_s
    if not await keeper.leave(how, timeout_s) and how is Shutdown.GRACEFUL:
        logger.warning("not every shard found another node in time; they are given up")
        await keeper.leave(Shutdown.FINAL, timeout_s)
