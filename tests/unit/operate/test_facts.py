"""Facts from the output of Kubernetes and from metrics of processes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from scripts.operate.facts import alerts_of, backups_of, calls_of, certificates_of, pods_of, series_of
from scripts.operate.looking import MIGRATIONS, known_migrations, since
from tests.tree import ROOT

pytestmark = pytest.mark.requirement("OPS-9")

METRICS = """
# TYPE goverse_method_calls_total counter
goverse_method_calls_total{object_type="Counter",method="increment",status="success"} 12.0
goverse_method_calls_total{object_type="Counter",method="in\\"odd",status="timeout"} 1.0
goverse_tls_certificate_expiry_timestamp_seconds{link="gate"} 1.7776e+09
goverse_leader 1.0
"""


def test_series_are_read_with_their_labels() -> None:
    assert series_of(METRICS, "goverse_leader") == [({}, 1.0)]
    assert next(labels["method"] for labels, _ in series_of(METRICS, "goverse_method_calls_total")) == "increment"
    assert calls_of([METRICS, METRICS]) == {"success": 24.0, "timeout": 2.0}
    assert certificates_of({"g": METRICS}) == {"g gate": datetime.fromtimestamp(1_777_600_000, UTC)}


def test_a_counter_that_was_reset_counts_from_zero() -> None:
    assert since({"success": 10.0, "timeout": 3.0}, {"success": 25.0, "timeout": 1.0, "moving": 2.0}) == {
        "success": 15.0,
        "timeout": 1.0,
        "moving": 2.0,
    }


def test_pods_of_jobs_that_ended_do_not_count() -> None:
    ready = {"conditions": [{"type": "Ready", "status": "True"}], "phase": "Running"}
    items: list[Any] = [
        {"metadata": {"name": "a", "labels": {"app.kubernetes.io/component": "node"}}, "status": ready},
        {"metadata": {"name": "b", "deletionTimestamp": "2026-05-01T00:00:00Z"}, "status": {"phase": "Running"}},
        {"metadata": {"name": "c"}, "status": {"phase": "Succeeded"}},
    ]
    assert [(pod.name, pod.ready, pod.leaving) for pod in pods_of({"items": items})] == [
        ("a", True, False),
        ("b", False, True),
    ]


def test_backups_and_alerts_are_those_of_the_release() -> None:
    items: list[Any] = [
        {"metadata": {"name": "goverse-backup-postgres"}, "status": {"lastSuccessfulTime": "2026-05-01T02:17:30Z"}},
        {"metadata": {"name": "goverse-backup-etcd"}},
        {"metadata": {"name": "another"}},
    ]
    assert backups_of({"items": items}) == {
        "goverse-backup-postgres": datetime(2026, 5, 1, 2, 17, 30, tzinfo=UTC),
        "goverse-backup-etcd": None,
    }
    alert = {"labels": {"alertname": "A", "namespace": "objects"}, "state": "firing"}
    pending = {"labels": {"alertname": "B", "namespace": "objects"}, "state": "pending"}
    assert alerts_of({"data": {"alerts": [alert, pending]}}, "objects") == ("A",)
    assert alerts_of({"data": {"alerts": [alert]}}, "other") == ()


def test_the_migrations_of_this_tree_are_known() -> None:
    assert (ROOT / "node" / "goverse_node") in MIGRATIONS.parents
    assert known_migrations() == tuple(sorted(path.stem for path in MIGRATIONS.glob("*.sql")))
    assert known_migrations()[0] == "0001_objects"
