"""Jobs for backups and restores, derived from the CronJobs that the chart installed.

A restore Job is the backup Job with another command. It therefore has the same image, password, certificates, network
policy and volume as the Job that wrote the dump. A restore has four steps: stop gates and nodes, restore the dump,
migrate and verify the database, and start gates and nodes again.
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
"""Label of the tool's Jobs, with the value `now`, `restore`, `verify` or `list`."""
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
"""Replaces the schema in one transaction, which commits only after the dump was read to its end.

It also creates today's partitions, which an older dump lacks and `goverse db verify` expects. Nothing outside the
schema is changed, whatever else the dump contains. `pg_restore --clean` would not work: it fails on the keys of
partitions and keeps objects that are not in the dump.
"""
_PASSWORD = """\
if [ -e /etc/goverse/postgres-password/password ]; then
    PGPASSWORD=$(</etc/goverse/postgres-password/password)
    export PGPASSWORD
fi
"""


def may_restore(dump: str, pods: tuple[Pod, ...] | None, replicas: Mapping[str, int]) -> list[Finding]:
    """Check that a restore may start: the dump is complete, and gates and nodes are stopped.

    Args:
        dump: name of the file on the volume.
        pods: Pods of the release, or None if they could not be listed.
        replicas: configured number of replicas of each part.
    """
    found: list[Finding] = []
    if DUMP.fullmatch(dump):
        found.append(ok("dump_whole", f"{dump} is the name of a complete dump"))
    else:
        to_do = "use a name from `python3 -m scripts.operate restore --list`, for example postgres-20260102T021700Z"
        found.append(blocks("dump_whole", f"{dump!r} is not the name of a dump", to_do))
    if pods is None:
        to_do = "check that kubectl can reach the cluster"
        return [*found, blocks("nobody_serves", "the Pods cannot be listed", to_do)]
    serving = sorted(pod.name for pod in pods if pod.part in ("node", "gate"))
    meant = sorted(f"{part} ({count})" for part, count in replicas.items() if count)
    if serving or meant:
        to_do = "stop them with `python3 -m scripts.operate restore --stop`; all calls fail until they are restarted"
        return [*found, blocks("nobody_serves", f"still running: {', '.join(serving or meant)}", to_do)]
    return [*found, ok("nobody_serves", "gates and nodes are stopped")]


def none_runs(jobs: Sequence[Document]) -> Finding:
    """Check that no restore or verify Job is running: two restores would overwrite each other's schema."""
    running = sorted(
        job["metadata"]["name"]
        for job in jobs
        if job["metadata"].get("labels", {}).get(PURPOSE) in ("restore", "verify")
        and not {"Complete", "Failed"} & conditions_of(job.get("status", {})).keys()
    )
    if not running:
        return ok("no_restore_runs", "no restore is running")
    to_do = f"wait until it ends: kubectl wait --for=condition=complete --timeout=1h job/{running[0]}"
    return blocks("no_restore_runs", f"running: {', '.join(running)}", to_do)


def backup_job(cronjob: Document, suffix: str) -> Document:
    """Return a Job that creates a backup now."""
    name = _name(cronjob, f"now-{suffix}")
    template = cronjob["spec"]["jobTemplate"]
    spec = {**template["spec"], "ttlSecondsAfterFinished": 86_400}
    return _job(name, cronjob, spec)


def restore_job(cronjob: Document, dump: str, suffix: str) -> Document:
    """Return a Job that restores a dump.

    Raises:
        Refused: the CronJob was not created by this chart.
    """
    spec, pod = _pod_of(cronjob)
    containers = [each for each in pod.get("initContainers", []) if each["name"] == "dump"]
    if not containers:
        raise Refused(f"the CronJob {cronjob['metadata']['name']} has no container named dump")
    restoring = {
        **containers[0],
        "name": "restore",
        "command": ["/bin/bash", "-c", _PASSWORD + RESTORE],
        "env": [*containers[0].get("env", []), {"name": "DUMP", "value": f"{_folder(containers[0])}/{dump}"}],
    }
    kept = {name: value for name, value in pod.items() if name != "initContainers"}
    return _job(_name(cronjob, f"restore-{suffix}"), cronjob, _once(spec, {**kept, "containers": [restoring]}))


def list_job(cronjob: Document, suffix: str) -> Document:
    """Return a Job that lists the backups on the volume."""
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
    """Return a Job that migrates the schema to the installed version and verifies the database, in the tools image."""
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
    """Return the folder of the release's dumps.

    Raises:
        Refused: the CronJob has no FOLDER variable, because another version of the chart created it.
    """
    for variable in container.get("env", []):
        if variable["name"] == "FOLDER":
            return str(variable["value"])
    raise Refused("the CronJob has no FOLDER variable: use the tool of the version that is installed")


def tools_image(cronjob: Document) -> str:
    """Return the tools image of the CronJob."""
    return str(_pod_of(cronjob)[1]["containers"][0]["image"])


def _pod_of(cronjob: Document) -> tuple[Document, Document]:
    spec = cronjob["spec"]["jobTemplate"]["spec"]
    return spec, spec["template"]["spec"]


def _once(spec: Document, pod: Document) -> Document:
    """Return a Job's spec that runs its Pod once, because a failed restore must not be retried automatically."""
    template = {**spec["template"], "spec": pod}
    return {**spec, "template": template, "backoffLimit": 0, "ttlSecondsAfterFinished": 86_400}


def _name(cronjob: Document, suffix: str) -> str:
    """Return a unique name that ends with the suffix, shortened to the 63 characters that Kubernetes allows."""
    whole = str(cronjob["metadata"]["name"])
    room = 63 - len(suffix) - 1
    if len(whole) > room:
        whole = f"{whole[: room - 9].rstrip('-.')}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"
    return f"{whole}-{suffix}"


def _job(name: str, cronjob: Document, spec: Document) -> Document:
    labels = {**cronjob["metadata"].get("labels", {}), PURPOSE: name.split("-")[-2]}
    metadata = {"name": name, "namespace": cronjob["metadata"]["namespace"], "labels": labels}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}
