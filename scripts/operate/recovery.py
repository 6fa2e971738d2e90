"""The commands `backup` and `restore` of the operator's tool."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from scripts.operate import jobs, restoring
from scripts.operate.dialogue import Options, agree, programs_of, say, tell
from scripts.operate.findings import blocking
from scripts.operate.looking import Look
from scripts.operate.programs import Programs, Refused

_PAUSE_S = 3.0


def backup(options: Options) -> int:
    """Create a backup of each store now."""
    programs = programs_of(options)
    cronjobs = _cronjobs(programs)
    for cronjob in cronjobs:
        told = jobs.run(programs, restoring.backup_job(cronjob, _now()), patience_s=options.patience_s)
        say(options, f"{cronjob['metadata']['name']}: {told.strip()}")
    return 0


def restore(options: Options) -> int:
    """Run one step of a restore: list the dumps, stop the processes, start them, or restore a dump and start them."""
    programs = programs_of(options)
    cronjob = next(each for each in _cronjobs(programs) if each["metadata"]["name"].endswith("-postgres"))
    if options.list:
        say(options, jobs.run(programs, restoring.list_job(cronjob, _now()), patience_s=options.patience_s).strip())
        return 0
    workloads = _workloads(programs)
    if options.stop:
        return stop(programs, options, workloads)
    replicas = {_part(each): int(each["spec"]["replicas"]) for each in workloads}
    try:
        done = _start(programs, options, workloads) if options.start else _replace(programs, options, cronjob, replicas)
        if done and not options.start and not (options.no_start or options.no_migrate):
            done = _start(programs, options, workloads)
    except (Refused, KeyboardInterrupt) as error:
        told = str(error) or "interrupted; a running Job is not stopped"
        raise Refused(told if any(replicas.values()) else f"{told}\n{_stopped(options)}") from error
    if not any(replicas.values()) and (not done or options.no_start or options.no_migrate):
        say(options, _stopped(options))
    return 0 if done else 1


def _stopped(options: Options) -> str:
    """Return a message that gates and nodes are stopped, and how to continue."""
    command = f"python3 -m scripts.operate restore {options.release} --namespace {options.namespace}"
    return (
        "gates and nodes are stopped, so all calls fail. Continue with\n"
        f"  {command} --dump {options.dump or 'NAME'}   to restore (again), or\n"
        f"  {command} --start   to start gates and nodes with the database as it is"
    )


def _replace(programs: Programs, options: Options, cronjob: dict[str, Any], replicas: dict[str, int]) -> bool:
    """Restore a dump and migrate the schema to the installed version. Returns False if a finding blocked it."""
    found = restoring.may_restore(options.dump, Look(programs).pods, replicas)
    found.append(restoring.none_runs(programs.of_release("jobs")["items"]))
    if tell(options, found):
        return False
    agree(options, f"this replaces the database of {options.release}; all commits after {options.dump} are lost")
    now = _now()
    steps = [restoring.restore_job(cronjob, options.dump, now)]
    if not options.no_migrate:
        steps.append(restoring.after_job(cronjob, restoring.tools_image(cronjob), now))
    for job in steps:
        told = jobs.run(programs, job, patience_s=options.patience_s).strip()
        say(options, told or f"{job['metadata']['name']}: done")
    return True


def _start(programs: Programs, options: Options, workloads: Sequence[Any]) -> bool:
    """Start gates and nodes that `--stop` stopped. Returns False if a restore is still running."""
    found = restoring.none_runs(jobs.patiently(partial(programs.of_release, "jobs"))["items"])
    if blocking([found]) and tell(options, [found]):
        return False
    for each in sorted(workloads, key=_part, reverse=True):  # nodes first
        name, count = f"{each['kind'].lower()}/{each['metadata']['name']}", _remembered(each)
        if each["spec"]["replicas"]:
            continue
        if count is None:
            say(options, f"start the {_part(each)}s with kubectl scale; their number of replicas was not recorded")
            continue
        jobs.patiently(partial(programs.kubectl, "scale", name, f"--replicas={count}"))
    say(options, "started; check the release with `python3 -m scripts.operate validate`")
    return True


def _remembered(workload: Any) -> str | None:
    count = workload["metadata"].get("annotations", {}).get(restoring.REMEMBERED)
    return None if count is None else str(count)


def stop(programs: Programs, options: Options, workloads: Sequence[Any]) -> int:
    """Stop gates and nodes, and record their number of replicas in an annotation."""
    agree(options, f"this stops {options.release}: all calls fail until it is started again")
    try:
        for each in sorted(workloads, key=_part):  # gates first, so that no call waits for a node
            name, count = f"{each['kind'].lower()}/{each['metadata']['name']}", each["spec"]["replicas"]
            if count:
                note = f"{restoring.REMEMBERED}={count}"
                jobs.patiently(partial(programs.kubectl, "annotate", "--overwrite", name, note))
            jobs.patiently(partial(programs.kubectl, "scale", name, "--replicas=0"))
        _wait_until_stopped(programs, options)
    except (Refused, KeyboardInterrupt) as error:
        raise Refused(f"{str(error) or 'interrupted'}\n{_stopped(options)}") from error
    say(options, "gates and nodes are stopped")
    return 0


def _wait_until_stopped(programs: Programs, options: Options) -> None:
    end = time.monotonic() + options.patience_s
    while True:
        look = Look(programs)
        left = "the Pods cannot be listed" if look.pods is None else ", ".join(sorted(p.name for p in look.serving()))
        if not left:
            return
        if time.monotonic() >= end:
            raise Refused(f"not stopped after {options.patience_s:g} s: {left}")
        time.sleep(_PAUSE_S)


def _workloads(programs: Programs) -> list[Any]:
    items = programs.of_release("statefulsets,deployments")["items"]
    return [each for each in items if _part(each) in ("node", "gate")]


def _cronjobs(programs: Programs) -> list[dict[str, Any]]:
    found = [each for each in programs.of_release("cronjobs")["items"] if "-backup-" in each["metadata"]["name"]]
    if not found:
        raise Refused("backups are disabled in this release: set backups.enabled, or use your database's own tools")
    return found


def _part(document: Any) -> str:
    return str(document["metadata"].get("labels", {}).get("app.kubernetes.io/component", ""))


def _now() -> str:
    return f"{datetime.now(UTC):%Y%m%d%H%M%S}"
