"""Generate the Grafana dashboards of the chart, helm/goverse/files/dashboards/*.json, from the panels declared here.

    python scripts/dashboards.py [FOLDER]

A panel has a title, a description, a Grafana unit and one query per legend. Queries are limited to the namespace that
is selected at the top of the dashboard.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

FOLDER: Final = Path(__file__).parents[1] / "helm" / "goverse" / "files" / "dashboards"
WIDTH: Final = 12  # of a panel; a row has 24
HEIGHT: Final = 8
IN: Final = 'namespace="$namespace"'
EACH: Final = "$__rate_interval"


class Panel(NamedTuple):
    """One panel: its title, its description, its Grafana unit, and its queries by legend."""

    title: str
    meaning: str
    unit: str
    queries: dict[str, str]


def total(name: str, by: str = "", *more: str) -> str:
    """Return a query for the summed rate of a counter."""
    return f"sum{_by(by)}(rate({_selected(name, *more)}[{EACH}]))"


def now(name: str, by: str = "", *more: str) -> str:
    """Return a query for the sum of a gauge."""
    return f"sum{_by(by)}({_selected(name, *more)})"


def quantile(rank: float, name: str, by: str = "", *more: str) -> str:
    """Return a query for a quantile of a histogram."""
    buckets = f"rate({_selected(f'{name}_bucket', *more)}[{EACH}])"
    return f"histogram_quantile({rank}, sum by ({', '.join(filter(None, ('le', by)))})({buckets}))"


def _selected(name: str, *more: str) -> str:
    return f"{name}{{{', '.join((IN, *more))}}}"


def _by(labels: str) -> str:
    return f" by ({labels})" if labels else ""


CALLS: Final = "goverse_method_calls_total"
CALL: Final = "goverse_method_call_duration_seconds"
STORE: Final = "goverse_store_operation_duration_seconds"
ETCD: Final = "goverse_etcd_request_duration_seconds"
SHARD: Final = "goverse_operation_duration_seconds"

DASHBOARDS: Final[dict[str, tuple[str, list[Panel]]]] = {
    "cluster": (
        "GoVerse: cluster",
        [
            Panel(
                "Shards served",
                "While fewer shards are served than exist, some objects cannot be called.",
                "short",
                {
                    "shards": f"max({_selected('goverse_routing_shards')})",
                    "served": f"min({_selected('goverse_routing_shards_served')})",
                },
            ),
            Panel(
                "Processes",
                "Gates and nodes that Prometheus can scrape, and the number of leaders.",
                "short",
                {"up": f"sum by (job)({_selected('up')})", "leader": now("goverse_leader")},
            ),
            Panel(
                "Calls",
                "Completed calls per second in all gates, by outcome.",
                "reqps",
                {"{{status}}": total(CALLS, "status")},
            ),
            Panel(
                "Call latency",
                "Time from the arrival of a call in a gate to its response.",
                "s",
                {"p50": quantile(0.5, CALL), "p99": quantile(0.99, CALL)},
            ),
            Panel(
                "Objects in memory",
                "Activations on all nodes, by object type.",
                "short",
                {"{{object_type}}": now("goverse_activations", "object_type")},
            ),
            Panel(
                "CPU",
                "CPU cores used by each process.",
                "short",
                {"{{instance}}": total("process_cpu_seconds_total", "instance")},
            ),
            Panel(
                "Memory",
                "Resident memory of each process.",
                "bytes",
                {"{{instance}}": now("process_resident_memory_bytes", "instance")},
            ),
            Panel(
                "Remaining lease time",
                "Time until each node's lease can expire. 0 if etcd has been unavailable for longer than the lease.",
                "s",
                {"{{instance}}": f"min by (instance)({_selected('goverse_lease_remaining_seconds')})"},
            ),
            Panel(
                "Days until certificates expire",
                "Certificate in use, by kind of connection.",
                "d",
                {
                    "{{link}}": "(min by (link)("
                    f"{_selected('goverse_tls_certificate_expiry_timestamp_seconds')}) - time()) / 86400"
                },
            ),
            Panel(
                "Releases",
                "Processes per release. Two releases run during an upgrade.",
                "short",
                {"{{version}}": f"count by (version)({_selected('goverse_build_info')})"},
            ),
        ],
    ),
    "calls": (
        "GoVerse: calls",
        [
            Panel(
                "Calls by method",
                "The 20 methods with the most calls per second.",
                "reqps",
                {"{{object_type}}.{{method}}": f"topk(20, {total(CALLS, 'object_type, method')})"},
            ),
            Panel(
                "p99 latency by method",
                "The 20 slowest methods.",
                "s",
                {"{{object_type}}.{{method}}": f"topk(20, {quantile(0.99, CALL, 'object_type, method')})"},
            ),
            Panel(
                "Failed calls",
                "Failed calls by error code, including business errors of the application.",
                "reqps",
                {"{{status}}": total(CALLS, "status", 'status!="success"')},
            ),
            Panel(
                "In flight",
                "Requests without a response in gates and nodes, calls waiting in mailboxes, and running turns.",
                "short",
                {
                    "in gates": now("goverse_gate_inflight_requests"),
                    "in nodes": now("goverse_calls_inflight"),
                    "in mailboxes": now("goverse_calls_waiting"),
                    "turns": now("goverse_turns_running"),
                },
            ),
            Panel(
                "Parked calls",
                "Calls that wait because their shard is moving or its node is unreachable.",
                "short",
                {"parked": now("goverse_routing_parked_calls")},
            ),
            Panel(
                "Retries",
                "Calls that the router sent again, by reason. Callers do not notice them.",
                "reqps",
                {"{{reason}}": total("goverse_routing_retries_total", "reason")},
            ),
            Panel(
                "Idempotent repeats",
                "Calls answered with a stored response, and calls that shared the response of a running call.",
                "reqps",
                {
                    "replayed": total("goverse_idempotency_replays_total"),
                    "followed": total("goverse_idempotency_followers_total"),
                },
            ),
            Panel(
                "Discarded turns",
                "Turns whose changes were discarded because the method failed or timed out.",
                "reqps",
                {
                    "failed": total("goverse_turns_failed_total"),
                    "{{operation}}": total("goverse_turn_timeouts_total", "operation"),
                },
            ),
            Panel(
                "Frames per message",
                "Requests and replies per message between gates and nodes. Grows with load, which makes each cheaper.",
                "short",
                {
                    "requests, p50": quantile(0.5, "goverse_wire_requests_batch"),
                    "replies, p50": quantile(0.5, "goverse_wire_replies_batch"),
                },
            ),
            Panel(
                "Reliable calls",
                "Reliable calls that ended per second, by outcome.",
                "ops",
                {"{{outcome}}": total("goverse_reliable_calls_total", "outcome")},
            ),
            Panel(
                "Pending reliable calls",
                "Reliable calls that have not ended, by state, and those that run alone because they may end nodes.",
                "short",
                {
                    "{{state}}": now("goverse_reliable_calls_pending", "state"),
                    "suspected": now("goverse_reliable_calls_suspected"),
                    "paused pairs": now("goverse_reliable_calls_paused_pairs"),
                },
            ),
            Panel(
                "Oldest pending reliable call",
                "Age of the oldest reliable call that is not delayed. It grows if a receiver keeps failing.",
                "s",
                {"oldest": f"max({_selected('goverse_reliable_calls_oldest_pending_seconds')})"},
            ),
            Panel(
                "Dead letters",
                "Reliable calls that were given up, by the type of their receivers. They wait for an operator.",
                "short",
                {"{{object_type}}": f"max by (object_type)({_selected('goverse_dead_letters')})"},
            ),
            Panel(
                "Repeated deliveries",
                "Attempts that failed, repeated deliveries, and those of them that had taken effect already.",
                "ops",
                {
                    "failed attempts": total("goverse_reliable_calls_attempts_failed_total"),
                    "redelivered": total("goverse_reliable_calls_redeliveries_total"),
                    "duplicates": total("goverse_reliable_calls_duplicates_total"),
                },
            ),
            Panel(
                "Bytes between processes",
                "Bytes written per second, by direction of the stream.",
                "Bps",
                {"{{direction}}": total("goverse_wire_written_bytes_total", "direction")},
            ),
        ],
    ),
    "shards": (
        "GoVerse: shards and migrations",
        [
            Panel(
                "Shards by node",
                "Shards that each node serves.",
                "short",
                {"{{instance}}": now("goverse_shards_total", "instance", 'phase="open"')},
            ),
            Panel(
                "Migrating shards",
                "Shards that have not reached their target node yet, and those that take too long.",
                "short",
                {"migrating": now("goverse_shards_migrating"), "stuck": now("goverse_shard_migrations_stuck")},
            ),
            Panel(
                "Completed migrations",
                "Shards that reached their target node, and stuck migrations that the leader resolved.",
                "ops",
                {
                    "arrived": total("goverse_shard_migrations_total"),
                    "taken back": total("goverse_shard_migrations_stuck_resolved_total"),
                },
            ),
            Panel(
                "Rebalancing decisions",
                "Decisions of the leader to move a shard, by reason.",
                "ops",
                {"{{reason}}": total("goverse_rebalance_decisions_total", "reason")},
            ),
            Panel(
                "Claims and releases",
                "Claims of shards, and releases of shards by kind.",
                "ops",
                {
                    "claimed": total("goverse_shard_claims_total"),
                    "{{how}}": total("goverse_shard_releases_total", "how"),
                },
            ),
            Panel(
                "Balance",
                "Load of the fullest node relative to its fair share, and moves deferred to a later round.",
                "short",
                {
                    "imbalance": f"max({_selected('goverse_shards_imbalance_ratio')})",
                    "deferred": now("goverse_rebalance_deferred"),
                },
            ),
            Panel(
                "Opening and closing",
                "p99 duration of shard operations.",
                "s",
                {"{{operation}}": quantile(0.99, SHARD, "operation", 'operation=~"shard_.+"')},
            ),
            Panel(
                "Contended shards",
                "Shards that a node should own while another node still claims them, and the longest running close.",
                "short",
                {
                    "contended": now("goverse_shards_contended"),
                    "longest close (s)": f"max({_selected('goverse_shard_close_longest_seconds')})",
                },
            ),
        ],
    ),
    "stores": (
        "GoVerse: stores",
        [
            Panel(
                "Commits",
                "Durable commit records per second, by node.",
                "ops",
                {"{{instance}}": total("goverse_commit_batch_records_sum", "instance")},
            ),
            Panel(
                "Records per group commit",
                "Commit records that become durable together. Grows with load, which lowers the cost of each.",
                "short",
                {
                    "p50": quantile(0.5, "goverse_commit_batch_records"),
                    "p99": quantile(0.99, "goverse_commit_batch_records"),
                },
            ),
            Panel(
                "PostgreSQL latency, p99",
                "99th percentile by operation.",
                "s",
                {"{{operation}}": quantile(0.99, STORE, "operation")},
            ),
            Panel(
                "PostgreSQL errors",
                "Errors by operation and code, and commit records that did not become durable.",
                "ops",
                {
                    "{{operation}} {{code}}": total("goverse_store_errors_total", "operation, code"),
                    "not durable": total("goverse_commit_failures_total"),
                },
            ),
            Panel(
                "Ready stores",
                "Nodes whose store accepts commits.",
                "short",
                {"ready": now("goverse_store_ready")},
            ),
            Panel(
                "etcd latency, p99",
                "99th percentile by operation.",
                "s",
                {"{{operation}}": quantile(0.99, ETCD, "operation")},
            ),
            Panel(
                "etcd errors",
                "Errors by operation and code, and writes refused because another process had changed the key.",
                "ops",
                {
                    "{{operation}} {{code}}": total("goverse_etcd_errors_total", "operation, code"),
                    "refused": total("goverse_etcd_writes_refused_total"),
                },
            ),
            Panel(
                "etcd watch",
                "Changes received from etcd, and complete reloads of the cluster's state.",
                "ops",
                {
                    "changes": total("goverse_etcd_watch_changes_total"),
                    "reloads": total("goverse_etcd_watch_reloads_total"),
                },
            ),
        ],
    ),
}


def dashboard(uid: str, title: str, panels: list[Panel]) -> dict[str, Any]:
    """Return a dashboard in Grafana's format (schema version 39, Grafana 11 and newer)."""
    return {
        "uid": f"goverse-{uid}",
        "title": title,
        "tags": ["goverse"],
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "schemaVersion": 39,
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_source(), _namespace()]},
        "panels": [_panel(number, each) for number, each in enumerate(panels)],
    }


def _source() -> dict[str, Any]:
    return {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _namespace() -> dict[str, Any]:
    return {
        "name": "namespace",
        "label": "Namespace",
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "$source"},
        "query": {"query": "label_values(goverse_build_info, namespace)", "refId": "namespace"},
        "refresh": 2,
        "sort": 1,
    }


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "$source"}
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.meaning,
        "datasource": source,
        "gridPos": {"x": number % 2 * WIDTH, "y": number // 2 * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + at), "datasource": source, "expr": query, "legendFormat": legend}
            for at, (legend, query) in enumerate(panel.queries.items())
        ],
    }


def main(folder: Path) -> None:
    """Write all dashboards to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for uid, (title, panels) in DASHBOARDS.items():
        text = json.dumps(dashboard(uid, title, panels), indent=2) + "\n"
        (folder / f"{uid}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
