"""Counters of a node. Plain numbers on the hot path; ``goverse_node.metrics`` exports them to Prometheus."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class NodeStats:
    """Counters since the start of the node. The last one, ``inflight``, is a gauge."""

    activations: int = 0
    passivations: int = 0
    abandoned: int = 0
    turns_failed: int = 0
    moving: int = 0
    replays: int = 0
    deduplicated: int = 0
    repeated_deliveries: int = 0
    timeouts: dict[str, int] = field(default_factory=dict[str, int])
    commit_batches: int = 0
    commit_records: int = 0
    commit_failures: int = 0
    commit_seconds: float = 0.0
    commit_batch_sizes: list[int] = field(default_factory=lambda: [0] * 16)
    inflight: int = 0

    def count_timeout(self, operation: str) -> None:
        """Count a deadline that passed."""
        self.timeouts[operation] = self.timeouts.get(operation, 0) + 1
