"""One server process of ``goverse dev``, from start to stop. This module alone names its concrete parts.

    open the store → run @on_start → start the node → start the gate → serve → drain → stop

One exit stack undoes the steps that succeeded, in reverse order: the gate stops accepting requests and finishes the
running ones, the node passivates and commits, @on_stop runs, and the store closes its files and releases its lock.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping, Set
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple

from goverse.model.catalog import Catalog
from goverse.objects.application import Application
from goverse.objects.describe import describe
from goverse.objects.registry import Registry
from goverse.settings import EffectiveSettings, Settings
from goverse.telemetry.resources import Resources
from goverse_cli.administration import WalAdministration
from goverse_cli.allotment import keep_within
from goverse_cli.cluster.gate_telemetry import registry_of
from goverse_cli.collector import calm_collector
from goverse_cli.gate_options import admin_token_file, gate_options
from goverse_cli.hooks import start_hooks
from goverse_cli.listener import url_of
from goverse_cli.node_options import call_retention_of, node_options
from goverse_cli.served_types import with_settings
from goverse_cli.version import release
from goverse_gate.admin_access import token_in
from goverse_gate.app import create_app
from goverse_gate.openapi.document import ApiDocument
from goverse_gate.options import GateOptions
from goverse_gate.server import GateServer
from goverse_node.metrics import NodeMetrics
from goverse_node.node import Node
from goverse_node.stalls import watch_for_stalls
from goverse_node.stores.kept import KeptBounds
from goverse_node.stores.memory import MemoryStore
from goverse_node.stores.wal.metrics import WalMetrics
from goverse_node.stores.wal.store import WalStore


@dataclass(frozen=True, slots=True)
class Running:
    """A server that is ready.

    Attributes:
        url: its base URL.
        catalog: the served object types.
        document: its OpenAPI document.
        created_first: types whose objects need an explicit create before the first call.
    """

    url: str
    catalog: Catalog
    document: Mapping[str, Any]
    created_first: Set[str]


class Prepared(NamedTuple):
    """The parts of a server that depend on the code of its application alone.

    Attributes:
        application: the application as it is served.
        catalog: its object types.
        described: the API document of these types.
    """

    application: Application
    catalog: Catalog
    described: ApiDocument


def prepared(application: Application, values: Settings) -> Prepared:
    """Build everything that depends on the code of an application alone.

    ``goverse dev`` calls this while the old code still serves, so code that cannot be served replaces nothing.

    Raises:
        ConfigError: a setting names an object type that the application does not have.
        DefinitionError: the API document cannot describe a type.
    """
    served = with_settings(application, values)
    catalog = describe(served.registry)
    return Prepared(served, catalog, ApiDocument(catalog))


async def serve(
    ready: Prepared,
    settings: EffectiveSettings[Settings],
    *,
    listener: socket.socket,
    started: Callable[[Running], None],
    stop: asyncio.Event,
    supervisor: int | None = None,
) -> None:
    """Serve what ``prepared`` returned on ``listener`` until ``stop`` is set.

    ``started`` is called as soon as the server accepts requests. ``supervisor`` is the process that would start
    this one again, and has to be stopped with it.

    Raises:
        ConfigError: an option is invalid.
        StartFailed: an @on_start function of the application failed.
        StoreError: the data directory cannot be used, for example because it is damaged.
    """
    (application, catalog, described), values = ready, settings.values
    keep_within(values)
    async with AsyncExitStack() as undo:
        store = await _open_store(values, undo, supervisor)
        stopped = asyncio.create_task(stop.wait())
        undo.callback(stopped.cancel)
        if not await start_hooks(application, values, undo, stopped):
            return
        node = Node(
            application.registry,
            store,
            options=node_options(values),
            memory=Resources().memory,
            interrupted=store.interrupted,
        )
        await node.start()
        undo.push_async_callback(node.stop, values.gate.drain_timeout_s)
        undo.callback(watch_for_stalls())
        metrics = registry_of(NodeMetrics(node), WalMetrics(store))
        options = gate_options(values, token_in(admin_token_file(values, values.wal.data_dir)))
        administration = WalAdministration(node, store, values.wal.data_dir)
        app = create_app(
            node,
            catalog,
            options,
            registry=metrics,
            administration=administration,
            config=settings.shown,
            described=described,
        )
        server = GateServer(app, options, sockets=[listener])
        await server.start()
        undo.push_async_callback(server.stop)
        calm_collector()
        created_first = {spec.name for spec in application.registry if not spec.policy.creates_on_call}
        started(Running(url_of(listener), catalog, app.openapi(), created_first))
        await stopped


def api_document(registry: Registry) -> dict[str, Any]:
    """Return the OpenAPI document of an application, without serving it."""
    return create_app(Node(registry, MemoryStore()), describe(registry), GateOptions(release=release())).openapi()


async def _open_store(values: Settings, undo: AsyncExitStack, supervisor: int | None) -> WalStore:
    wal, node = values.wal, values.node
    store = WalStore(
        wal.data_dir,
        kept=KeptBounds(node.kept_replies_bytes_max, node.kept_replies_object_bytes_max),
        segment_bytes=wal.segment_bytes,
        snapshot_bytes=wal.snapshot_bytes,
        snapshots_kept=wal.snapshots_kept,
        call_retention=call_retention_of(values),
        process=supervisor,
    )
    await store.open()
    undo.push_async_callback(store.close)
    return store
