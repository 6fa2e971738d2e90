"""Backups and the way back: Jobs made of the CronJobs that the chart installed, and the order of a restore.

The Job of a restore is the one of the backup with another command, so that image, password, certificates, network
policy and volume are those that made the dump. The order: nobody serves; the dump is restored; the schema is brought to
the present release and everything is verified; who served before serves again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from scripts.operate.facts import Pod
from scripts.operate.findings import Finding, blocks, ok
from scripts.operate.jobs import conditions_of
from scripts.operate.programs import Refused

Document = dict[str, Any]

DUMP = re.compile(r"postgres-\d{8}T\d{6}Z")
PURPOSE = "goverse/purpose"
"""Label by which Jobs of the tool are known: `now`, `restore`, `verify`, `list`."""
REMEMBERED = "goverse/replicas-before-restore"
_LIST = """
import os
from pathlib import Path
for path in sorted(Path(os.environ["FOLDER"]).glob("*-*Z")):
    print(path.name, path.stat().st_size)
"""
RESTORE = """
set -euo pipefail
{
    echo 'BEGIN; DROP SCHEMA IF EXISTS goverse CASCADE; CREATE SCHEMA goverse;'
    pg_restore --schema=goverse --file=- "$DUMP" && echo 'SELECT goverse.prepare_days(1); COMMIT;'
} | psql --quiet --no-password --no-psqlrc --set ON_ERROR_STOP=1 --output /dev/null "$DSN"
"""
"""Replaces the schema in one transaction, which is committed after the last line of a dump that could be read to its
end, with the partitions of today, which an older dump does not have and `goverse db verify` misses.

Nothing else of the database is touched, whatever the dump holds besides. `pg_restore --clean` is not the same: it fails
at the keys of partitions, and leaves what the dump does not know.
"""
_PASSWORD = """\
if [ -e /etc/goverse/postgres-password/password ]; then
    PGPASSWORD=$(</etc/goverse/postgres-password/password)
    export PGPASSWORD
fi
"""


def may_restore(dump: str, pods: tuple[Pod, ...] | None, replicas: Mapping[str, int]) -> list[Finding]:
    """Tell whether a restore may begin: only with a whole dump, and while nobody serves.

    Args:
        dump: name of the file on the volume.
        pods: what is there, or None where that could not be seen.
        replicas: how many of each part there are meant to be.
    """
    found: list[Finding] = []
    if DUMP.fullmatch(dump):
        found.append(ok("dump_whole", f"{dump} has the name of a dump that is complete"))
    else:
        to_do = "name one of `python3 -m scripts.operate restore --list`, like postgres-20260102T021700Z"
        found.append(blocks("dump_whole", f"{dump!r} is not the name of a dump", to_do))
    if pods is None:
        return [*found, blocks("nobody_serves", "the Pods could not be seen", "see that kubectl reaches the cluster")]
    serving = sorted(pod.name for pod in pods if pod.part in ("node", "gate"))
    meant = sorted(f"{part} ({count})" for part, count in replicas.items() if count)
    if serving or meant:
        to_do = "stop them: `python3 -m scripts.operate restore --stop`; callers get nothing from then on"
        return [*found, blocks("nobody_serves", f"still there: {', '.join(serving or meant)}", to_do)]
    return [*found, ok("nobody_serves", "no node and no gate is there")]


def none_runs(jobs: Sequence[Document]) -> Finding:
    """Tell whether a restore, or what follows it, still runs: two would replace the schema under each other."""
    running = sorted(
        job["metadata"]["name"]
        for job in jobs
        if job["metadata"].get("labels", {}).get(PURPOSE) in ("restore", "verify")
        and not {"Complete", "Failed"} & conditions_of(job.get("status", {})).keys()
    )
    if not running:
        return ok("no_restore_runs", "no Job of a restore runs")
    to_do = f"wait for its end: kubectl wait --for=condition=complete --timeout=1h job/{running[0]}"
    return blocks("no_restore_runs", f"runs: {', '.join(running)}", to_do)


def backup_job(cronjob: Document, suffix: str) -> Document:
    """Return the Job that makes a backup now."""
    name = _name(cronjob, f"now-{suffix}")
    template = cronjob["spec"]["jobTemplate"]
    spec = {**template["spec"], "ttlSecondsAfterFinished": 86_400}
    return _job(name, cronjob, spec)


def restore_job(cronjob: Document, dump: str, suffix: str) -> Document:
    """Return the Job that restores a dump.

    Raises:
        Refused: the CronJob is not one of ours.
    """
    spec, pod = _pod_of(cronjob)
    containers = [each for each in pod.get("initContainers", []) if each["name"] == "dump"]
    if not containers:
        raise Refused(f"the CronJob {cronjob['metadata']['name']} has no container that dumps")
    restoring = {
        **containers[0],
        "name": "restore",
        "command": ["/bin/bash", "-c", _PASSWORD + RESTORE],
        "env": [*containers[0].get("env", []), {"name": "DUMP", "value": f"{_folder(containers[0])}/{dump}"}],
    }
    kept = {name: value for name, value in pod.items() if name != "initContainers"}
    return _job(_name(cronjob, f"restore-{suffix}"), cronjob, _once(spec, {**kept, "containers": [restoring]}))


def list_job(cronjob: Document, suffix: str) -> Document:
    """Return the Job that lists what is on the volume of the backups."""
    spec, pod = _pod_of(cronjob)
    listing = {
        **pod["containers"][0],
        "name": "list",
        "command": [
            "/opt/goverse/bin/python",
            "-c",
            _LIST,
        ],
    }
    kept = {name: value for name, value in pod.items() if name != "initContainers"}
    return _job(_name(cronjob, f"list-{suffix}"), cronjob, _once(spec, {**kept, "containers": [listing]}))


def after_job(cronjob: Document, image: str, suffix: str) -> Document:
    """Return the Job that brings the schema to the present release and verifies the database, with the tools image."""
    spec, pod = _pod_of(cronjob)
    dumping = next(each for each in pod["initContainers"] if each["name"] == "dump")
    dsn = next(each["value"] for each in dumping["env"] if each["name"] == "DSN")
    mounts = [mount for mount in dumping["volumeMounts"] if mount["name"] != "backup"]
    environment = [{"name": "GOVERSE_POSTGRES__DSN", "value": dsn}]
    if any(mount["name"] == "postgres-password" for mount in mounts):
        environment.append(
            {"name": "GOVERSE_POSTGRES__PASSWORD_FILE", "value": "/etc/goverse/postgres-password/password"}
        )
    common = {name: value for name, value in dumping.items() if name not in ("name", "image", "command", "env")}
    made = {**common, "image": image, "env": environment, "volumeMounts": mounts}
    kept = {name: value for name, value in pod.items() if name not in ("initContainers", "containers")}
    changed = {
        **kept,
        "initContainers": [{**made, "name": "migrate", "args": ["db", "migrate"]}],
        "containers": [{**made, "name": "verify", "args": ["db", "verify"]}],
        "volumes": [volume for volume in pod["volumes"] if volume["name"] != "backup"],
    }
    return _job(_name(cronjob, f"verify-{suffix}"), cronjob, _once(spec, changed))


def _folder(container: Document) -> str:
    """Return where the release keeps its dumps.

    Raises:
        Refused: the CronJob does not say: it is of another release of the chart.
    """
    for variable in container.get("env", []):
        if variable["name"] == "FOLDER":
            return str(variable["value"])
    raise Refused("the CronJob does not say in which folder it keeps dumps: use the tool of the release that runs")


def tools_image(cronjob: Document) -> str:
    """Return the tools image that the CronJob keeps its dumps with."""
    return str(_pod_of(cronjob)[1]["containers"][0]["image"])


def _pod_of(cronjob: Document) -> tuple[Document, Document]:
    spec = cronjob["spec"]["jobTemplate"]["spec"]
    return spec, spec["template"]["spec"]


def _once(spec: Document, pod: Document) -> Document:
    """Return a Job's spec that runs a Pod once: half a restore is not tried again over itself."""
    template = {**spec["template"], "spec": pod}
    return {**spec, "template": template, "backoffLimit": 0, "ttlSecondsAfterFinished": 86_400}


def _name(cronjob: Document, suffix: str) -> str:
    """Return a name that ends with the suffix, whose time sets it apart, however long that of the CronJob is."""
    whole = str(cronjob["metadata"]["name"])
    room = 63 - len(suffix) - 1
    if len(whole) > room:
        whole = f"{whole[: room - 9].rstrip('-.')}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"
    return f"{whole}-{suffix}"


def _job(name: str, cronjob: Document, spec: Document) -> Document:
    labels = {**cronjob["metadata"].get("labels", {}), PURPOSE: name.split("-")[-2]}
    metadata = {"name": name, "namespace": cronjob["metadata"]["namespace"], "labels": labels}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}
