"""Counters of a process's streams, updated once per message rather than per call.

``goverse.telemetry.wire`` turns them into metrics on request. All links of a process share one ``WireStats``; its
server has another one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

BATCH_PLACES: Final = 12
"""Size classes of batches, by the number of binary digits; the last class includes all sizes from 2048 frames."""


@dataclass(slots=True)
class WireStats:
    """Counters since the start; ``connections`` and ``under_way`` are current values.

    Attributes:
        connections: open streams.
        opened: streams that were established; those after a link's first one are reconnections.
        failed: failed attempts to connect.
        cut: streams that ended unexpectedly.
        requests, replies: number of frames, in the direction of this side.
        requests_batches, replies_batches: number of messages with such frames, by size class.
        message_bytes_in, message_bytes_out: bytes read and written.
        under_way: for each link or server, a function that returns its number of unanswered requests.
    """

    connections: int = 0
    opened: int = 0
    failed: int = 0
    cut: int = 0
    requests: int = 0
    replies: int = 0
    requests_batches: list[int] = field(default_factory=lambda: [0] * BATCH_PLACES)
    replies_batches: list[int] = field(default_factory=lambda: [0] * BATCH_PLACES)
    message_bytes_in: int = 0
    message_bytes_out: int = 0
    under_way: dict[object, Callable[[], int]] = field(default_factory=dict[object, Callable[[], int]])

    @property
    def inflight(self) -> int:
        """Number of unanswered requests."""
        return sum(count() for count in self.under_way.values())

    def count_requests(self, frames: int) -> None:
        """Count a message that holds this number of requests."""
        if frames:
            self.requests += frames
            self.requests_batches[min(frames.bit_length(), BATCH_PLACES) - 1] += 1

    def count_replies(self, frames: int) -> None:
        """Count a message that holds this number of replies."""
        if frames:
            self.replies += frames
            self.replies_batches[min(frames.bit_length(), BATCH_PLACES) - 1] += 1
