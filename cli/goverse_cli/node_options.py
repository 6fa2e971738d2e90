"""Options of a node, built from the settings, for `goverse dev` and `goverse node`."""

from __future__ import annotations

from goverse.model.call_retention import CallRetention
from goverse.settings import Settings
from goverse_node.options import NodeOptions


def node_options(values: Settings) -> NodeOptions:
    """Build the options of a node."""
    node, wal = values.node, values.wal
    return NodeOptions(
        node_id=node.id,
        create_timeout_s=node.default_create_timeout_s,
        call_timeout_s=node.default_call_timeout_s,
        hook_timeout_s=node.hook_timeout_s,
        idle_timeout_s=node.idle_timeout_s,
        activations_max=node.activations_max,
        activations_bytes_max=node.activations_bytes_max,
        mailbox_calls_max=node.mailbox_calls_max,
        inflight_calls_max=node.inflight_calls_max,
        idempotency_retention_s=node.idempotency_retention_s,
        batch_max_bytes=wal.batch_max_bytes,
        batch_max_ms=wal.batch_max_ms,
        history_cause=values.history.cause,
        call_retention=call_retention_of(values),
    )


def call_retention_of(values: Settings) -> CallRetention:
    """Return how long ends of reliable calls are kept."""
    node = values.node
    return CallRetention(
        failed_s=node.failed_calls_retention_s,
        expired_s=node.expired_calls_retention_s,
        cancelled_s=node.cancelled_calls_retention_s,
        dead_s=node.dead_letters_retention_s,
    )
