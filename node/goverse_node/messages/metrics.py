"""Metrics of reliable calls, from the counters of the dispatcher."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from goverse.ports.clock import Clock
from goverse.telemetry.series import counter, counters, gauge, gauges
from goverse_node.messages.dispatcher import Dispatcher


class MessageMetrics(Collector):
    """Collector of ``goverse_reliable_calls_…``: the calls whose senders are in the shards of this node."""

    def __init__(self, dispatcher: Dispatcher, clock: Clock) -> None:
        self._dispatcher = dispatcher
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """Return the current values."""
        dispatcher = self._dispatcher
        counts, outboxes, deliveries = dispatcher.counts, dispatcher.outboxes, dispatcher.deliveries
        running, total = deliveries.on_their_way, len(outboxes.entries)
        pending = {
            "delayed": outboxes.delayed,
            "noted": len(dispatcher.notes),
            "running": running,
            "waiting": max(0, total - outboxes.delayed - running),
        }
        yield counters("reliable_calls", "Reliable calls that have ended, by outcome.", "outcome", counts.ended)
        yield gauges("reliable_calls_pending", "Reliable calls that have not ended, by state.", "state", pending)
        oldest = next((entry for entry in outboxes.entries.values() if not entry.pair.delayed), None)
        age_ms = 0 if oldest is None else max(0, self._clock.wall_ms() - oldest.call.sent_ms)
        yield gauge(
            "reliable_calls_suspected",
            "Reliable calls that may have ended a node and run alone.",
            len(dispatcher.quarantine),
        )
        yield counter(
            "reliable_calls_crashed",
            "Reliable calls that were given up because nodes ended while they ran.",
            dispatcher.quarantine.convicted,
        )
        yield gauge(
            "reliable_calls_paused_pairs",
            "Pairs of objects whose reliable calls an operator has paused.",
            sum(1 for _ in outboxes.paused()),
        )
        yield gauge(
            "reliable_calls_oldest_pending_seconds",
            "Age of the oldest call that is not delayed.",
            age_ms / 1000,
        )
        yield counter(
            "reliable_calls_redeliveries", "Deliveries of calls that had been delivered before.", deliveries.repeated
        )
        yield counter(
            "reliable_calls_duplicates", "Deliveries that were answered with a kept outcome.", counts.duplicates
        )
        yield counter(
            "reliable_calls_attempts_failed", "Attempts of reliable calls that failed.", counts.attempts_failed
        )
