"""Prometheus metrics of a node, built from plain counters on each scrape.

Labels are object types and operations of the application's classes, never ids, so the code bounds their number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from goverse.telemetry.series import counter, gauge, gauges
from goverse_node.messages.dead_letters import DeadLetters
from goverse_node.messages.metrics import MessageMetrics
from goverse_node.node import Node


class NodeMetrics(Collector):
    """Metrics of activations, turns and commits."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._dead_letters = DeadLetters(node.store, lambda: [spec.name for spec in node.registry])

    def collect(self) -> Iterator[Metric]:
        """Return the current values."""
        stats, activations = self._node.stats, self._node.activations
        active = GaugeMetricFamily("goverse_activations", "Objects in memory.", labels=["object_type"])
        by_type = Counter(activation.spec.name for activation in activations)
        for spec in self._node.registry:
            active.add_metric([spec.name], by_type.get(spec.name, 0))
        yield active
        yield gauge("activations_resident_bytes", "Estimated memory of the objects in memory.", activations.bytes)
        yield gauge(
            "activations_bytes_max",
            "Bound on goverse_activations_resident_bytes; lowered near the memory limit.",
            activations.bytes_max,
        )
        yield counter("activations_started", "Objects that were activated.", stats.activations)
        yield counter("passivations", "Objects that left memory.", stats.passivations)
        yield counter("activations_abandoned", "Objects reloaded because a method did not stop.", stats.abandoned)
        yield gauge("calls_inflight", "Requests in progress in the node.", stats.inflight)
        yield self._waiting()
        yield counter(
            "calls_refused_moving", "Calls answered with moving, because their shard has moved.", stats.moving
        )
        yield gauge("turns_running", "Turns that run as tasks.", len(self._node.deadlines.running))
        yield counter("turns_failed", "Turns that failed and were undone.", stats.turns_failed)
        yield counter("idempotency_replays", "Calls answered from a kept reply.", stats.replays)
        yield counter(
            "idempotency_followers", "Calls that waited for a call with the same idempotency key.", stats.deduplicated
        )
        yield from self._node.nested.collect()
        yield from self._commits()
        timeouts = CounterMetricFamily(
            "goverse_turn_timeouts", "Calls and turns whose deadline passed.", labels=["operation"]
        )
        for operation, count in stats.timeouts.items():
            timeouts.add_metric([operation], count)
        yield timeouts
        yield from MessageMetrics(self._node.dispatcher, self._node.clock).collect()
        yield from self._letters()

    def _letters(self) -> Iterator[Metric]:
        self._dead_letters.refresh()
        help_text = "Dead letters in the store, by the type of their receivers; each node reports those of all nodes."
        yield gauges("dead_letters", help_text, "object_type", self._dead_letters.counts)

    def _waiting(self) -> Metric:
        family = GaugeMetricFamily(
            "goverse_calls_waiting",
            "Requests that wait in mailboxes, by the type of their object.",
            labels=["object_type"],
        )
        by_type = Counter(call.request.key.type for call in self._node.deadlines.waiting)
        for spec in self._node.registry:
            family.add_metric([spec.name], by_type.get(spec.name, 0))
        return family

    def _commits(self) -> Iterator[Metric]:
        stats = self._node.stats
        yield counter("commit_failures", "Records that did not become durable.", stats.commit_failures)
        yield counter(
            "commit_seconds", "Time from sending a batch to the store until it was durable.", stats.commit_seconds
        )
        buckets, total = list[tuple[str, float]](), 0
        for power, count in enumerate(stats.commit_batch_sizes[:-1]):
            total += count
            buckets.append((str(float(2 ** (power + 1) - 1)), total))
        buckets.append(("+Inf", stats.commit_batches))
        sizes = HistogramMetricFamily("goverse_commit_batch_records", "Records that became durable together.")
        sizes.add_metric([], buckets, stats.commit_records)
        yield sizes
