"""What facts mean: which findings there are before an upgrade, after it, and of a release that runs.

Pure: the same facts give the same findings. What could not be seen is a finding too, and
blocks.
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
"""Ends of calls that are not the application's: those of the alert GoVerseCallsFail."""

Check = Callable[[Facts, "Limits"], Finding]


@dataclass(frozen=True)
class Limits:
    """What an operator puts up with."""

    backup_age: timedelta = timedelta(hours=26)
    errors_share: float = 0.01
    certificate_days: int = 3


# --- before -----------------------------------------------------------------------------------------------------------


def release_settled(facts: Facts, _: Limits) -> Finding:
    """No other change of the release is under way or stuck."""
    if facts.release_status == "deployed":
        return ok("release_settled", "the last change of the release is complete")
    to_do = "wait for it; if nobody works on it, `helm rollback` to the last revision that was deployed"
    return blocks("release_settled", f"Helm says {facts.release_status or 'nothing'} of the release", to_do)


def versions_compatible(facts: Facts, _: Limits) -> Finding:
    """The new release may follow the present one."""
    code = "versions_compatible"
    present, wanted = versions.parse(facts.present or ""), versions.parse(facts.wanted or "")
    if present is None or wanted is None:
        seen = f"the releases {facts.present!r} and {facts.wanted!r} cannot be compared"
        return blocks(code, seen, "install a chart of a release, whose appVersion says which")
    taken = versions.step(present, wanted)
    if taken is versions.Step.TOO_FAR:
        to_do = "go one minor at a time: nodes and gates of both serve together meanwhile"
        return blocks(code, f"from {facts.present} to {facts.wanted} is more than one minor", to_do)
    if taken is versions.Step.BACK:
        to_do = (
            "use `helm rollback` if no migration came with the newer release; else restore the backup made before it"
        )
        return blocks(code, f"{facts.wanted} is older than {facts.present}", to_do)
    return ok(code, f"from {facts.present} to {facts.wanted}")


def values_valid(facts: Facts, _: Limits) -> Finding:
    """The new chart takes the values of the release."""
    if facts.values_refused is None:
        return ok("values_valid", "the new chart takes the values")
    return blocks(
        "values_valid", facts.values_refused, "change these values, with --values or --set; see the changelog"
    )


def pods_ready(facts: Facts, _: Limits) -> Finding:
    """Every Pod is ready and none is on its way out."""
    if facts.pods is None:
        return _unseen(facts, "pods_ready", "pods")
    wrong = [pod.name for pod in facts.pods if not pod.ready or pod.leaving]
    if not facts.pods or wrong:
        to_do = "`kubectl describe pod`, `kubectl logs --previous`; docs/guide/troubleshooting.md has each reason"
        return blocks("pods_ready", f"not ready: {', '.join(wrong)}" if wrong else "there are no Pods", to_do)
    return ok("pods_ready", f"{len(facts.pods)} of {len(facts.pods)} Pods are ready")


def nodes_alike(facts: Facts, _: Limits) -> Finding:
    """Nodes are of one release, none drains, one leads."""
    if facts.nodes is None:
        return _unseen(facts, "nodes_alike", "nodes")
    releases = sorted({node.release for node in facts.nodes})
    leaving = [node.name for node in facts.nodes if node.state != "serving"]
    if len(releases) > 1:
        to_do = "let the upgrade that is under way come to its end first"
        return blocks("nodes_alike", f"nodes of several releases serve: {', '.join(releases)}", to_do)
    if leaving:
        return blocks("nodes_alike", f"not serving: {', '.join(leaving)}", "wait, or `goverse nodes drain NODE --undo`")
    if sum(node.leader for node in facts.nodes) != 1:
        return blocks("nodes_alike", "no node leads", "see docs/operations/runbook.md#goversenoleader")
    return ok("nodes_alike", f"{len(facts.nodes)} nodes of {releases[0]} serve, one leads")


def shards_claimed(facts: Facts, _: Limits) -> Finding:
    """Every shard has an owner and none is on its way."""
    if facts.shards is None:
        return _unseen(facts, "shards_claimed", "shards")
    told = f"claimed {facts.shards.claimed} of {facts.shards.total} shards, {facts.shards.moving} on their way"
    if facts.shards.claimed < facts.shards.total or not facts.shards.total or facts.shards.moving:
        to_do = "`goverse shards list` says which; docs/operations/runbook.md#goverseshardsunserved"
        return blocks("shards_claimed", told, to_do)
    return ok("shards_claimed", told)


def budgets_leave_room(facts: Facts, _: Limits) -> Finding:
    """Each PodDisruptionBudget lets a Pod go."""
    if facts.budgets is None:
        return _unseen(facts, "budgets_leave_room", "budgets")
    full = [name for name, allowed in sorted(facts.budgets.items()) if allowed < 1]
    if full:
        to_do = "something of that part is away already: bring it back first (`kubectl get pdb`, `kubectl get pods`)"
        return blocks("budgets_leave_room", f"{', '.join(full)} lets nobody go", to_do)
    return ok("budgets_leave_room", f"{len(facts.budgets)} budgets let a Pod go")


def schema_current(facts: Facts, _: Limits) -> Finding:
    """The database has the schema of the release that runs."""
    if facts.migrations is None:
        return _unseen(facts, "schema_current", "migrations")
    missing = [name for name, applied in facts.migrations.items() if not applied]
    if missing:
        to_do = "`kubectl logs job/...-migrate-...` says why the last migration did not end"
        return blocks("schema_current", f"the present release lacks {', '.join(missing)}", to_do)
    return ok("schema_current", f"{len(facts.migrations)} migrations are applied")


def pending(facts: Facts) -> list[str]:
    """Return the migrations that the upgrade brings."""
    applied = {name for name, is_applied in (facts.migrations or {}).items() if is_applied}
    return [name for name in facts.known_migrations if name not in applied]


def migrations_pending(facts: Facts, _: Limits) -> Finding:
    """Say whether there is a way back without a restore."""
    if facts.migrations is None:
        return _unseen(facts, "migrations_pending", "migrations")
    names = pending(facts)
    if names:
        to_do = "they go forward only: behind them the way back is the backup (docs/guide/upgrade.md)"
        return warning("migrations_pending", f"will be applied: {', '.join(names)}", to_do)
    return ok("migrations_pending", "no migration comes with it; `helm rollback` is a way back")


def backup_recent(facts: Facts, limits: Limits) -> Finding:
    """There is a dump of the database to go back to. Without a migration it is missed less."""
    code, needed = "backup_recent", bool(pending(facts)) or facts.migrations is None
    weigh = blocks if needed else warning
    if facts.backups is None:
        return _unseen(facts, code, "backups")
    dumps = [at for name, at in facts.backups.items() if name.endswith("-postgres")]
    if not dumps:
        to_do = "make a backup with your database's own means, then --despite backup_recent; or set backups.enabled"
        return weigh(code, "the release makes no backups of the database", to_do)
    newest = max((at for at in dumps if at is not None), default=None)
    if newest is None or facts.at - newest > limits.backup_age:
        age = "none succeeded yet" if newest is None else f"the newest is of {newest:%Y-%m-%d %H:%M} UTC"
        return weigh(code, age, "python3 -m scripts.operate backup")
    return ok(code, f"the newest dump is of {newest:%Y-%m-%d %H:%M} UTC")


# --- after and while it runs ------------------------------------------------------------------------------------------


def all_updated(facts: Facts, _: Limits) -> Finding:
    """Every Pod is of the new template, and says the new release."""
    if facts.sizes is None or facts.pods is None:
        return _unseen(facts, "all_updated", "sizes" if facts.sizes is None else "pods")
    behind = [f"{each.part} {each.updated} of {each.replicas}" for each in facts.sizes if each.updated < each.replicas]
    old = [pod.name for pod in facts.pods if pod.part in ("node", "gate") and pod.release != facts.wanted]
    if behind or old:
        to_do = "`kubectl rollout status`; a Pod that does not start holds up the rest, `kubectl describe` says why"
        return blocks("all_updated", f"not of {facts.wanted}: {', '.join(behind + old)}", to_do)
    return ok("all_updated", f"all Pods are of {facts.wanted}")


def nodes_of_release(facts: Facts, _: Limits) -> Finding:
    """The nodes that the cluster knows run the release that was installed."""
    if facts.nodes is None:
        return _unseen(facts, "nodes_of_release", "nodes")
    other = [f"{node.name} ({node.release})" for node in facts.nodes if node.release != facts.wanted]
    if other or not facts.nodes:
        seen = f"nodes of another release: {', '.join(other)}" if other else "no node is registered"
        to_do = "app.image is your image: build it on the node image of this release"
        return blocks("nodes_of_release", seen, to_do)
    return ok("nodes_of_release", f"{len(facts.nodes)} nodes of {facts.wanted}")


def errors_few(facts: Facts, limits: Limits) -> Finding:
    """Calls that ended lately ended well, or in the application's own words."""
    if facts.calls is None:
        return _unseen(facts, "errors_few", "calls")
    total = sum(facts.calls.values())
    failed = {code: count for code, count in facts.calls.items() if OWN_CODES.fullmatch(code) and count > 0}
    if not total:
        return note("errors_few", "no call ended while this looked", "look again under load, or name one with --call")
    if sum(failed.values()) > limits.errors_share * total:
        told = ", ".join(f"{code} {count:.0f}" for code, count in sorted(failed.items()))
        return blocks(
            "errors_few", f"of {total:.0f} calls failed: {told}", "docs/operations/runbook.md#goversecallsfail"
        )
    return ok("errors_few", f"{sum(failed.values()):.0f} of {total:.0f} calls failed")


def processes_ready(facts: Facts, _: Limits) -> Finding:
    """Each process says that it is ready; the reasons say why not."""
    if facts.readiness is None:
        return _unseen(facts, "processes_ready", "readiness")
    wrong = [f"{pod}: {'; '.join(reasons)}" for pod, reasons in sorted(facts.readiness.items()) if reasons]
    if wrong:
        return blocks("processes_ready", " | ".join(wrong), "docs/guide/troubleshooting.md has each reason")
    return ok("processes_ready", f"{len(facts.readiness)} processes are ready")


def certificates_last(facts: Facts, limits: Limits) -> Finding:
    """No certificate ends soon."""
    if facts.certificates is None:
        return _unseen(facts, "certificates_last", "certificates")
    if not facts.certificates:
        return note("certificates_last", "no process has a certificate: nothing is encrypted")
    soon = {
        name: at for name, at in facts.certificates.items() if at - facts.at < timedelta(days=limits.certificate_days)
    }
    if soon:
        told = ", ".join(f"{name} on {at:%Y-%m-%d}" for name, at in sorted(soon.items()))
        return blocks("certificates_last", f"ends: {told}", "docs/operations/runbook.md#goversecertificateends")
    first = min(facts.certificates.values())
    return ok("certificates_last", f"the first of {len(facts.certificates)} ends on {first:%Y-%m-%d}")


def alerts_silent(facts: Facts, _: Limits) -> Finding:
    """No alert of the release fires."""
    if "alerts" in facts.unseen:
        return _unseen(facts, "alerts_silent", "alerts")
    if facts.alerts is None:
        return note("alerts_silent", "Prometheus was not asked", "--prometheus NAMESPACE/SERVICE:PORT")
    if facts.alerts:
        to_do = "docs/operations/runbook.md has an entry for each"
        return blocks("alerts_silent", f"firing: {', '.join(facts.alerts)}", to_do)
    return ok("alerts_silent", "no alert fires")


def _unseen(facts: Facts, code: str, what: str) -> Finding:
    why = facts.unseen.get(what, "it was not looked at")
    return blocks(code, f"could not be seen: {why}", "see that kubectl reaches the cluster and may do this")


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
    """Return a finding for each check."""
    return [check(facts, limits) for check in checks]
