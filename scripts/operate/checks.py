"""Checks of a release: before an upgrade, after it, and while it runs.

The checks are pure functions: the same facts give the same findings. A fact that could not be read is a finding too,
and it blocks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta

from scripts.operate import versions
from scripts.operate.facts import Facts
from scripts.operate.findings import Finding, blocks, note, ok, warning

OWN_CODES = re.compile(r"internal_error|unavailable|moving|draining|timeout|overloaded|store_.+")
"""Error codes of calls that are not the application's fault, as in the alert GoVerseCallsFail."""

Check = Callable[[Facts, "Limits"], Finding]


@dataclass(frozen=True)
class Limits:
    """Limits that the operator may change."""

    backup_age: timedelta = timedelta(hours=26)
    errors_share: float = 0.01
    certificate_days: int = 3


# --- before -----------------------------------------------------------------------------------------------------------


def release_settled(facts: Facts, _: Limits) -> Finding:
    """Check that no other change of the release is in progress or stuck."""
    if facts.release_status == "deployed":
        return ok("release_settled", "the last change of the release is complete")
    to_do = "wait for it to complete; if it is stuck, `helm rollback` to the last deployed revision"
    return blocks("release_settled", f"Helm status of the release: {facts.release_status or 'unknown'}", to_do)


def versions_compatible(facts: Facts, _: Limits) -> Finding:
    """Check that an upgrade from the installed version to the new one is supported."""
    code = "versions_compatible"
    present, wanted = versions.parse(facts.present or ""), versions.parse(facts.wanted or "")
    if present is None or wanted is None:
        seen = f"cannot compare the versions {facts.present!r} and {facts.wanted!r}"
        return blocks(code, seen, "use the chart of a release, whose appVersion is a version")
    taken = versions.step(present, wanted)
    if taken is versions.Step.TOO_FAR:
        to_do = "upgrade one minor version at a time, because processes of both versions run together during an upgrade"
        return blocks(code, f"{facts.present} to {facts.wanted} is more than one minor version", to_do)
    if taken is versions.Step.BACK:
        to_do = "use `helm rollback` if the newer version had no migration; otherwise restore the backup made before it"
        return blocks(code, f"{facts.wanted} is older than {facts.present}", to_do)
    return ok(code, f"{facts.present} to {facts.wanted}")


def values_valid(facts: Facts, _: Limits) -> Finding:
    """Check that the new chart accepts the values of the release."""
    if facts.values_refused is None:
        return ok("values_valid", "the new chart accepts the values")
    return blocks("values_valid", facts.values_refused, "change these values with --values or --set; see the changelog")


def pods_ready(facts: Facts, _: Limits) -> Finding:
    """Check that every Pod is ready and no Pod is terminating."""
    if facts.pods is None:
        return _unseen(facts, "pods_ready", "pods")
    wrong = [pod.name for pod in facts.pods if not pod.ready or pod.leaving]
    if not facts.pods or wrong:
        to_do = "`kubectl describe pod`, `kubectl logs --previous`; docs/guide/troubleshooting.md has each reason"
        return blocks("pods_ready", f"not ready: {', '.join(wrong)}" if wrong else "no Pods found", to_do)
    return ok("pods_ready", f"{len(facts.pods)} of {len(facts.pods)} Pods are ready")


def nodes_alike(facts: Facts, _: Limits) -> Finding:
    """Check that all nodes run one version, no node drains, and one node is the leader."""
    if facts.nodes is None:
        return _unseen(facts, "nodes_alike", "nodes")
    releases = sorted({node.release for node in facts.nodes})
    leaving = [node.name for node in facts.nodes if node.state != "serving"]
    if len(releases) > 1:
        to_do = "wait until the upgrade in progress is complete"
        return blocks("nodes_alike", f"nodes run different versions: {', '.join(releases)}", to_do)
    if leaving:
        return blocks("nodes_alike", f"not serving: {', '.join(leaving)}", "wait, or `goverse nodes drain NODE --undo`")
    if sum(node.leader for node in facts.nodes) != 1:
        return blocks("nodes_alike", "the cluster has no leader", "see docs/operations/runbook.md#goversenoleader")
    return ok("nodes_alike", f"{len(facts.nodes)} nodes of version {releases[0]} are serving; one is the leader")


def shards_claimed(facts: Facts, _: Limits) -> Finding:
    """Check that every shard has an owner and no shard is moving."""
    if facts.shards is None:
        return _unseen(facts, "shards_claimed", "shards")
    told = f"claimed {facts.shards.claimed} of {facts.shards.total} shards, {facts.shards.moving} moving"
    if facts.shards.claimed < facts.shards.total or not facts.shards.total or facts.shards.moving:
        to_do = "`goverse shards list` lists them; see docs/operations/runbook.md#goverseshardsunserved"
        return blocks("shards_claimed", told, to_do)
    return ok("shards_claimed", told)


def budgets_leave_room(facts: Facts, _: Limits) -> Finding:
    """Check that each PodDisruptionBudget allows an eviction."""
    if facts.budgets is None:
        return _unseen(facts, "budgets_leave_room", "budgets")
    full = [name for name, allowed in sorted(facts.budgets.items()) if allowed < 1]
    if full:
        to_do = "a Pod of that part is unavailable already: repair it first (`kubectl get pdb`, `kubectl get pods`)"
        return blocks("budgets_leave_room", f"no eviction allowed by {', '.join(full)}", to_do)
    return ok("budgets_leave_room", f"{len(facts.budgets)} budgets allow an eviction")


def schema_current(facts: Facts, _: Limits) -> Finding:
    """Check that the database has the schema of the installed version."""
    if facts.migrations is None:
        return _unseen(facts, "schema_current", "migrations")
    missing = [name for name, applied in facts.migrations.items() if not applied]
    if missing:
        to_do = "check `kubectl logs job/...-migrate-...` for the reason"
        return blocks("schema_current", f"missing migrations of the installed version: {', '.join(missing)}", to_do)
    return ok("schema_current", f"{len(facts.migrations)} migrations are applied")


def pending(facts: Facts) -> list[str]:
    """Return the migrations that the upgrade would apply."""
    applied = {name for name, is_applied in (facts.migrations or {}).items() if is_applied}
    return [name for name in facts.known_migrations if name not in applied]


def migrations_pending(facts: Facts, _: Limits) -> Finding:
    """Warn if the upgrade applies migrations, so that undoing it needs a restore."""
    if facts.migrations is None:
        return _unseen(facts, "migrations_pending", "migrations")
    names = pending(facts)
    if names:
        to_do = "migrations cannot be undone: afterwards, going back needs the backup (docs/guide/upgrade.md)"
        return warning("migrations_pending", f"will be applied: {', '.join(names)}", to_do)
    return ok("migrations_pending", "no migrations; `helm rollback` can undo the upgrade")


def backup_recent(facts: Facts, limits: Limits) -> Finding:
    """Check that a recent dump of the database exists. Without a pending migration this is a warning only."""
    code, needed = "backup_recent", bool(pending(facts)) or facts.migrations is None
    weigh = blocks if needed else warning
    if facts.backups is None:
        return _unseen(facts, code, "backups")
    dumps = [at for name, at in facts.backups.items() if name.endswith("-postgres")]
    if not dumps:
        to_do = "set backups.enabled; or create a backup with your database's tools and add --despite backup_recent"
        return weigh(code, "backups of the database are disabled in this release", to_do)
    newest = max((at for at in dumps if at is not None), default=None)
    if newest is None or facts.at - newest > limits.backup_age:
        age = "no dump has succeeded yet" if newest is None else f"the newest dump is from {newest:%Y-%m-%d %H:%M} UTC"
        return weigh(code, age, "run python3 -m scripts.operate backup")
    return ok(code, f"the newest dump is from {newest:%Y-%m-%d %H:%M} UTC")


# --- after and while it runs ------------------------------------------------------------------------------------------


def all_updated(facts: Facts, _: Limits) -> Finding:
    """Check that every Pod has the new template and the new version."""
    if facts.sizes is None or facts.pods is None:
        return _unseen(facts, "all_updated", "sizes" if facts.sizes is None else "pods")
    behind = [f"{each.part} {each.updated} of {each.replicas}" for each in facts.sizes if each.updated < each.replicas]
    old = [pod.name for pod in facts.pods if pod.part in ("node", "gate") and pod.release != facts.wanted]
    if behind or old:
        to_do = "see `kubectl rollout status`; if a Pod does not start, `kubectl describe pod` has the reason"
        return blocks("all_updated", f"not updated to {facts.wanted}: {', '.join(behind + old)}", to_do)
    return ok("all_updated", f"all Pods have version {facts.wanted}")


def nodes_of_release(facts: Facts, _: Limits) -> Finding:
    """Check that all registered nodes run the version that was installed."""
    if facts.nodes is None:
        return _unseen(facts, "nodes_of_release", "nodes")
    other = [f"{node.name} ({node.release})" for node in facts.nodes if node.release != facts.wanted]
    if other or not facts.nodes:
        seen = f"nodes of another version: {', '.join(other)}" if other else "no node is registered"
        to_do = "build your image (app.image) from the node image of this version"
        return blocks("nodes_of_release", seen, to_do)
    return ok("nodes_of_release", f"{len(facts.nodes)} nodes of version {facts.wanted}")


def errors_few(facts: Facts, limits: Limits) -> Finding:
    """Check that few recent calls failed for a reason outside the application."""
    if facts.calls is None:
        return _unseen(facts, "errors_few", "calls")
    total = sum(facts.calls.values())
    failed = {code: count for code, count in facts.calls.items() if OWN_CODES.fullmatch(code) and count > 0}
    if not total:
        return note("errors_few", "no call ended during the check", "check again under load, or make one with --call")
    if sum(failed.values()) > limits.errors_share * total:
        told = ", ".join(f"{code} {count:.0f}" for code, count in sorted(failed.items()))
        return blocks(
            "errors_few", f"failures of {total:.0f} calls: {told}", "see docs/operations/runbook.md#goversecallsfail"
        )
    return ok("errors_few", f"{sum(failed.values()):.0f} of {total:.0f} calls failed")


def processes_ready(facts: Facts, _: Limits) -> Finding:
    """Check that each process reports itself ready; otherwise show its reasons."""
    if facts.readiness is None:
        return _unseen(facts, "processes_ready", "readiness")
    wrong = [f"{pod}: {'; '.join(reasons)}" for pod, reasons in sorted(facts.readiness.items()) if reasons]
    if wrong:
        return blocks("processes_ready", " | ".join(wrong), "docs/guide/troubleshooting.md explains each reason")
    return ok("processes_ready", f"{len(facts.readiness)} processes are ready")


def certificates_last(facts: Facts, limits: Limits) -> Finding:
    """Check that no certificate expires soon."""
    if facts.certificates is None:
        return _unseen(facts, "certificates_last", "certificates")
    if not facts.certificates:
        return note("certificates_last", "no process has a certificate: connections are not encrypted")
    soon = {
        name: at for name, at in facts.certificates.items() if at - facts.at < timedelta(days=limits.certificate_days)
    }
    if soon:
        told = ", ".join(f"{name} on {at:%Y-%m-%d}" for name, at in sorted(soon.items()))
        return blocks("certificates_last", f"expires: {told}", "see docs/operations/runbook.md#goversecertificateends")
    first = min(facts.certificates.values())
    return ok("certificates_last", f"the first of {len(facts.certificates)} certificates expires on {first:%Y-%m-%d}")


def alerts_silent(facts: Facts, _: Limits) -> Finding:
    """Check that no alert of the release is firing."""
    if "alerts" in facts.unseen:
        return _unseen(facts, "alerts_silent", "alerts")
    if facts.alerts is None:
        return note("alerts_silent", "alerts were not checked", "add --prometheus NAMESPACE/SERVICE:PORT")
    if facts.alerts:
        to_do = "docs/operations/runbook.md has an entry for each"
        return blocks("alerts_silent", f"firing: {', '.join(facts.alerts)}", to_do)
    return ok("alerts_silent", "no alert is firing")


def _unseen(facts: Facts, code: str, what: str) -> Finding:
    why = facts.unseen.get(what, "it was not checked")
    return blocks(code, f"could not be checked: {why}", "check that kubectl can reach the cluster and has permission")


BEFORE: tuple[Check, ...] = (
    release_settled,
    versions_compatible,
    values_valid,
    pods_ready,
    nodes_alike,
    shards_claimed,
    budgets_leave_room,
    schema_current,
    migrations_pending,
    backup_recent,
    certificates_last,
)
AFTER: tuple[Check, ...] = (all_updated, pods_ready, nodes_of_release, shards_claimed, schema_current, errors_few)
RUNNING: tuple[Check, ...] = (
    release_settled,
    pods_ready,
    processes_ready,
    nodes_alike,
    shards_claimed,
    schema_current,
    certificates_last,
    errors_few,
    alerts_silent,
)


def judged(checks: Iterable[Check], facts: Facts, limits: Limits) -> list[Finding]:
    """Run each check and return its finding."""
    return [check(facts, limits) for check in checks]
