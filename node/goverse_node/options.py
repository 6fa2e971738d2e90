"""Options of a node. The defaults, and the reasons for them, are in ``goverse.limits``."""

from __future__ import annotations

from dataclasses import dataclass, field

from goverse import limits
from goverse.model.call_retention import CallRetention


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """Limits of one node. The suffix ``_s`` means seconds, ``_bytes`` bytes, ``_max`` an inclusive upper bound."""

    node_id: str = "node-1"
    create_timeout_s: float = limits.CREATE_TIMEOUT_S
    call_timeout_s: float = limits.CALL_TIMEOUT_S
    hook_timeout_s: float = limits.HOOK_TIMEOUT_S
    cancel_grace_s: float = limits.CANCEL_GRACE_S
    commit_stall_s: float = limits.COMMIT_STALL_S
    idle_timeout_s: float = limits.IDLE_TIMEOUT_S
    activations_max: int = limits.ACTIVATIONS_MAX
    activations_bytes_max: int = limits.ACTIVATIONS_BYTES_MAX
    mailbox_calls_max: int = limits.MAILBOX_CALLS_MAX
    inflight_calls_max: int = limits.INFLIGHT_CALLS_MAX
    state_bytes_max: int = limits.STATE_BYTES_MAX
    result_bytes_max: int = limits.RESULT_BYTES_MAX
    idempotency_retention_s: float = limits.IDEMPOTENCY_RETENTION_S
    batch_max_bytes: int = limits.WAL_BATCH_MAX_BYTES
    batch_max_ms: float = limits.WAL_BATCH_MAX_MS
    history_cause: bool = True
    delivery_timeout_s: float = limits.DELIVERY_TIMEOUT_S
    call_retention: CallRetention = field(default_factory=CallRetention)
