"""What the streams of a process count: plain numbers, per message and not per call.

``goverse.telemetry.wire`` turns them into series when somebody asks. The links of a process share one, its server has
another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

BATCH_PLACES: Final = 12
"""Batches by the binary digits of their size; the last place counts all from 2048 frames on as well."""


@dataclass(slots=True)
class WireStats:
    """Counters since the start; ``connections`` and ``under_way`` are of this moment.

    Attributes:
        connections: streams that stand.
        opened: streams that came to stand; those beyond the first of each link are reconnections.
        failed: attempts to connect that came to nothing.
        cut: streams that ended otherwise than in order.
        requests, replies: frames, in whichever direction they go on this side.
        requests_batches, replies_batches: messages that carried them, by size (``BATCH_PLACES``).
        message_bytes_in, message_bytes_out: what was read and written.
        under_way: per link or server, how many requests it has without an answer.
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
        """Requests without an answer."""
        return sum(count() for count in self.under_way.values())

    def count_requests(self, frames: int) -> None:
        """Count a message with requests."""
        if frames:
            self.requests += frames
            self.requests_batches[min(frames.bit_length(), BATCH_PLACES) - 1] += 1

    def count_replies(self, frames: int) -> None:
        """Count a message with replies."""
        if frames:
            self.replies += frames
            self.replies_batches[min(frames.bit_length(), BATCH_PLACES) - 1] += 1
