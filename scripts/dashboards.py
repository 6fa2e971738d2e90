"""Write the Grafana dashboards of the chart, helm/goverse/files/dashboards/*.json, from the panels declared here.

    python scripts/dashboards.py [FOLDER]

A panel is a title, a unit of Grafana's and its queries by legend; a query sees the cluster chosen on top.
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
    """One chart: its title, what it means for whoever looks, the unit, and the queries by their legends."""

    title: str
    meaning: str
    unit: str
    queries: dict[str, str]


def total(name: str, by: str = "", *more: str) -> str:
    """Return the rate of a counter, summed up."""
    return f"sum{_by(by)}(rate({_selected(name, *more)}[{EACH}]))"


def now(name: str, by: str = "", *more: str) -> str:
    """Return a gauge, summed up."""
    return f"sum{_by(by)}({_selected(name, *more)})"


def quantile(rank: float, name: str, by: str = "", *more: str) -> str:
    """Return a quantile of a histogram."""
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
                "Shards that are served",
                "Below the number of shards, some objects cannot be called.",
                "short",
                {
                    "shards": f"max({_selected('goverse_routing_shards')})",
                    "served": f"min({_selected('goverse_routing_shards_served')})",
                },
            ),
            Panel(
                "Processes",
                "Gates and nodes that Prometheus reaches, and the node that plans.",
                "short",
                {"up": f"sum by (job)({_selected('up')})", "leader": now("goverse_leader")},
            ),
            Panel(
                "Calls",
                "Calls that gates answered, by outcome.",
                "reqps",
                {"{{status}}": total(CALLS, "status")},
            ),
            Panel(
                "Latency of calls",
                "From arrival in a gate to the answer.",
                "s",
                {"p50": quantile(0.5, CALL), "p99": quantile(0.99, CALL)},
            ),
            Panel(
                "Objects in memory",
                "Activations of all nodes, by type.",
                "short",
                {"{{object_type}}": now("goverse_activations", "object_type")},
            ),
            Panel(
                "Processor time",
                "Of each process, in cores.",
                "short",
                {"{{instance}}": total("process_cpu_seconds_total", "instance")},
            ),
            Panel(
                "Memory",
                "Resident bytes of each process.",
                "bytes",
                {"{{instance}}": now("process_resident_memory_bytes", "instance")},
            ),
            Panel(
                "Lease that is left",
                "How long each node surely keeps its place; 0 while etcd is away for longer.",
                "s",
                {"{{instance}}": f"min by (instance)({_selected('goverse_lease_remaining_seconds')})"},
            ),
            Panel(
                "Days until certificates end",
                "The certificate in use, by link.",
                "d",
                {
                    "{{link}}": "(min by (link)("
                    f"{_selected('goverse_tls_certificate_expiry_timestamp_seconds')}) - time()) / 86400"
                },
            ),
            Panel(
                "Releases",
                "Two while an upgrade is under way.",
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
                "The busiest twenty.",
                "reqps",
                {"{{object_type}}.{{method}}": f"topk(20, {total(CALLS, 'object_type, method')})"},
            ),
            Panel(
                "p99 by method",
                "The slowest twenty.",
                "s",
                {"{{object_type}}.{{method}}": f"topk(20, {quantile(0.99, CALL, 'object_type, method')})"},
            ),
            Panel(
                "Calls without success",
                "By the code of their problem; those of the application are among them.",
                "reqps",
                {"{{status}}": total(CALLS, "status", 'status!="success"')},
            ),
            Panel(
                "Inside gates and nodes",
                "Requests without an answer, calls in mailboxes, turns under way.",
                "short",
                {
                    "in gates": now("goverse_gate_inflight_requests"),
                    "in nodes": now("goverse_calls_inflight"),
                    "in mailboxes": now("goverse_calls_waiting"),
                    "turns": now("goverse_turns_running"),
                },
            ),
            Panel(
                "Calls that wait for an owner",
                "Parked while their shard moves or its node is missed.",
                "short",
                {"parked": now("goverse_routing_parked_calls")},
            ),
            Panel(
                "Sent again",
                "Sends without a result, by reason; callers do not notice.",
                "reqps",
                {"{{reason}}": total("goverse_routing_retries_total", "reason")},
            ),
            Panel(
                "Repeated calls",
                "Answers that were kept replies, and calls that waited for an equal one.",
                "reqps",
                {
                    "replayed": total("goverse_idempotency_replays_total"),
                    "followed": total("goverse_idempotency_followers_total"),
                },
            ),
            Panel(
                "Undone turns",
                "Turns whose method failed or did not end in time.",
                "reqps",
                {
                    "failed": total("goverse_turns_failed_total"),
                    "{{operation}}": total("goverse_turn_timeouts_total", "operation"),
                },
            ),
            Panel(
                "Frames in one message",
                "Between gates and nodes: more under load, which costs less for each.",
                "short",
                {
                    "requests, p50": quantile(0.5, "goverse_wire_requests_batch"),
                    "replies, p50": quantile(0.5, "goverse_wire_replies_batch"),
                },
            ),
            Panel(
                "Bytes between processes",
                "Written, by direction of the stream.",
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
                "Those that each node serves.",
                "short",
                {"{{instance}}": now("goverse_shards_total", "instance", 'phase="open"')},
            ),
            Panel(
                "On their way",
                "Shards that have not arrived at their target, and those that take too long.",
                "short",
                {"migrating": now("goverse_shards_migrating"), "stuck": now("goverse_shard_migrations_stuck")},
            ),
            Panel(
                "Moves",
                "Shards that arrived.",
                "ops",
                {
                    "arrived": total("goverse_shard_migrations_total"),
                    "taken back": total("goverse_shard_migrations_stuck_resolved_total"),
                },
            ),
            Panel(
                "Why shards move",
                "Decisions of the leader, by reason.",
                "ops",
                {"{{reason}}": total("goverse_rebalance_decisions_total", "reason")},
            ),
            Panel(
                "Claims and releases",
                "Epochs taken, and how shards left their nodes.",
                "ops",
                {
                    "claimed": total("goverse_shard_claims_total"),
                    "{{how}}": total("goverse_shard_releases_total", "how"),
                },
            ),
            Panel(
                "Balance",
                "The fullest node as a multiple of its share, and moves that wait for a later round.",
                "short",
                {
                    "imbalance": f"max({_selected('goverse_shards_imbalance_ratio')})",
                    "deferred": now("goverse_rebalance_deferred"),
                },
            ),
            Panel(
                "Opening and closing",
                "p99 of what is done for shards, by operation.",
                "s",
                {"{{operation}}": quantile(0.99, SHARD, "operation", 'operation=~"shard_.+"')},
            ),
            Panel(
                "Contended",
                "Shards that a node waits for while another still claims them; the longest close.",
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
                "Records that became durable.",
                "ops",
                {"{{instance}}": total("goverse_commit_batch_records_sum", "instance")},
            ),
            Panel(
                "Records in one commit",
                "More under load, which costs less for each.",
                "short",
                {
                    "p50": quantile(0.5, "goverse_commit_batch_records"),
                    "p99": quantile(0.99, "goverse_commit_batch_records"),
                },
            ),
            Panel(
                "PostgreSQL, p99",
                "By operation.",
                "s",
                {"{{operation}}": quantile(0.99, STORE, "operation")},
            ),
            Panel(
                "PostgreSQL, trouble",
                "Errors by code, records that did not become durable.",
                "ops",
                {
                    "{{operation}} {{code}}": total("goverse_store_errors_total", "operation, code"),
                    "not durable": total("goverse_commit_failures_total"),
                },
            ),
            Panel(
                "Stores that take commits",
                "Nodes whose store is ready.",
                "short",
                {"ready": now("goverse_store_ready")},
            ),
            Panel(
                "etcd, p99",
                "By operation.",
                "s",
                {"{{operation}}": quantile(0.99, ETCD, "operation")},
            ),
            Panel(
                "etcd, trouble",
                "Errors by code, writes that somebody else was faster with.",
                "ops",
                {
                    "{{operation}} {{code}}": total("goverse_etcd_errors_total", "operation, code"),
                    "refused": total("goverse_etcd_writes_refused_total"),
                },
            ),
            Panel(
                "The watch",
                "Changes that etcd told, and times that everything was read anew.",
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
    """Return a dashboard as Grafana reads it (schema version 39, Grafana 11 and newer)."""
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
    """Write all of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for uid, (title, panels) in DASHBOARDS.items():
        text = json.dumps(dashboard(uid, title, panels), indent=2) + "\n"
        (folder / f"{uid}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
