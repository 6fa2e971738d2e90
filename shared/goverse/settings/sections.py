"""The settings themselves, one model per section.

A rule for whoever adds one: the unit last in the name, the default from ``goverse.limits``, bounds, and a
description that says what happens, not what the name says already. The reference page and
``goverse config generate`` are made from these models.
"""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, ByteSize, Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from goverse import limits
from goverse.errors import MalformedRequest
from goverse.model.keys import check_namespace
from goverse.settings.cluster_sections import ClusterSettings, EtcdSettings, PostgresSettings, WireSettings
from goverse.settings.section import Directory, Seconds, Section, Words, relation, together
from goverse.tls.files import TlsFiles, named

# A segment takes any single record, with room to spare.
_SEGMENT_BYTES_MIN = 2 * (limits.STATE_BYTES_MAX + limits.RESULT_BYTES_MAX)


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _node_id(value: str) -> str:
    try:
        return check_namespace(value)
    except MalformedRequest as error:
        raise ValueError("use letters, digits, '.', '_' or '-', beginning with a letter or digit") from error


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach a server that listens on ``host``."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class GateSettings(Section):
    """The web face: where it listens, whom it serves, what it refuses."""

    host: str = Field(default="127.0.0.1", min_length=1, description="Address or name to listen on.")
    port: int = Field(default=8000, ge=0, le=65_535, description="TCP port; 0 takes any free one and says which.")
    tls_cert: Directory | None = Field(
        default=None,
        description="File with the server's certificate, and those between it and its authority, in PEM form; with "
        "`tls_key`. Without them the gate speaks plain HTTP.",
    )
    tls_key: Directory | None = Field(
        default=None, description="File with the certificate's key, in PEM form, not encrypted."
    )
    tls_client_ca: Directory | None = Field(
        default=None,
        description="File with authorities, in PEM form; clients have to show a certificate that one of them signed.",
    )
    allow_unauthenticated_remote: bool = Field(
        default=False,
        description="Serve other machines although callers are not authenticated; needed for a `host` "
        "that is not loopback.",
    )
    allow_remote_admin: bool = Field(
        default=False, description="Let other machines use `/admin`, which is otherwise for this machine only."
    )
    allowed_hosts: Words = Field(
        default=(),
        description="Names that a request's `Host` header may carry, without port; empty allows `localhost`, "
        "`127.0.0.1`, `[::1]` and `host`. `*` allows any.",
    )
    allowed_origins: Words = Field(
        default=(),
        description="Web origins, like `https://shop.example`, whose pages may call; the server's own origin "
        "always may. `*` allows any.",
    )
    web_dir: Directory | None = Field(
        default=None,
        description="Folder of static files to serve at `/`; none serves the API documentation there.",
    )
    access_log: Literal["off", "errors", "all"] = Field(
        default="errors", description="Which requests are logged: `off`, `errors` or `all`."
    )
    body_bytes_max: Annotated[ByteSize, Field(ge=1_024, le=limits.STATE_BYTES_MAX)] = Field(
        default=ByteSize(limits.BODY_BYTES_MAX),
        description="Largest request body; a larger one is refused with 413 `too_large`.",
    )
    body_read_timeout_s: Seconds = Field(
        default=limits.BODY_READ_TIMEOUT_S, description="How long a client may take to send a request body."
    )
    bodies_bytes_max: Annotated[ByteSize, Field(ge=limits.STATE_BYTES_MAX)] = Field(
        default=ByteSize(limits.BODIES_BYTES_MAX),
        description="All bodies that arrive in pieces, together; beyond it requests get 429 `overloaded`. At most a "
        "quarter of a container's memory by default.",
    )
    head_read_timeout_s: Seconds = Field(
        default=limits.HEAD_READ_TIMEOUT_S, description="How long a client may take to send the headers of a request."
    )
    keep_alive_timeout_s: Seconds = Field(
        default=limits.KEEP_ALIVE_TIMEOUT_S, description="How long a connection may be idle between two requests."
    )
    write_stall_timeout_s: Seconds = Field(
        default=limits.WRITE_STALL_TIMEOUT_S, description="How long a client may take nothing of an answer."
    )
    connections_max: int = Field(
        default=limits.CONNECTIONS_MAX,
        ge=1,
        description="Open connections; further ones are answered with 429 `overloaded`.",
    )
    drain_timeout_s: Seconds = Field(
        default=limits.DRAIN_TIMEOUT_S, description="How long a stopping server waits for the calls that run."
    )

    def tls_files(self) -> TlsFiles | None:
        """Return where the certificates are, if the gate speaks HTTPS."""
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
            raise relation("tls_client_ca", "needs gate.tls_cert and gate.tls_key beside it")
        return self

    @model_validator(mode="after")
    def _stay_local(self) -> Self:
        if not is_loopback(self.host) and not self.allow_unauthenticated_remote:
            raise relation(
                "host",
                "other machines can reach {value}, and callers are not authenticated; listen on 127.0.0.1, "
                "or set gate.allow_unauthenticated_remote to true if the network is yours",
                value=self.host,
            )
        return self


class NodeSettings(Section):
    """The object host: its name, its memory, its times."""

    id: Annotated[str, AfterValidator(_node_id)] = Field(
        default="local",
        max_length=128,
        description="Name of this node in logs and in `node#ID/...` ids; `POD_NAME` where it is not set.",
    )
    activations_max: int = Field(
        default=limits.ACTIVATIONS_MAX,
        ge=1,
        description="Objects held in memory; beyond it the least recently used are passivated.",
    )
    activations_bytes_max: Annotated[ByteSize, Field(ge=limits.MIB)] = Field(
        default=ByteSize(limits.ACTIVATIONS_BYTES_MAX),
        description="Size of the states held in memory; beyond it as above. In a container with a limit the default "
        "follows from that.",
    )
    idle_timeout_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        default=limits.IDLE_TIMEOUT_S,
        description="Passivate an object after this time without a call; a class may say otherwise.",
    )
    mailbox_calls_max: int = Field(
        default=limits.MAILBOX_CALLS_MAX,
        ge=1,
        description="Calls that may wait for one object; further ones get 429 `overloaded`.",
    )
    inflight_calls_max: int = Field(
        default=limits.INFLIGHT_CALLS_MAX,
        ge=1,
        description="Calls inside the node, waiting or running; further ones get 429 `overloaded`.",
    )
    default_call_timeout_s: Seconds = Field(
        default=limits.CALL_TIMEOUT_S, description="Deadline of a call that names none."
    )
    default_create_timeout_s: Seconds = Field(
        default=limits.CREATE_TIMEOUT_S, description="Deadline of a create, read or delete that names none."
    )
    call_timeout_s_max: Seconds = Field(
        default=limits.CALL_TIMEOUT_S_MAX, description="Longest deadline that `GoVerse-Timeout` may ask for."
    )
    hook_timeout_s: Seconds = Field(default=limits.HOOK_TIMEOUT_S, description="Longest time of one `on_...` hook.")
    idempotency_retention_s: Annotated[float, Field(ge=60, le=limits.TOMBSTONE_RETENTION_S)] = Field(
        default=limits.IDEMPOTENCY_RETENTION_S,
        description="How long the answer to an idempotency key is kept.",
    )
    kept_replies_bytes_max: Annotated[ByteSize, Field(ge=limits.MIB)] = Field(
        default=ByteSize(limits.KEPT_REPLIES_BYTES_MAX),
        description="Memory of the answers that the embedded store keeps for idempotency keys; beyond it new calls "
        "with a key get 429 `overloaded`, repetitions are answered. In a container with a limit at most a quarter of "
        "that.",
    )
    kept_replies_object_bytes_max: Annotated[ByteSize, Field(ge=limits.RESULT_BYTES_MAX)] = Field(
        default=ByteSize(limits.KEPT_REPLIES_OBJECT_BYTES_MAX),
        description="As above, for the answers of 16 KiB and more of one object.",
    )

    @model_validator(mode="after")
    def _timeouts_fit(self) -> Self:
        for name in ("default_call_timeout_s", "default_create_timeout_s"):
            if getattr(self, name) > self.call_timeout_s_max:
                raise relation(
                    name,
                    "more than node.call_timeout_s_max, which is {most}",
                    most=f"{self.call_timeout_s_max:g}",
                )
        return self


class WalSettings(Section):
    """The embedded store: where it lives and how it writes."""

    data_dir: Directory = Field(
        default=Path(".goverse"), description="Folder of the log and the snapshots; created when missing."
    )
    batch_max_bytes: Annotated[ByteSize, Field(ge=limits.KIB)] = Field(
        default=ByteSize(limits.WAL_BATCH_MAX_BYTES),
        description="Turns that commit together, at most this many bytes.",
    )
    batch_max_ms: float = Field(
        default=limits.WAL_BATCH_MAX_MS,
        ge=0,
        le=1_000,
        description="Time that a batch waits for more turns; what comes during a commit is together anyway.",
    )
    segment_bytes: Annotated[ByteSize, Field(ge=_SEGMENT_BYTES_MIN)] = Field(
        default=ByteSize(limits.WAL_SEGMENT_BYTES),
        description="Size at which a log file is closed and the next one begun.",
    )
    snapshot_bytes: Annotated[ByteSize, Field(ge=limits.MIB)] = Field(
        default=ByteSize(limits.WAL_SNAPSHOT_BYTES),
        description="Log written since the last snapshot that starts the next one.",
    )
    snapshots_kept: int = Field(
        default=limits.WAL_SNAPSHOTS_KEPT,
        ge=1,
        le=100,
        description="Snapshots kept, with the log behind the oldest, in case the newest is damaged.",
    )


class LogSettings(Section):
    """Logs: their form and how much of them."""

    format: Annotated[Literal["auto", "json", "text"], BeforeValidator(_lower)] = Field(
        default="auto",
        description="`json`, one object per line; `text`, for people; `auto` takes text on a terminal, JSON elsewhere.",
    )
    level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = Field(
        default="info", description="Least severe level that is written; changed at run time over HTTP."
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
    log: LogSettings = Field(default_factory=LogSettings)
