"""What the processes of a cluster share, made from the settings; a gate has this without a node's code."""

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
from goverse.wire.credentials import Credentials, LinkSecurity
from goverse.wire.handshake import Hello
from goverse.wire.link import GrpcLink
from goverse.wire.outgoing import Budget
from goverse.wire.stats import WireStats


def layout_of(values: Settings) -> KeyLayout:
    """Return the keys of the cluster.

    Raises:
        ConfigError: its name cannot be part of a key, or the number of shards is no power of two.
    """
    shards = values.cluster.shards
    if shards & (shards - 1):
        raise ConfigError(f"cluster.shards is {shards}; it has to be a power of two", setting="cluster.shards")
    return KeyLayout(values.cluster.name)


def coordinator_of(values: Settings, credentials: Credentials | None = None) -> MeteredCoordinator:
    """Return the client of etcd, which counts; it connects when it is first asked.

    Raises:
        ConfigError: the settings do not fit together.
    """
    return MeteredCoordinator(EtcdCoordinator(values.etcd.options(), credentials=credentials))


def check_encryption(values: Settings, nodes: Iterable[Member], name: str = "") -> None:
    """Make sure that this process, a node if it has a ``name``, and the nodes that are there can speak with each other.

    Raises:
        ConfigError: they encrypt what this process does not, or the other way round.
    """
    encrypted = values.wire.tls_ca is not None
    for node in nodes:
        if node.id != name and node.tls is not None and node.tls is not encrypted:
            theirs, ours = ("encrypted", "plain") if node.tls else ("plain", "encrypted")
            raise ConfigError(
                f"streams of node {node.id!r} are {theirs} and those of this process are {ours}: all nodes and gates "
                "of a cluster need wire.tls_… alike. To change that, end all of them first; one that was killed counts "
                "until its lease ends. For a cluster of its own, set another cluster.name and database.",
                setting="wire.tls_ca",
            )


def check_listen(values: Settings) -> None:
    """Refuse a node whose port other machines reach without TLS, and one that would tell them an unusable address.

    A client that reaches a node's port can call every object without the checks of a gate.

    Raises:
        ConfigError: names the setting that is missing.
    """
    cluster, wire = values.cluster, values.wire
    host, _ = _host_and_port(cluster.listen, "cluster.listen")
    if not is_loopback(host) and wire.tls_ca is None and not wire.allow_plaintext_remote:
        raise ConfigError(
            f"cluster.listen is {cluster.listen}, which other machines can reach, and streams are not encrypted; set "
            "wire.tls_ca, wire.tls_cert and wire.tls_key, or listen on 127.0.0.1, or set wire.allow_plaintext_remote "
            "to true if nothing else can use the network",
            setting="wire.allow_plaintext_remote",
        )
    advertised = cluster.advertise or cluster.listen
    host, port = _host_and_port(advertised, "cluster.advertise" if cluster.advertise else "cluster.listen")
    if not host or _is_unspecified(host) or not 1 <= port <= 65_535:
        raise ConfigError(
            f"other processes cannot reach the node at {advertised}; set cluster.advertise to a host and port of this "
            "node that they can reach, for example 10.0.0.11:7400",
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
    """Return a name for this process that no other one ever has."""
    return secrets.token_hex(8)


def router_of(
    values: Settings,
    hello: Hello,
    stats: WireStats,
    *,
    security: LinkSecurity | None = None,
) -> Router:
    """Return a router that connects to nodes in the background, and counts in ``stats``."""
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

    router = Router(connect, shard_count=values.cluster.shards, incarnation=hello.incarnation)
    return router
