"""``goverse snapshot|trim|restore|dump|diff``: what an operator does with a data directory.

``dump``, ``diff`` and ``restore`` only read their source, also beside a running server. ``snapshot`` and ``trim``
write: where a server holds the directory, that server is asked to do it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from goverse.errors import StoreLocked
from goverse.ports.administration import SnapshotReport, TrimReport
from goverse_cli.administration import TrimPlan, snapshot_report
from goverse_cli.commands.call import Url
from goverse_cli.failure import ExitCode, Failure
from goverse_cli.invocation import Invocation, invocation_of
from goverse_cli.server import DEFAULT_URL, Server
from goverse_cli.terminal import confirm, progress, show
from goverse_node.stores.wal import admin
from goverse_node.stores.wal import diff as differences
from goverse_node.stores.wal import dump as dumping
from goverse_node.stores.wal import restore as restoring
from goverse_node.stores.wal.directory import DataDirectory

_SERVER_TIMEOUT_S = 600.0

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", help="The data directory; the setting wal.data_dir where it is not given.", show_default=False
    ),
]


def snapshot(context: typer.Context, data_dir: DataDir = None, *, url: Url = DEFAULT_URL) -> None:
    """Make a snapshot now, so that the next start reads less.

    A server makes snapshots by itself. If one holds the directory, it is asked to do it.

    \b
    Examples:
      goverse snapshot
      goverse snapshot --data-dir /var/lib/goverse
    """
    invocation = invocation_of(context)
    directory = DataDirectory(_data_dir(invocation, data_dir))

    def at_rest() -> dict[str, Any]:
        with progress(invocation) as report:
            made = admin.snapshot(directory.root, progress=report)
        return _plain(snapshot_report(directory, made))

    made = _at_rest_or_asked(at_rest, url, "/admin/snapshot", {})
    size = f"{made['objects']} objects, {made['size_bytes']} bytes"
    show(invocation, made, f"snapshot {made['name']} at {made['commit_seq']}: {size}")


def trim(
    context: typer.Context,
    data_dir: DataDir = None,
    *,
    url: Url = DEFAULT_URL,
    keep: Annotated[int, typer.Option(help="Snapshots to keep, with the log behind the oldest of them.", min=1)] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove old snapshots and log. The objects stay; points in time before the kept snapshots are gone.

    If a server holds the directory, it is asked to do it.

    \b
    Examples:
      goverse trim --dry-run
      goverse trim --yes
      goverse trim --keep 2 --data-dir /var/lib/goverse --yes
    """
    invocation = invocation_of(context)
    directory = DataDirectory(_data_dir(invocation, data_dir))
    question = f"earlier points in time of {directory.root} can then no longer be restored; go on?"
    confirm(invocation, question, agreed=yes or dry_run)
    kept = directory.read_manifest().snapshots[-keep:]
    before_seq = kept[0].seq if kept else 0

    def at_rest() -> dict[str, Any]:
        plan = TrimPlan(directory, before_seq)
        if not dry_run:
            admin.trim(directory.root, snapshots_kept=plan.snapshots_kept)
        return _plain(plan.report(plan.new if dry_run else directory.read_manifest(), dry_run=dry_run))

    done = _at_rest_or_asked(at_rest, url, "/admin/trim", {"before_seq": str(before_seq), "dry_run": dry_run})
    verb = "would remove" if dry_run else "removed"
    lines = [f"{verb} {name}" for name in done["removed"]]
    summary = f"{verb} {done['freed_bytes']} bytes; the oldest position that can be restored is {done['oldest_seq']}"
    show(invocation, done, "\n".join([*lines, summary]))


def restore(
    context: typer.Context,
    into: Annotated[Path, typer.Option(help="New directory for the restored data.")],
    data_dir: DataDir = None,
    *,
    to_seq: Annotated[int | None, typer.Option(help="As it was at this commit_seq.", min=0)] = None,
    to_time: Annotated[
        str | None,
        typer.Option(help="As it was at this time, like 2026-11-21T09:30:00 (local) or 2026-11-21T09:30:00Z."),
    ] = None,
) -> None:
    """Restore the data at a position or a time into a new directory; the source is only read.

    Without position or time: everything that can be read. Every checksum is verified on the way.

    \b
    Examples:
      goverse restore --into restored
      goverse restore --to-seq 4711 --into restored
      goverse restore --to-time 2026-11-21T09:30:00Z --into restored
      goverse dev app.py --data-dir restored
    """
    invocation = invocation_of(context)
    if to_seq is not None and to_time is not None:
        raise Failure("give --to-seq or --to-time, not both", exit_code=ExitCode.USAGE)
    directory = _data_dir(invocation, data_dir)
    to_time_ms = _milliseconds(to_time) if to_time is not None else None
    with progress(invocation) as report:
        made = restoring.restore(directory, into, to_seq=to_seq, to_time_ms=to_time_ms, progress=report)
    document = {**asdict(made), "directory": str(made.directory), "seq": str(made.seq), "next_seq": str(made.next_seq)}
    show(
        invocation,
        document,
        f"restored {made.objects} objects as of {made.seq}; serve them with --data-dir {made.directory}",
    )


def dump(
    context: typer.Context,
    data_dir: DataDir = None,
    *,
    to_seq: Annotated[int | None, typer.Option(help="As it was at this commit_seq.", min=0)] = None,
    replies: Annotated[bool, typer.Option("--replies", help="Also the answers kept under idempotency keys.")] = False,
    deleted: Annotated[bool, typer.Option("--deleted", help="Also objects that were deleted.")] = False,
) -> None:
    """Print all objects, one JSON object per line, sorted by name.

    Reads only, also beside a running server.

    \b
    Examples:
      goverse dump > today.ndjson
      goverse dump --to-seq 4711 | jq 'select(.type == "Counter") | .state.value'
    """
    invocation = invocation_of(context)
    directory = _data_dir(invocation, data_dir)
    with progress(invocation) as report:
        for line in dumping.dump(directory, to_seq=to_seq, replies=replies, tombstones=deleted, progress=report):
            sys.stdout.write(f"{line}\n")


def diff(
    context: typer.Context,
    a: Annotated[Path, typer.Argument(help="Data directory or dump file.")],
    b: Annotated[Path, typer.Argument(help="Data directory or dump file.")],
    *,
    replies: Annotated[
        bool, typer.Option("--replies", help="Also compare the answers kept under idempotency keys.")
    ] = False,
) -> None:
    """Compare two data directories or dumps by objects, versions and states. Ends with 1 where they differ.

    \b
    Examples:
      goverse diff .goverse restored
      goverse diff yesterday.ndjson .goverse -o json
    """
    invocation = invocation_of(context)
    for path in (a, b):
        if not path.exists():
            raise Failure(f"{path} does not exist", exit_code=ExitCode.USAGE)
    found = 0
    for difference in differences.diff(a, b, replies=replies):
        found += 1
        name = f"{difference.type}/{difference.id}"
        key = f" key {difference.idempotency_key}" if difference.idempotency_key else ""
        show(invocation, asdict(difference), f"{name}{key} ({difference.namespace}): {difference.what}")
    if found:
        raise typer.Exit(ExitCode.FAILED)
    if not invocation.as_json:
        typer.echo("no difference", err=True)


def _data_dir(invocation: Invocation, given: Path | None) -> Path:
    directory = invocation.settings({"wal.data_dir": ("--data-dir", given)}).values.wal.data_dir
    if not directory.is_dir():
        raise Failure(
            f"there is no data directory {directory}",
            hint="name it with --data-dir; goverse dev puts it into .goverse of the folder that it is started in",
        )
    return directory


def _at_rest_or_asked(
    at_rest: Callable[[], dict[str, Any]], url: str, path: str, wanted: dict[str, Any]
) -> dict[str, Any]:
    """Do it here, or let the server do it that holds the directory."""
    try:
        return at_rest()
    except StoreLocked as locked:
        try:
            body = orjson.dumps(wanted)
            answer = Server(url, timeout_s=_SERVER_TIMEOUT_S).request(
                "POST", path, body=body, headers={"Content-Type": "application/json"}
            )
        except Failure as failure:
            raise Failure(
                f"{locked.detail}; and the server that was asked to do it did not: {failure.message}",
                hint="name the server that uses the directory with --url, or stop it",
                exit_code=ExitCode.UNAVAILABLE,
            ) from failure
        return dict(orjson.loads(answer.content))


def _plain(report: SnapshotReport | TrimReport) -> dict[str, Any]:
    """Return a report as the administration routes show it: positions are text."""
    document: dict[str, Any] = report._asdict()
    return {name: str(value) if name.endswith("_seq") else value for name, value in document.items()}


def _milliseconds(text: str) -> int:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise Failure(
            f"--to-time {text!r} is no time", hint="write it like 2026-11-21T09:30:00Z", exit_code=ExitCode.USAGE
        ) from error
    return round(at.astimezone(UTC).timestamp() * 1000)
