"""Options of a gate, built from the settings, for `goverse dev` and `goverse gate`."""

from __future__ import annotations

from pathlib import Path

from goverse.settings import Settings
from goverse_cli.descriptors import connections_within
from goverse_cli.version import release
from goverse_gate.admin_access import TOKEN_FILE, token_in
from goverse_gate.options import GateOptions


def gate_options(values: Settings, admin_token: str | None) -> GateOptions:
    """Build the options of a gate. ``admin_token`` is the secret that ``/admin`` requires."""
    gate, node = values.gate, values.node
    return GateOptions(
        allowed_origins=gate.allowed_origins,
        allowed_headers=gate.allowed_headers,
        allowed_hosts=_allowed_hosts(values),
        default_call_timeout_s=node.default_call_timeout_s,
        default_create_timeout_s=node.default_create_timeout_s,
        call_timeout_s_max=node.call_timeout_s_max,
        body_bytes_max=gate.body_bytes_max,
        bodies_bytes_max=gate.bodies_bytes_max,
        answers_bytes_max=gate.answers_bytes_max,
        body_read_timeout_s=gate.body_read_timeout_s,
        head_read_timeout_s=gate.head_read_timeout_s,
        keep_alive_timeout_s=gate.keep_alive_timeout_s,
        write_stall_timeout_s=gate.write_stall_timeout_s,
        inflight_calls_max=node.inflight_calls_max,
        connections_max=connections_within(gate.connections_max),
        drain_timeout_s=gate.drain_timeout_s,
        access_log=gate.access_log,
        web_dir=gate.web_dir,
        release=release(),
        admin_token=admin_token,
        allow_local_admin=gate.allow_local_admin,
        allow_remote_admin=gate.allow_remote_admin,
    )


def cluster_admin_token(values: Settings) -> str | None:
    """Return the admin token of a gate or a node of a cluster, which have no data directory to keep it in.

    Raises:
        ConfigError: the token file cannot be used.
    """
    path = values.gate.admin_token_file
    return None if path is None else token_in(path)


def admin_token_file(values: Settings, data_dir: Path) -> Path:
    """Return the path of the admin token of a server with an embedded store."""
    return values.gate.admin_token_file or data_dir / TOKEN_FILE


def _allowed_hosts(values: Settings) -> tuple[str, ...]:
    """Return the allowed values of a ``Host`` header; the default is the loopback names and ``gate.host``."""
    gate = values.gate
    if gate.allowed_hosts:
        return gate.allowed_hosts
    own = f"[{gate.host}]" if ":" in gate.host else gate.host
    return ("localhost", "127.0.0.1", "[::1]", own)
