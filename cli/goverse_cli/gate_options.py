"""What the settings say about a gate, for a process that has one: `goverse dev` and `goverse gate`."""

from __future__ import annotations

from goverse.settings import Settings
from goverse_cli.descriptors import connections_within
from goverse_cli.version import release
from goverse_gate.options import GateOptions


def gate_options(values: Settings) -> GateOptions:
    """Return what the settings say about a gate."""
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
        allow_remote_admin=gate.allow_remote_admin,
    )


def _allowed_hosts(values: Settings) -> tuple[str, ...]:
    """Return the names that a ``Host`` header may carry; this machine's own are always among them."""
    gate = values.gate
    if gate.allowed_hosts:
        return gate.allowed_hosts
    own = f"[{gate.host}]" if ":" in gate.host else gate.host
    return ("localhost", "127.0.0.1", "[::1]", own)
