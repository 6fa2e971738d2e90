"""One node, from settings to its end: the only place that names its parts.

connect to etcd and PostgreSQL → follow the cluster → start the node → take calls → register and claim → serve → give
the shards away → stop. Each step that succeeded is undone in reverse order.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from goverse.cluster.member import Member
from goverse.objects.application import Application
from goverse.objects.describe import describe
from goverse.routing.cluster_watch import ClusterWatch
from goverse.routing.router import NodeLink, Router
from goverse.settings import Settings
from goverse.wire.introduction import Introduction
from goverse.wire.link import GrpcLink
from goverse.wire.server import LinkServer
from goverse_cli.cluster.parts import coordinator_of, layout_of, new_incarnation, postgres_of
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
    incarnation, node_id, cluster = new_incarnation(), values.node.id, values.cluster
    registry = application.registry
    async with AsyncExitStack() as undo:
        store = PostgresStore(postgres_of(values), owner=node_id)
        await store.open()
        undo.push_async_callback(store.close)

        coordinator = coordinator_of(values)
        undo.push_async_callback(coordinator.close)
        watch = ClusterWatch(coordinator, layout_of(values))
        introduction = Introduction(kind="node", id=node_id, incarnation=incarnation)
        router = Router(
            lambda address: _connect(address, introduction),
            shard_count=cluster.shards,
            readonly=lambda type_name, method: registry.method(type_name, method).readonly,
            incarnation=incarnation,
        )
        undo.push_async_callback(router.close)
        watch.add(router.follow)
        await watch.start(cluster.shards)
        undo.push_async_callback(watch.stop)

        keeper = Keeper(
            Member(node_id, cluster.advertise or cluster.listen, incarnation, release(), weight=cluster.weight),
            watch,
            coordinator,
            store,
            table=router.table,
            lease_ttl_s=cluster.lease_ttl_s,
            catalog=describe(registry),
            leader_limits=LeaderLimits(plan=PlanLimits(quorum=cluster.nodes_min)),
        )
        node = Node(registry, store, options=node_options(values), tenure=keeper)
        router.own = (node_id, node)
        node.calls = router
        await node.start()
        undo.push_async_callback(node.stop, values.gate.drain_timeout_s)

        server = LinkServer(node, introduction)
        await server.start(cluster.listen)
        undo.push_async_callback(server.drain, values.gate.drain_timeout_s)

        keeper.start(node.evacuation)
        undo.push_async_callback(keeper.stop)
        started(ServingNode(node_id, cluster.advertise or cluster.listen, keeper))
        how = await stop
        await asyncio.sleep(cluster.pre_stop_delay_s)
        if not await keeper.leave(how, values.gate.drain_timeout_s) and how is Shutdown.GRACEFUL:
            logger.warning("not every shard found another node in time; they are given up")
            await keeper.leave(Shutdown.FINAL, values.gate.drain_timeout_s)


def _connect(address: str, introduction: Introduction) -> NodeLink:
    link = GrpcLink(address, introduction)
    link.start()
    return link
