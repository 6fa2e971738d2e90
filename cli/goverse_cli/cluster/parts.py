"""Parts that gates and nodes of a cluster share, built from the settings. This module does not import a node's code."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from ipaddress import ip_address

from goverse.cluster.keys import KeyLayout
from goverse.cluster.member import Member
from goverse.errors import ConfigError
from goverse.etcd.coordinator import EtcdCoordinator
from goverse.routing.links import NodeLink
from goverse.routing.router import Router
from goverse.settings import Settings
from goverse.settings.sections import is_loopback
from goverse.telemetry.coordination import MeteredCoordinator
from goverse.tls.credentials import Credentials, LinkSecurity
from goverse.wire.handshake import Hello
from goverse.wire.link import GrpcLink
from goverse.wire.outgoing import Budget
from goverse.wire.stats import WireStats


def layout_of(values: Settings) -> KeyLayout:
    """Return the etcd key layout of the cluster.

    Raises:
        ConfigError: cluster.name cannot be part of a key, or cluster.shards is not a power of two.
    """
    shards = values.cluster.shards
    if shards & (shards - 1):
        raise ConfigError(f"cluster.shards is {shards}; it must be a power of two", setting="cluster.shards")
    return KeyLayout(values.cluster.name)


def coordinator_of(values: Settings, credentials: Credentials | None = None) -> MeteredCoordinator:
    """Return a metered etcd client. It connects on its first request.

    Raises:
        ConfigError: the settings contradict each other.
    """
    return MeteredCoordinator(EtcdCoordinator(values.etcd.options(), credentials=credentials))


def check_encryption(values: Settings, nodes: Iterable[Member], name: str = "") -> None:
    """Check that this process and the registered ``nodes`` agree on encryption; ``name`` is this node's own, if any.

    Raises:
        ConfigError: the streams of a node are encrypted and those of this process are not, or the reverse.
    """
    encrypted = values.wire.tls_ca is not None
    for node in nodes:
        if node.id != name and node.tls is not None and node.tls is not encrypted:
            theirs, ours = ("encrypted", "plain") if node.tls else ("plain", "encrypted")
            raise ConfigError(
                f"streams of node {node.id!r} are {theirs} and those of this process are {ours}: all nodes and gates "
                "of a cluster must use the same wire.tls_… settings. To change them, stop all gates and nodes first; a "
                "killed node counts until its lease expires. For a separate cluster, set another cluster.name and "
                "database.",
                setting="wire.tls_ca",
            )


def check_listen(values: Settings) -> None:
    """Check that the node's port is encrypted or local, and that its advertised address can be used by other processes.

    Any client that can connect to a node's port can call every object, without the access checks of a gate.

    Raises:
        ConfigError: names the setting to change.
    """
    cluster, wire = values.cluster, values.wire
    host, _ = _host_and_port(cluster.listen, "cluster.listen")
    if not is_loopback(host) and wire.tls_ca is None and not wire.allow_plaintext_remote:
        raise ConfigError(
            f"cluster.listen is {cluster.listen}, which other machines can reach, and streams are not encrypted; set "
            "wire.tls_ca, wire.tls_cert and wire.tls_key, or listen on 127.0.0.1, or, on a trusted network, set "
            "wire.allow_plaintext_remote to true",
            setting="wire.allow_plaintext_remote",
        )
    advertised = cluster.advertise or cluster.listen
    host, port = _host_and_port(advertised, "cluster.advertise" if cluster.advertise else "cluster.listen")
    if not host or _is_unspecified(host) or not 1 <= port <= 65_535:
        raise ConfigError(
            f"other processes cannot reach the node at {advertised}; set cluster.advertise to an address of this node "
            "that they can reach, for example 10.0.0.11:7400",
            setting="cluster.advertise",
        )


def _host_and_port(address: str, setting: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal():
        raise ConfigError(
            f"{setting} is {address!r}; it needs a host and a port, for example 10.0.0.11:7400", setting=setting
        )
    return host.removeprefix("[").removesuffix("]"), int(port)


def _is_unspecified(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False


def new_incarnation() -> str:
    """Return a random, unique id for this run of the process."""
    return secrets.token_hex(8)


def router_of(
    values: Settings,
    hello: Hello,
    stats: WireStats,
    *,
    base: int | None = None,
    security: LinkSecurity | None = None,
) -> Router:
    """Return a router that connects to nodes in the background and counts its traffic in ``stats``.

    ``base`` is the number of shards that the cluster was created with, if this process knows it.
    """
    requests_max = values.node.inflight_calls_max
    options, budget = values.wire.options(requests_max), Budget(requests_max)

    def connect(address: str) -> NodeLink:
        link = GrpcLink(
            address,
            hello,
            options=options,
            security=security,
            stats=stats,
            budget=budget,
            name_of=router.name_of,
        )
        link.start()
        return link

    router = Router(connect, shard_count=values.cluster.shards, base=base, incarnation=hello.incarnation)
    return router
