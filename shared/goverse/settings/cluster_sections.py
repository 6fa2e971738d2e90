"""The settings of a cluster: name and shards, etcd, PostgreSQL, and the streams between processes."""

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
        default="goverse", min_length=1, max_length=64, description="The cluster's name, part of every key in etcd."
    )
    shards: int = Field(
        default=limits.CLUSTER_SHARDS,
        ge=1,
        le=limits.CLUSTER_SHARDS_MAX,
        description="Number of shards, a power of two. All processes need the same value; fixed at the first start.",
    )
    lease_ttl_s: Annotated[float, Field(ge=2, le=300)] = Field(
        default=limits.LEASE_TTL_S,
        description="Time after which a silent process counts as dead; the shards of a dead node then move.",
    )
    listen: str = Field(
        default="127.0.0.1:7400", description="Address and port on which a node serves gates and other nodes."
    )
    advertise: str = Field(
        default="",
        description="Address and port at which other processes reach the node. Default: `listen`; for a node that "
        "listens on all addresses, `POD_IP` with its port.",
    )
    admin_listen: str = Field(
        default="",
        description="Address and port on which a node serves `/metrics`, `/healthz` and `/readyz` over HTTP. Default: "
        "`127.0.0.1:7480`, or another free loopback port if that one is in use; the node reports which.",
    )
    weight: Annotated[float, Field(gt=0, le=1_000)] = Field(
        default=1.0, description="Share of the shards that the node gets, relative to other nodes."
    )
    nodes_min: int = Field(default=1, ge=1, description="No shard is placed while there are fewer nodes.")
    pre_stop_delay_s: Annotated[float, Field(ge=0, le=300)] = Field(
        default=0.0,
        description="How long a stopping process reports that it is not ready, but still serves, before it stops.",
    )


class EtcdSettings(Section):
    """The etcd of the cluster, and the credentials for it."""

    endpoints: Words = Field(
        default=("http://127.0.0.1:2379",),
        description="All members, as `http://host:port` or `https://host:port`; any of them is used.",
    )
    namespace: str = Field(
        default="", max_length=256, description="Prefix of every key, for an etcd that other programs use as well."
    )
    username: str = Field(default="", description="User, if etcd requires one; with `password`.")
    password: SecretStr | None = Field(default=None, description="The user's password.")
    tls_ca: Directory | None = Field(
        default=None,
        description="PEM file with the authorities that sign etcd's certificates; by default those of the system are "
        "trusted.",
    )
    tls_cert: Directory | None = Field(
        default=None, description="PEM file with our client certificate; with `tls_key`."
    )
    tls_key: Directory | None = Field(default=None, description="PEM file with the private key of `tls_cert`.")
    operation_timeout_s: Seconds = Field(
        default=limits.ETCD_OPERATION_TIMEOUT_S,
        description="Timeout of one operation, including all attempts and members.",
    )

    def options(self) -> EtcdOptions:
        """Return the options of the etcd client.

        Raises:
            ConfigError: settings contradict each other.
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
    """The PostgreSQL database."""

    dsn: Annotated[str, AfterValidator(_check_data_source)] = Field(
        default="postgresql://goverse@127.0.0.1:5432/goverse",
        description="Data source name; it may name several hosts for failover.",
        repr=False,
    )
    password: SecretStr | None = Field(default=None, description="The user's password, if `dsn` holds none.")
    pool_max: Annotated[int, Field(ge=1, le=1_000)] = Field(
        default=4, description="Connections for reading; each node opens one more for commits."
    )
    connect_timeout_s: Seconds = Field(default=10.0, description="Timeout of connecting.")
    statement_timeout_s: Seconds = Field(default=30.0, description="Timeout of one statement.")
    changes_retention_days: Annotated[int, Field(ge=0, le=3_650)] = Field(
        default=7,
        description="Days for which the change feed is kept; older entries are dropped. 0 disables the feed.",
    )
    kept_replies_bytes_max: Annotated[ByteSize, Field(ge=64 * limits.MIB)] = Field(
        default=ByteSize(limits.KEPT_REPLIES_DISK_BYTES_MAX),
        description="Disk space for the responses kept for idempotency keys, measured every two minutes. Beyond it, "
        "new calls with a key get 429 `overloaded`; repeated ones still get their response.",
    )


class WireSettings(Section):
    """The streams between gates and nodes, and between nodes: their limits, and when a peer counts as dead."""

    inflight_max: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=limits.WIRE_INFLIGHT_MAX,
        description="Requests in progress on one stream; the lower limit of the two sides applies. Further requests "
        "get 429 `overloaded`.",
    )
    streams_max: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=limits.WIRE_STREAMS_MAX,
        description="Streams that a node serves; every gate and every other node opens one.",
    )
    message_bytes: Annotated[ByteSize, Field(ge=4 * limits.KIB, le=4 * limits.MIB)] = Field(
        default=ByteSize(limits.WIRE_MESSAGE_BYTES),
        description="Size at which a message is sent and the next one started.",
    )
    requests_bytes_max: Annotated[ByteSize, Field(ge=16 * limits.BODY_BYTES_MAX)] = Field(
        default=ByteSize(limits.WIRE_REQUESTS_BYTES_MAX),
        description="Total body size of the requests in progress on one stream.",
    )
    connect_timeout_s: Seconds = Field(
        default=limits.WIRE_CONNECT_TIMEOUT_S, description="Timeout of one attempt to open a stream."
    )
    backoff_s_max: Seconds = Field(
        default=limits.WIRE_BACKOFF_S_MAX, description="Longest pause between two attempts to open a stream."
    )
    keepalive_s: Annotated[float, Field(ge=0.1, le=300)] = Field(
        default=limits.WIRE_KEEPALIVE_S,
        description="Silence after which a peer is pinged. If it stays silent for as long again, it gets no new calls.",
    )
    silence_s_max: Annotated[float, Field(ge=0.2, le=600)] = Field(
        default=limits.WIRE_SILENCE_S_MAX,
        description="Silence after which a stream is closed. Set it below `cluster.lease_ttl_s`, above the longest "
        "pause of a process, and to at least twice `keepalive_s`.",
    )

    tls_ca: Directory | None = Field(
        default=None,
        description="PEM file with the authorities that sign the certificates of gates and nodes; with `tls_cert` and "
        "`tls_key`. Without these three files, streams are not encrypted.",
    )
    tls_cert: Directory | None = Field(
        default=None,
        description="PEM file with this process's certificate, and its intermediate certificates.",
    )
    tls_key: Directory | None = Field(
        default=None, description="PEM file with the private key of `tls_cert`, not encrypted."
    )
    allow_plaintext_remote: bool = Field(
        default=False,
        description="Allow a node to listen on an address that other machines can reach although streams are not "
        "encrypted and peers not authenticated. Only for a network that no one else can use.",
    )
    tls_name: str = Field(
        default="goverse-node",
        min_length=1,
        max_length=253,
        description="Name that a node's certificate must carry, regardless of the node's address. A peer without it is "
        "a gate, and cannot call handlers or send other requests that only nodes may send.",
    )
    tls_gate_name: str = Field(
        default="",
        max_length=253,
        description="Name that a gate's certificate must carry; nodes refuse other certificates. Empty: every "
        "certificate of `tls_ca` without `tls_name` is that of a gate.",
    )

    def tls_files(self, *, name: str = "", name_setting: str = "wire.tls_name") -> TlsFiles | None:
        """Return the certificate files, or None without encryption; our certificate must carry ``name``."""
        if self.tls_ca is None:
            return None
        return TlsFiles(
            link="wire",
            ca=named("wire.tls_ca", self.tls_ca),
            cert=named("wire.tls_cert", self.tls_cert),
            key=named("wire.tls_key", self.tls_key),
            name=name,
            name_setting=name_setting,
        )

    def options(self, requests_max: int) -> WireOptions:
        """Return the options of links and servers; ``requests_max`` limits the requests on all streams of a server."""
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
                "silence_s_max",
                "must be at least twice wire.keepalive_s, which is {asked}",
                asked=f"{self.keepalive_s:g}",
            )
        return self

    @model_validator(mode="after")
    def _mutual(self) -> Self:
        together("wire", tls_ca=self.tls_ca, tls_cert=self.tls_cert, tls_key=self.tls_key)
        return self

    @model_validator(mode="after")
    def _two_names(self) -> Self:
        if self.tls_gate_name.lower() == self.tls_name.lower():
            raise relation("tls_gate_name", "must differ from wire.tls_name, which is {node}", node=self.tls_name)
        return self
