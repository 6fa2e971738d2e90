"""Checks of an upgrade: each fact that is out of order blocks under its own code and names the next step."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from scripts.operate.checks import AFTER, BEFORE, OWN_CODES, RUNNING, Limits, judged, pending
from scripts.operate.facts import Facts, Node, Pod, Shards, Wanted
from scripts.operate.findings import Finding, Weight, blocking, note, warning
from tests.deploy.alerts import failing_statuses

pytestmark = pytest.mark.requirement("OPS-9")

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
NODE, GATE = (
    Pod("goverse-node-0", "node", True, "0.1.1", 0, False),
    Pod("goverse-gate-a", "gate", True, "0.1.1", 0, False),
)
ONLY = Node("goverse-node-0", "serving", "0.1.1", 8, True)
WELL = Facts(
    at=NOW,
    release_status="deployed",
    present="0.1.0",
    wanted="0.1.1",
    pods=(NODE, GATE),
    sizes=(Wanted("node", 1, 1, 1), Wanted("gate", 1, 1, 1)),
    nodes=(ONLY,),
    shards=Shards(8, 8, 0),
    budgets={"goverse-node": 1, "goverse-gate": 1},
    backups={"goverse-backup-postgres": NOW - timedelta(hours=10), "goverse-backup-etcd": None},
    migrations={"0001_objects": True},
    known_migrations=("0001_objects",),
    calls={"success": 995.0, "sold_out": 400.0, "timeout": 5.0},
    certificates={"goverse-gate-a gate": NOW + timedelta(days=300)},
    readiness={"goverse-node-0": ()},
    alerts=(),
)


def found(changes: dict[str, Any], checks: Any = BEFORE) -> dict[str, Finding]:
    return {each.code: each for each in judged(checks, replace(WELL, **changes), Limits())}


def codes_that_block(changes: dict[str, Any], checks: Any = BEFORE) -> set[str]:
    return {each.code for each in blocking(found(changes, checks).values())}


@pytest.mark.parametrize("checks", [BEFORE, AFTER, RUNNING], ids=["before", "after", "running"])
def test_a_healthy_release_passes_every_check(checks: Any) -> None:
    assert {each.weight for each in found({}, checks).values()} == {Weight.OK}


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("release_settled", {"release_status": "pending-upgrade"}),
        ("versions_compatible", {"wanted": "0.3.0"}),
        ("versions_compatible", {"wanted": "0.0.9"}),
        ("versions_compatible", {"wanted": "latest"}),
        ("values_valid", {"values_refused": "postgres.external.dsn is needed"}),
        ("pods_ready", {"pods": (NODE, replace(GATE, ready=False))}),
        ("pods_ready", {"pods": (replace(NODE, leaving=True), GATE)}),
        ("pods_ready", {"pods": ()}),
        ("nodes_alike", {"nodes": (ONLY, Node("b", "serving", "0.1.0", 0, False))}),
        ("nodes_alike", {"nodes": (Node("a", "draining", "0.1.1", 8, True),)}),
        ("nodes_alike", {"nodes": (Node("a", "serving", "0.1.1", 8, False),)}),
        ("shards_claimed", {"shards": Shards(8, 7, 1)}),
        ("shards_claimed", {"shards": Shards(8, 8, 2)}),
        ("shards_claimed", {"shards": Shards(0, 0, 0)}),
        ("budgets_leave_room", {"budgets": {"goverse-node": 0}}),
        ("schema_current", {"migrations": {"0001_objects": True, "0002_more": False}}),
        ("certificates_last", {"certificates": {"goverse-gate-a gate": NOW + timedelta(days=2)}}),
    ],
)
def test_each_problem_blocks_under_its_code_and_says_what_to_do(code: str, changes: dict[str, Any]) -> None:
    assert code in codes_that_block(changes)
    assert found(changes)[code].next


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("all_updated", {"pods": (NODE, replace(GATE, release="0.1.0"))}),
        ("all_updated", {"sizes": (Wanted("node", 3, 2, 3),)}),
        ("nodes_of_release", {"nodes": (Node("a", "serving", "0.1.0", 8, True),)}),
        ("nodes_of_release", {"nodes": ()}),
        ("errors_few", {"calls": {"success": 90.0, "timeout": 10.0}}),
    ],
)
def test_leftovers_of_an_upgrade_block(code: str, changes: dict[str, Any]) -> None:
    assert codes_that_block(changes, AFTER) >= {code}


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("processes_ready", {"readiness": {"goverse-node-0": ("no shard is placed yet",)}}),
        ("alerts_silent", {"alerts": ("GoVerseNoLeader",)}),
    ],
)
def test_reasons_and_alerts_of_a_running_release_are_reported(code: str, changes: dict[str, Any]) -> None:
    assert codes_that_block(changes, RUNNING) == {code}
    seen = found(changes, RUNNING)[code].seen
    assert "no shard is placed yet" in seen or "GoVerseNoLeader" in seen


@pytest.mark.parametrize("unseen", ["pods", "nodes", "shards", "budgets", "backups", "migrations", "certificates"])
def test_a_fact_that_is_unavailable_blocks_with_the_reason(unseen: str) -> None:
    changes: dict[str, Any] = {unseen: None, "unseen": {unseen: "kubectl says no"}}

    assert codes_that_block(changes)
    assert any("kubectl says no" in each.seen for each in blocking(found(changes).values()))


def test_a_migration_makes_an_old_backup_block_and_is_named() -> None:
    old = {"goverse-backup-postgres": NOW - timedelta(hours=40)}
    migration: dict[str, Any] = {"known_migrations": ("0001_objects", "0002_queries")}

    assert found({"backups": old})["backup_recent"].weight is Weight.WARNING
    assert codes_that_block({"backups": old, **migration}) == {"backup_recent"}
    assert "0002_queries" in found(migration)["migrations_pending"].seen
    assert pending(replace(WELL, **migration)) == ["0002_queries"]
    assert codes_that_block({"backups": {}, **migration}) == {"backup_recent"}
    assert codes_that_block({"backups": {"goverse-backup-postgres": None}, **migration}) == {"backup_recent"}


def test_a_finding_can_be_accepted_by_its_code() -> None:
    findings = found({"shards": Shards(8, 7, 1)}).values()

    assert [each.code for each in blocking(findings)] == ["shards_claimed"]
    assert blocking(findings, ["shards_claimed"]) == []
    assert blocking(findings, ["pods_ready"]) != []


def test_a_release_without_calls_proves_nothing() -> None:
    assert found({"calls": {}}, AFTER)["errors_few"].weight is Weight.NOTE


def test_a_missing_prometheus_is_reported() -> None:
    assert found({"alerts": None}, RUNNING)["alerts_silent"].weight is Weight.NOTE
    assert codes_that_block({"alerts": None, "unseen": {"alerts": "no route"}}, RUNNING) == {"alerts_silent"}


def test_a_finding_without_a_next_step_is_refused() -> None:
    with pytest.raises(ValueError, match="what to do next"):
        warning("code", "seen", "")
    assert note("code", "seen").line.startswith("note")


def test_failed_calls_are_those_of_the_alert() -> None:
    assert OWN_CODES.pattern == failing_statuses()
