"""The commands `backup` and `restore`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from scripts.operate import jobs, restoring
from scripts.operate.dialogue import Options, agree, programs_of, say, tell
from scripts.operate.looking import Look
from scripts.operate.programs import Programs, Refused

_PAUSE_S = 3.0


def backup(options: Options) -> int:
    """Make a backup of each store now."""
    programs = programs_of(options)
    cronjobs = _cronjobs(programs)
    for cronjob in cronjobs:
        told = jobs.run(programs, restoring.backup_job(cronjob, _now()), patience_s=options.patience_s)
        say(options, f"{cronjob['metadata']['name']}: {told.strip()}")
    return 0


def restore(options: Options) -> int:
    """Restore the database from a dump: list, stop, or all of the rest."""
    programs = programs_of(options)
    cronjob = next(each for each in _cronjobs(programs) if each["metadata"]["name"].endswith("-postgres"))
    if options.list:
        say(options, jobs.run(programs, restoring.list_job(cronjob, _now()), patience_s=options.patience_s).strip())
        return 0
    workloads = _workloads(programs)
    if options.stop:
        return stop(programs, options, workloads)
    replicas = {_part(each): int(each["spec"]["replicas"]) for each in workloads}
    found = restoring.may_restore(options.dump or "", Look(programs).pods, replicas)
    if tell(options, found):
        return 1
    agree(options, f"the database of {options.release} is replaced; what was acknowledged after {options.dump} is lost")
    now = _now()
    image = restoring.tools_image(cronjob)
    for job in (restoring.restore_job(cronjob, options.dump, now), restoring.after_job(cronjob, image, now)):
        say(
            options,
            jobs.run(programs, job, patience_s=options.patience_s).strip() or f"{job['metadata']['name']}: done",
        )
    for each in workloads:
        count = each["metadata"].get("annotations", {}).get(restoring.REMEMBERED)
        if count is None:
            say(options, f"start the {_part(each)}s: kubectl scale; how many there were is not known here")
            continue
        programs.kubectl("scale", f"{each['kind'].lower()}/{each['metadata']['name']}", f"--replicas={count}")
    say(options, "started; see `python3 -m scripts.operate validate`")
    return 0


def stop(programs: Programs, options: Options, workloads: Sequence[Any]) -> int:
    """Stop gates and nodes, and remember how many there were."""
    agree(options, f"callers of {options.release} get no answers from now on")
    for each in sorted(workloads, key=_part):  # gates first, so that nobody waits for nodes
        name, count = f"{each['kind'].lower()}/{each['metadata']['name']}", each["spec"]["replicas"]
        if count:
            programs.kubectl("annotate", "--overwrite", name, f"{restoring.REMEMBERED}={count}")
        programs.kubectl("scale", name, "--replicas=0")
    end = time.monotonic() + options.patience_s
    while left := sorted(pod.name for pod in Look(programs).serving()):
        if time.monotonic() >= end:
            raise Refused(f"still there after {options.patience_s:g} s: {', '.join(left)}")
        time.sleep(_PAUSE_S)
    say(options, "nobody serves")
    return 0


def _workloads(programs: Programs) -> list[Any]:
    items = programs.of_release("statefulsets,deployments")["items"]
    return [each for each in items if _part(each) in ("node", "gate")]


def _cronjobs(programs: Programs) -> list[dict[str, Any]]:
    found = [each for each in programs.of_release("cronjobs")["items"] if "-backup-" in each["metadata"]["name"]]
    if not found:
        raise Refused("the release makes no backups: set backups.enabled, or use your database's own means")
    return found


def _part(document: Any) -> str:
    return str(document["metadata"].get("labels", {}).get("app.kubernetes.io/component", ""))


def _now() -> str:
    return f"{datetime.now(UTC):%Y%m%d%H%M%S}"
