"""The settings of a cluster: its name and shards, its etcd, its PostgreSQL, and how nodes are reached."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, ByteSize, Field, SecretStr, model_validator
from pydantic_core import PydanticCustomError

from goverse import limits
from goverse.errors import ConfigError
from goverse.etcd.options import Endpoint, EtcdOptions
from goverse.settings.data_source import DataSource
from goverse.settings.section import Directory, Seconds, Section, Words, relation, together
from goverse.tls.files import TlsFiles, named
from goverse.wire.options import WireOptions


class ClusterSettings(Section):
    """The cluster that a gate or node belongs to."""

    name: str = Field(
        default="goverse", min_length=1, max_length=64, description="Its name, part of every key in etcd."
    )
    shards: int = Field(
        default=limits.CLUSTER_SHARDS,
        ge=1,
        le=limits.CLUSTER_SHARDS_MAX,
        description="Number of shards, a power of two; the same in all processes, fixed when the cluster first starts.",
    )
    lease_ttl_s: Annotated[float, Field(ge=2, le=300)] = Field(
        default=limits.LEASE_TTL_S,
        description="How long a silent process keeps its place; the shards of a node that died move after this time.",
    )
    listen: str = Field(
        default="127.0.0.1:7400", description="Address and port on which a node takes calls from gates and other nodes."
    )
    advertise: str = Field(
        default="",
        description="Address and port under which others reach the node. Where it is empty: `listen`, and for a node "
        "that listens on all addresses `POD_IP` with its port.",
    )
    admin_listen: str = Field(
        default="",
        description="Address and port on which a node serves `/metrics`, `/healthz` and `/readyz` over HTTP; empty "
        "takes `127.0.0.1:7480`, or another port of this machine where that one is taken, and says which.",
    )
    weight: Annotated[float, Field(gt=0, le=1_000)] = Field(
        default=1.0, description="How many shards the node takes, compared with others."
    )
    nodes_min: int = Field(default=1, ge=1, description="With fewer nodes no shard is placed.")
    pre_stop_delay_s: Annotated[float, Field(ge=0, le=300)] = Field(
        default=0.0, description="How long a stopping process is not ready, and serves on, before it begins to stop."
    )


class EtcdSettings(Section):
    """Where etcd is, and who we are there."""

    endpoints: Words = Field(
        default=("http://127.0.0.1:2379",),
        description="All members, as `http://host:port` or `https://host:port`; any of them will do.",
    )
    namespace: str = Field(
        default="", max_length=256, description="What every key begins with, where an etcd is shared."
    )
    username: str = Field(default="", description="User, where etcd asks for one; with `password`.")
    password: SecretStr | None = Field(default=None, description="The user's password.")
    tls_ca: Directory | None = Field(
        default=None,
        description="File with the authorities that sign etcd's certificates, in PEM form; none trusts those of the "
        "system.",
    )
    tls_cert: Directory | None = Field(
        default=None, description="File with the certificate to show, in PEM form; with `tls_key`."
    )
    tls_key: Directory | None = Field(default=None, description="File with the certificate's key, in PEM form.")
    operation_timeout_s: Seconds = Field(
        default=limits.ETCD_OPERATION_TIMEOUT_S,
        description="Longest time of one operation, over all attempts and members.",
    )

    def options(self) -> EtcdOptions:
        """Return what the client takes.

        Raises:
            ConfigError: settings that do not go together.
        """
        return EtcdOptions(
            endpoints=tuple(map(Endpoint.parse, self.endpoints)),
            namespace=self.namespace,
            username=self.username,
            password=self.password.get_secret_value() if self.password else "",
            tls_ca=self.tls_ca,
            tls_cert=self.tls_cert,
            tls_key=self.tls_key,
            operation_timeout_s=self.operation_timeout_s,
        )

    @model_validator(mode="after")
    def _make_options(self) -> Self:
        try:
            self.options()
        except ConfigError as error:
            setting = str(error.extra["setting"]).rpartition(".")[2]
            raise relation(setting, "{reason}", reason=error.detail) from error
        return self


def _check_data_source(value: str) -> str:
    try:
        DataSource.parse(value)
    except ConfigError as error:
        reason = error.detail.partition(": ")[2]
        raise PydanticCustomError("data_source", "{reason}", {"reason": reason}) from None
    return value


class PostgresSettings(Section):
    """Where PostgreSQL is."""

    dsn: Annotated[str, AfterValidator(_check_data_source)] = Field(
        default="postgresql://goverse@127.0.0.1:5432/goverse",
        description="Data source name; several hosts may be named for a failover.",
        repr=False,
    )
    password: SecretStr | None = Field(default=None, description="The user's password, where the name holds none.")
    pool_max: Annotated[int, Field(ge=1, le=1_000)] = Field(
        default=4, description="Connections for reading; each node has one more for commits."
    )
    connect_timeout_s: Seconds = Field(default=10.0, description="Longest time to connect.")
    statement_timeout_s: Seconds = Field(default=30.0, description="Longest time of one statement.")
    changes_retention_days: Annotated[int, Field(ge=0, le=3_650)] = Field(
        default=7,
        description="Whole days for which the change feed is kept; what is older is dropped. 0 switches the feed off.",
    )
    kept_replies_bytes_max: Annotated[ByteSize, Field(ge=64 * limits.MIB)] = Field(
        default=ByteSize(limits.KEPT_REPLIES_DISK_BYTES_MAX),
        description="Disk of the answers kept for idempotency keys, measured every two minutes; beyond it new calls "
        "with a key get 429 `overloaded`, repetitions are answered.",
    )


class WireSettings(Section):
    """The streams between gates and nodes, and between nodes: what they may hold, and when a peer counts as dead."""

    inflight_max: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=limits.WIRE_INFLIGHT_MAX,
        description="Requests under way on one stream; the smaller value of its two sides counts. Further ones get 429 "
        "`overloaded`.",
    )
    streams_max: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=limits.WIRE_STREAMS_MAX, description="Streams that a node serves: one for each gate and other node."
    )
    message_bytes: Annotated[ByteSize, Field(ge=4 * limits.KIB, le=4 * limits.MIB)] = Field(
        default=ByteSize(limits.WIRE_MESSAGE_BYTES),
        description="Size at which a message leaves and the next one is begun.",
    )
    requests_bytes_max: Annotated[ByteSize, Field(ge=16 * limits.BODY_BYTES_MAX)] = Field(
        default=ByteSize(limits.WIRE_REQUESTS_BYTES_MAX),
        description="Bodies of the requests under way on one stream.",
    )
    connect_timeout_s: Seconds = Field(
        default=limits.WIRE_CONNECT_TIMEOUT_S, description="Longest time of one attempt to open a stream."
    )
    backoff_s_max: Seconds = Field(
        default=limits.WIRE_BACKOFF_S_MAX, description="Longest pause between two attempts to open a stream."
    )
    keepalive_s: Annotated[float, Field(ge=0.1, le=300)] = Field(
        default=limits.WIRE_KEEPALIVE_S,
        description="Silence after which a peer is asked for a sign of life; after as long again it gets no new calls.",
    )
    silence_s_max: Annotated[float, Field(ge=0.2, le=600)] = Field(
        default=limits.WIRE_SILENCE_S_MAX,
        description="Silence after which a stream is given up; best below `cluster.lease_ttl_s` and above the longest "
        "pause of a process, at least twice `keepalive_s`.",
    )

    tls_ca: Directory | None = Field(
        default=None,
        description="File with the authorities that sign the certificates of gates and nodes, in PEM form; with "
        "`tls_cert` and `tls_key`. Without the three, streams are not encrypted.",
    )
    tls_cert: Directory | None = Field(
        default=None,
        description="File with this process's certificate, and those between it and its authority, in PEM form.",
    )
    tls_key: Directory | None = Field(
        default=None, description="File with the certificate's key, in PEM form, not encrypted."
    )
    allow_plaintext_remote: bool = Field(
        default=False,
        description="Let a node listen on an address that other machines reach although streams are not encrypted and "
        "peers not authenticated; only for a network that nothing else can use.",
    )
    tls_name: str = Field(
        default="goverse-node",
        min_length=1,
        max_length=253,
        description="Name that the certificate of a node has to carry, whatever address it is reached at.",
    )

    def tls_files(self, *, name: str = "") -> TlsFiles | None:
        """Return where the certificates are, if streams are encrypted; ours has to carry ``name``."""
        if self.tls_ca is None:
            return None
        return TlsFiles(
            link="wire",
            ca=named("wire.tls_ca", self.tls_ca),
            cert=named("wire.tls_cert", self.tls_cert),
            key=named("wire.tls_key", self.tls_key),
            name=name,
        )

    def options(self, requests_max: int) -> WireOptions:
        """Return what links and servers take; ``requests_max`` bounds the requests on all streams of a server."""
        return WireOptions(
            inflight_max=self.inflight_max,
            inflight_total_max=requests_max,
            streams_max=self.streams_max,
            message_bytes=self.message_bytes,
            requests_bytes_max=self.requests_bytes_max,
            connect_timeout_s=self.connect_timeout_s,
            backoff_s_max=self.backoff_s_max,
            keepalive_s=self.keepalive_s,
            silence_s_max=self.silence_s_max,
        )

    @model_validator(mode="after")
    def _asks_in_time(self) -> Self:
        if self.silence_s_max < 2 * self.keepalive_s:
            raise relation(
                "silence_s_max", "less than twice wire.keepalive_s, which is {asked}", asked=f"{self.keepalive_s:g}"
            )
        return self

    @model_validator(mode="after")
    def _mutual(self) -> Self:
        together("wire", tls_ca=self.tls_ca, tls_cert=self.tls_cert, tls_key=self.tls_key)
        return self
