"""The settings models, one for each section.

Rules for a new setting: its name ends in the unit, its default comes from ``goverse.limits``, it has bounds, and its
description says what happens, not what the name says already. The reference page and ``goverse config generate`` are
made from these models.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, ByteSize, Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from goverse import limits
from goverse.errors import MalformedRequest
from goverse.model.keys import check_namespace
from goverse.objects.policy import Who
from goverse.objects.registry import AccessRule
from goverse.settings.cluster_sections import ClusterSettings, EtcdSettings, PostgresSettings, WireSettings
from goverse.settings.section import Directory, Seconds, Section, Words, relation, together
from goverse.tls.files import TlsFiles, named

# A segment must hold any single record, with a margin.
_SEGMENT_BYTES_MIN = 2 * (limits.STATE_BYTES_MAX + limits.RESULT_BYTES_MAX)


Retention = Annotated[float, Field(ge=0, le=limits.CALLS_RETENTION_S_MAX)]
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _node_id(value: str) -> str:
    try:
        return check_namespace(value)
    except MalformedRequest as error:
        raise ValueError("use letters, digits, '.', '_' or '-', beginning with a letter or digit") from error


def is_loopback(host: str) -> bool:
    """True if a server that listens on ``host`` can only be reached from this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _header_names(names: tuple[str, ...]) -> tuple[str, ...]:
    wrong = [name for name in names if _HEADER_NAME.fullmatch(name) is None]
    if wrong:
        raise ValueError(f"{wrong[0]!r} is not a valid header name")
    return names


HeaderNames = Annotated[Words, AfterValidator(_header_names)]


class GateSettings(Section):
    """The HTTP server: where it listens, which clients it accepts, and its limits."""

    host: str = Field(default="127.0.0.1", min_length=1, description="Address or host name to listen on.")
    port: int = Field(default=8000, ge=0, le=65_535, description="TCP port; 0 takes a free port and reports it.")
    tls_cert: Directory | None = Field(
        default=None,
        description="PEM file with the server's certificate and its intermediate certificates; with `tls_key`. Without "
        "both files the gate serves plain HTTP.",
    )
    tls_key: Directory | None = Field(
        default=None, description="PEM file with the private key of `tls_cert`, not encrypted."
    )
    tls_client_ca: Directory | None = Field(
        default=None,
        description="PEM file with authorities; clients must then show a certificate signed by one of them.",
    )
    allow_unauthenticated_remote: bool = Field(
        default=False,
        description="Accept requests from other machines although callers are not authenticated; required for a `host` "
        "that is not loopback.",
    )
    admin_token_file: Directory | None = Field(
        default=None,
        description="File with the secret for `/admin` (`Authorization: Bearer ...`), also of a node; created at the "
        "start if missing. Without it, a server with an embedded store uses `admin.token` in its data directory, and "
        "gates and nodes of a cluster refuse `/admin`.",
    )
    allow_local_admin: bool = Field(
        default=False,
        description="Serve `/admin` to programs on this machine without the admin token. Leave it off behind a proxy "
        "or a service mesh on the same host, because its clients appear to be local.",
    )
    allow_remote_admin: bool = Field(
        default=False,
        description="Accept `/admin` requests from other machines and through proxies; the admin token is required.",
    )
    allowed_hosts: Words = Field(
        default=(),
        description="Host names accepted in the `Host` header, without port. Default: `localhost`, `127.0.0.1`, "
        "`[::1]` and `host`. `*` accepts any.",
    )
    allowed_origins: Words = Field(
        default=(),
        description="Web origins, like `https://shop.example`, whose pages may call; the server's own origin is always "
        "allowed. `*` allows any.",
    )
    allowed_headers: HeaderNames = Field(
        default=(),
        description="Additional request headers that pages of `allowed_origins` may send, like "
        "`X-Requested-With, sentry-trace`. The headers of the API are always allowed.",
    )
    web_dir: Directory | None = Field(
        default=None,
        description="Folder of static files to serve at `/`; by default the API documentation is served there.",
    )
    access_log: Literal["off", "errors", "all"] = Field(
        default="errors",
        description="Requests to log: `off`, `all`, or `errors` (server errors, and requests that a correct client "
        "does not send). Business errors, reads of missing objects and lost races do not count as errors.",
    )
    body_bytes_max: Annotated[ByteSize, Field(ge=1_024, le=limits.STATE_BYTES_MAX)] = Field(
        default=ByteSize(limits.BODY_BYTES_MAX),
        description="Largest request body; larger ones get 413 `too_large`.",
    )
    body_read_timeout_s: Seconds = Field(
        default=limits.BODY_READ_TIMEOUT_S, description="Time that a client has to send a request body."
    )
    bodies_bytes_max: Annotated[ByteSize, Field(ge=limits.STATE_BYTES_MAX)] = Field(
        default=ByteSize(limits.BODIES_BYTES_MAX),
        description="Total size of request bodies over 4 KiB whose requests are not answered yet, and of waiting "
        "pipelined requests. Beyond it, requests get 429 `overloaded`. The default is at most a quarter of a "
        "container's memory.",
    )
    answers_bytes_max: Annotated[ByteSize, Field(ge=limits.RESULT_BYTES_MAX)] = Field(
        default=ByteSize(limits.ANSWERS_BYTES_MAX),
        description="Total size of responses that clients have not read yet. Beyond it, the connections that have been "
        "blocked longest are closed. The default is at most a quarter of a container's memory.",
    )
    head_read_timeout_s: Seconds = Field(
        default=limits.HEAD_READ_TIMEOUT_S, description="Time that a client has to send the headers of a request."
    )
    keep_alive_timeout_s: Seconds = Field(
        default=limits.KEEP_ALIVE_TIMEOUT_S, description="How long a connection may be idle between two requests."
    )
    write_stall_timeout_s: Seconds = Field(
        default=limits.WRITE_STALL_TIMEOUT_S, description="How long a client may read nothing of a response."
    )
    connections_max: int = Field(
        default=limits.CONNECTIONS_MAX,
        ge=1,
        description="Open connections; further ones get 429 `overloaded`.",
    )
    drain_timeout_s: Seconds = Field(
        default=limits.DRAIN_TIMEOUT_S, description="How long a stopping server waits for running calls."
    )

    def tls_files(self) -> TlsFiles | None:
        """Return the certificate files, or None if the gate does not serve HTTPS."""
        if self.tls_cert is None:
            return None
        return TlsFiles(
            link="gate",
            ca=named("gate.tls_client_ca", self.tls_client_ca),
            cert=named("gate.tls_cert", self.tls_cert),
            key=named("gate.tls_key", self.tls_key),
        )

    @model_validator(mode="after")
    def _certified(self) -> Self:
        together("gate", tls_cert=self.tls_cert, tls_key=self.tls_key)
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise relation("tls_client_ca", "requires gate.tls_cert and gate.tls_key as well")
        return self

    @model_validator(mode="after")
    def _stay_local(self) -> Self:
        if not is_loopback(self.host) and not self.allow_unauthenticated_remote:
            raise relation(
                "host",
                "other machines can reach {value}, and callers are not authenticated; listen on 127.0.0.1, "
                "or set gate.allow_unauthenticated_remote to true if you trust the network",
                value=self.host,
            )
        return self


class NodeSettings(Section):
    """The object host: its name, its memory and its timeouts."""

    id: Annotated[str, AfterValidator(_node_id)] = Field(
        default="local",
        max_length=128,
        description="Name of this node in logs and in `node#ID/...` ids; `POD_NAME` by default.",
    )
    activations_max: int = Field(
        default=limits.ACTIVATIONS_MAX,
        ge=1,
        description="Objects held in memory. Beyond it, the least recently used ones are passivated.",
    )
    activations_bytes_max: Annotated[ByteSize, Field(ge=limits.MIB)] = Field(
        default=ByteSize(limits.ACTIVATIONS_BYTES_MAX),
        description="Total size of the states held in memory. Beyond it, the least recently used objects are "
        "passivated. In a container with a memory limit the default is derived from that limit.",
    )
    idle_timeout_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        default=limits.IDLE_TIMEOUT_S,
        description="Objects without a call for this time are passivated; a class may set another time.",
    )
    mailbox_calls_max: int = Field(
        default=limits.MAILBOX_CALLS_MAX,
        ge=1,
        description="Calls that may wait for one object; further ones get 429 `overloaded`.",
    )
    inflight_calls_max: int = Field(
        default=limits.INFLIGHT_CALLS_MAX,
        ge=1,
        description="Calls in the node, waiting or running; further ones get 429 `overloaded`.",
    )
    default_call_timeout_s: Seconds = Field(
        default=limits.CALL_TIMEOUT_S, description="Timeout of calls that do not set one."
    )
    default_create_timeout_s: Seconds = Field(
        default=limits.CREATE_TIMEOUT_S, description="Timeout of creates, reads and deletes that do not set one."
    )
    call_timeout_s_max: Seconds = Field(
        default=limits.CALL_TIMEOUT_S_MAX, description="Longest timeout that `GoVerse-Timeout` may request."
    )
    hook_timeout_s: Seconds = Field(default=limits.HOOK_TIMEOUT_S, description="Timeout of one `on_...` hook.")
    idempotency_retention_s: Annotated[float, Field(ge=60, le=limits.TOMBSTONE_RETENTION_S)] = Field(
        default=limits.IDEMPOTENCY_RETENTION_S,
        description="How long the response to an idempotency key is kept.",
    )
    failed_calls_retention_s: Retention = Field(
        default=limits.FAILED_CALLS_RETENTION_S,
        description="How long a reliable call that ended with a business error can be read; 0 keeps none. A shorter "
        "time also applies to calls that are kept already.",
    )
    expired_calls_retention_s: Retention = Field(
        default=limits.EXPIRED_CALLS_RETENTION_S,
        description="The same for calls that expired before they took effect.",
    )
    cancelled_calls_retention_s: Retention = Field(
        default=limits.CANCELLED_CALLS_RETENTION_S, description="The same for calls that were cancelled."
    )
    dead_letters_retention_s: Retention = Field(
        default=limits.DEAD_LETTERS_RETENTION_S,
        description="The same for dead letters. They can be sent again during this time.",
    )
    kept_replies_bytes_max: Annotated[ByteSize, Field(ge=limits.MIB)] = Field(
        default=ByteSize(limits.KEPT_REPLIES_BYTES_MAX),
        description="Memory for the responses that the embedded store keeps for idempotency keys. Beyond it, new calls "
        "with a key get 429 `overloaded`; repeated ones still get their response. In a container with a memory limit "
        "the default is at most a quarter of it.",
    )
    kept_replies_object_bytes_max: Annotated[ByteSize, Field(ge=limits.RESULT_BYTES_MAX)] = Field(
        default=ByteSize(limits.KEPT_REPLIES_OBJECT_BYTES_MAX),
        description="The same limit for one object; only responses of 16 KiB and more count.",
    )

    @model_validator(mode="after")
    def _timeouts_fit(self) -> Self:
        for name in ("default_call_timeout_s", "default_create_timeout_s"):
            if getattr(self, name) > self.call_timeout_s_max:
                raise relation(
                    name,
                    "must not exceed node.call_timeout_s_max, which is {most}",
                    most=f"{self.call_timeout_s_max:g}",
                )
        return self


class WalSettings(Section):
    """The embedded store: its directory and its write settings."""

    data_dir: Directory = Field(
        default=Path(".goverse"), description="Directory of the log and the snapshots; created if missing."
    )
    batch_max_bytes: Annotated[ByteSize, Field(ge=limits.KIB)] = Field(
        default=ByteSize(limits.WAL_BATCH_MAX_BYTES),
        description="Largest total size of turns that are committed together.",
    )
    batch_max_ms: float = Field(
        default=limits.WAL_BATCH_MAX_MS,
        ge=0,
        le=1_000,
        description="How long a batch waits for more turns. Turns that arrive during a commit are batched anyway.",
    )
    segment_bytes: Annotated[ByteSize, Field(ge=_SEGMENT_BYTES_MIN)] = Field(
        default=ByteSize(limits.WAL_SEGMENT_BYTES),
        description="Size at which a log file is closed and the next one started.",
    )
    snapshot_bytes: Annotated[ByteSize, Field(ge=limits.MIB)] = Field(
        default=ByteSize(limits.WAL_SNAPSHOT_BYTES),
        description="Size of the log since the last snapshot at which the next snapshot is taken.",
    )
    snapshots_kept: int = Field(
        default=limits.WAL_SNAPSHOTS_KEPT,
        ge=1,
        le=100,
        description="Number of snapshots kept, with the log since the oldest, in case the newest is damaged.",
    )


class HistorySettings(Section):
    """The history of objects, which the change feed keeps."""

    cause: bool = Field(
        default=True,
        description="Keep the cause of every change: method, caller, request id and trace id, some 60 bytes. If false, "
        "a history shows what changed, but not why.",
    )


class ObjectSettings(Section):
    """The permissions of one object type, which override those of the class."""

    create: Who | None = Field(
        default=None,
        description="Who may create objects of this type: `anyone`, `internal` (other objects only) or `nobody`.",
    )
    delete: Who | None = Field(default=None, description="Who may delete objects of this type; values as for `create`.")

    def rule(self) -> AccessRule:
        """Return the permissions as the registry of types expects them."""
        return AccessRule(self.create, self.delete)


class LogSettings(Section):
    """The log's format and level."""

    format: Annotated[Literal["auto", "json", "text"], BeforeValidator(_lower)] = Field(
        default="auto",
        description="`json`: one object per line; `text`: for humans; `auto`: text on a terminal, else JSON.",
    )
    level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = Field(
        default="info", description="Lowest level that is written; it can be changed at run time over HTTP."
    )


class Settings(BaseSettings):
    """All sections."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, env_prefix="GOVERSE_", env_nested_delimiter="__")

    gate: GateSettings = Field(default_factory=GateSettings)
    node: NodeSettings = Field(default_factory=NodeSettings)
    wal: WalSettings = Field(default_factory=WalSettings)
    cluster: ClusterSettings = Field(default_factory=ClusterSettings)
    wire: WireSettings = Field(default_factory=WireSettings)
    etcd: EtcdSettings = Field(default_factory=EtcdSettings)
    postgres: PostgresSettings = Field(default_factory=PostgresSettings)
    history: HistorySettings = Field(default_factory=HistorySettings)
    log: LogSettings = Field(default_factory=LogSettings)
    objects: dict[str, ObjectSettings] = Field(default_factory=dict[str, ObjectSettings])

    def access_rules(self) -> dict[str, AccessRule]:
        """Return the create and delete permissions of ``objects``, by type."""
        return {name: section.rule() for name, section in self.objects.items()}
