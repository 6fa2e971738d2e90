"""``goverse snapshot|trim|restore|dump|diff``: what an operator does with a data directory.

``dump``, ``diff`` and ``restore`` only read their source, also beside a running server. ``snapshot`` and ``trim``
write: where a server holds the directory, that server is asked to do it. The store is imported by the commands
that use it, so that all others start faster.
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
from goverse_cli.failure import ExitCode, Failure
from goverse_cli.invocation import DEFAULT_URL, Invocation, Url, invocation_of
from goverse_cli.terminal import confirm, progress, show

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
    from goverse_node.stores.wal import admin  # noqa: PLC0415

    invocation = invocation_of(context)
    directory = _data_dir(invocation, data_dir)

    def at_rest() -> dict[str, Any]:
        with progress(invocation) as report:
            made = admin.snapshot(directory, progress=report)
        return {"commit_seq": str(made.seq), "objects": made.objects, "replies": made.replies, "bytes": made.size}

    made = _at_rest_or_asked(at_rest, url, "/admin/snapshot", _authorization(invocation, directory))
    show(invocation, made, f"snapshot at {made['commit_seq']}: {_counted(made['objects'])}, {made['bytes']} bytes")


def trim(
    context: typer.Context,
    data_dir: DataDir = None,
    *,
    url: Url = DEFAULT_URL,
    keep: Annotated[int, typer.Option(help="Snapshots to keep, with the log behind the oldest of them.", min=1)] = 1,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove old snapshots and log. The objects stay; points in time before the kept snapshots are gone.

    If a server holds the directory, it is asked to do it.

    \b
    Examples:
      goverse trim --yes
      goverse trim --keep 2 --data-dir /var/lib/goverse --yes
    """
    from goverse_node.stores.wal import admin  # noqa: PLC0415

    invocation = invocation_of(context)
    directory = _data_dir(invocation, data_dir)
    confirm(invocation, f"earlier points in time of {directory} can then no longer be restored; go on?", agreed=yes)

    def at_rest() -> dict[str, Any]:
        removed = admin.trim(directory, snapshots_kept=keep)
        return {"segments": removed.segments, "snapshots": removed.snapshots, "bytes": removed.size}

    path = f"/admin/trim?snapshots_kept={keep}"
    removed = _at_rest_or_asked(at_rest, url, path, _authorization(invocation, directory))
    what = f"{removed['segments']} log files and {removed['snapshots']} snapshots, {removed['bytes']} bytes"
    show(invocation, removed, f"removed {what}")


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
    from goverse_node.stores.wal import restore as restoring  # noqa: PLC0415

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
        f"restored {_counted(made.objects)} as of {made.seq}; serve them with --data-dir {made.directory}",
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
    from goverse_node.stores.wal import dump as dumping  # noqa: PLC0415

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
    from goverse_node.stores.wal import diff as differences  # noqa: PLC0415

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


def _authorization(invocation: Invocation, directory: Path) -> dict[str, str]:
    """Return the header with the admin token of the server that holds ``directory``, if its file can be read."""
    from goverse_cli.gate_options import admin_token_file  # noqa: PLC0415

    path = admin_token_file(invocation.settings({}).values, directory)
    try:
        return {"authorization": f"Bearer {path.read_text('utf-8').strip()}"}
    except (OSError, UnicodeError):
        return {}  # the server says that it needs one


def _at_rest_or_asked(
    at_rest: Callable[[], dict[str, Any]], url: str, path: str, headers: dict[str, str]
) -> dict[str, Any]:
    """Do it here, or let the server do it that holds the directory."""
    try:
        return at_rest()
    except StoreLocked as locked:
        try:
            from goverse_cli.server import Server  # noqa: PLC0415

            answer = Server(url, timeout_s=_SERVER_TIMEOUT_S).request("POST", path, headers=headers)
        except Failure as failure:
            raise Failure(
                f"{locked.detail}; and the server that was asked to do it did not: {failure.message}",
                hint="name the server that uses the directory with --url, or stop it",
                exit_code=ExitCode.UNAVAILABLE,
            ) from failure
        return dict(orjson.loads(answer.content))


def _counted(objects: int) -> str:
    return f"{objects} objects (deleted ones, which are remembered for a while, are among them)"


def _milliseconds(text: str) -> int:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise Failure(
            f"--to-time {text!r} is no time", hint="write it like 2026-11-21T09:30:00Z", exit_code=ExitCode.USAGE
        ) from error
    return round(at.astimezone(UTC).timestamp() * 1000)
