"""``goverse snapshot|trim|restore|dump|diff``: operations on a data directory.

``dump``, ``diff`` and ``restore`` only read their source, so they work while a server uses it. ``snapshot`` and
``trim`` write: if a server holds the directory's lock, the command sends the request to that server instead. Each
command imports the store late, so that commands without a store start faster.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from goverse.errors import RestoreRefused
from goverse_cli.failure import ExitCode, Failure
from goverse_cli.invocation import DEFAULT_URL, Invocation, Url, invocation_of
from goverse_cli.one_object import milliseconds, refused_as_usage, restore_object
from goverse_cli.owner_of_data import admin_authorization, at_rest_or_asked
from goverse_cli.terminal import confirm, progress, show

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Data directory. Default: the setting wal.data_dir, .goverse.", show_default=False),
]
Into = Annotated[Path | None, typer.Option(help="New data directory to restore all data into.", show_default=False)]
ToTime = Annotated[
    str | None,
    typer.Option(help="With --into: restore up to this time, 2026-11-21T09:30:00 (local) or 2026-11-21T09:30:00Z."),
]
AsOf = Annotated[
    str | None,
    typer.Option(help="With TYPE and ID: restore the object as of this commit_seq or time.", show_default=False),
]

_RESTORES = """\
the command has two forms (see goverse restore --help):
  goverse restore --into DIRECTORY [--to-seq N | --to-time TIME]    all data, into a new directory
  goverse restore TYPE ID --as-of POINT                             one object, in place
  N is a commit_seq, for example 4711; TIME is, for example, 2026-11-21T09:30:00Z; POINT is one of the two"""


def snapshot(context: typer.Context, data_dir: DataDir = None, *, url: Url = DEFAULT_URL) -> None:
    """Write a snapshot now. The next start then reads the snapshot instead of the log before it.

    A running server writes snapshots by itself. If a server is using the directory, the command sends the request to
    that server (--url).

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

    made = at_rest_or_asked(at_rest, url, "/admin/snapshot", admin_authorization(invocation, directory))
    show(invocation, made, f"snapshot at {made['commit_seq']}: {_counted(made['objects'])}, {made['bytes']} bytes")


def trim(
    context: typer.Context,
    data_dir: DataDir = None,
    *,
    url: Url = DEFAULT_URL,
    keep: Annotated[
        int, typer.Option(help="Number of snapshots to keep, with the log after the oldest of them.", min=1)
    ] = 1,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Delete old snapshots, and the log files that only they need.

    Objects are kept. Afterwards you can no longer restore a state from before the oldest kept snapshot.

    If a server is using the directory, the command sends the request to that server (--url).

    \b
    Examples:
      goverse trim --yes
      goverse trim --keep 2 --data-dir /var/lib/goverse --yes
    """
    from goverse_node.stores.wal import admin  # noqa: PLC0415

    invocation = invocation_of(context)
    directory = _data_dir(invocation, data_dir)
    confirm(invocation, f"earlier states of {directory} can no longer be restored after this; continue?", agreed=yes)

    def at_rest() -> dict[str, Any]:
        removed = admin.trim(directory, snapshots_kept=keep)
        return {"segments": removed.segments, "snapshots": removed.snapshots, "bytes": removed.size}

    path = f"/admin/trim?snapshots_kept={keep}"
    removed = at_rest_or_asked(at_rest, url, path, admin_authorization(invocation, directory))
    what = f"{removed['segments']} log files and {removed['snapshots']} snapshots, {removed['bytes']} bytes"
    show(invocation, removed, f"removed {what}")


def restore(
    context: typer.Context,
    type_name: Annotated[str | None, typer.Argument(metavar="TYPE", help="Type of the object to restore.")] = None,
    object_id: Annotated[str | None, typer.Argument(metavar="ID", help="Id of the object to restore.")] = None,
    into: Into = None,
    data_dir: DataDir = None,
    *,
    to_seq: Annotated[int | None, typer.Option(help="With --into: restore up to this commit_seq.", min=0)] = None,
    to_time: ToTime = None,
    as_of: AsOf = None,
    namespace: Annotated[str, typer.Option(help="Namespace of the object.")] = "default",
    url: Url = DEFAULT_URL,
) -> None:
    """Restore all data into a new directory, or one object in place.

    All data: --into writes a new data directory with the state at a position (--to-seq) or a time (--to-time), or
    without them everything that can be read. The source is only read. Every checksum is verified.

    One object: TYPE, ID and --as-of give the object the state and creation arguments that it had then, as a new
    version. Other objects and stored answers to idempotency keys do not change. If a server is using the directory,
    the command sends the request to that server (--url).

    \b
    Examples:
      goverse restore --to-time 2026-11-21T09:30:00Z --into restored
      goverse restore Counter c1 --as-of 4711
      goverse restore Counter c1 --as-of 2026-11-21T09:30:00Z
    """
    invocation = invocation_of(context)
    if complaint := _wrong_restore((type_name, object_id), into, (to_seq, to_time), as_of):
        raise Failure(complaint, hint=_RESTORES, exit_code=ExitCode.USAGE)
    directory = _data_dir(invocation, data_dir)
    if type_name is not None and object_id is not None and as_of is not None:
        restore_object(invocation, directory, (namespace, type_name, object_id), as_of=as_of, url=url)
    elif into is not None:
        _restore_all(invocation, directory, into, to_seq, to_time)


def _wrong_restore(
    name: tuple[str | None, str | None], into: Path | None, at: tuple[int | None, str | None], as_of: str | None
) -> str:
    """Return the error in the command line of a restore, or an empty text if it is valid."""
    if name[0] is not None:
        if name[1] is None:
            return f"the id of the {name[0]} to restore is missing: TYPE ID --as-of POINT"
        if at != (None, None):
            return "to restore one object, use --as-of instead of --to-seq and --to-time: TYPE ID --as-of POINT"
        if into is not None:
            return "one object is restored in place, without --into: TYPE ID --as-of POINT"
        return "--as-of is missing: TYPE ID --as-of POINT" if as_of is None else ""
    if into is None and as_of is None:
        return "nothing to restore was named" if at == (None, None) else "the destination is missing: --into DIRECTORY"
    if as_of is not None:
        return "--as-of restores one object: give its TYPE and ID"
    return "give either --to-seq or --to-time, not both" if None not in at else ""


def _restore_all(invocation: Invocation, directory: Path, into: Path, to_seq: int | None, to_time: str | None) -> None:
    from goverse_node.stores.wal import restore as restoring  # noqa: PLC0415

    to_time_ms = milliseconds("--to-time", to_time) if to_time is not None else None
    try:
        with progress(invocation) as report:
            made = restoring.restore(directory, into, to_seq=to_seq, to_time_ms=to_time_ms, progress=report)
    except RestoreRefused as error:
        raise refused_as_usage(error) from error
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
    to_seq: Annotated[int | None, typer.Option(help="Dump the state at this commit_seq.", min=0)] = None,
    replies: Annotated[bool, typer.Option("--replies", help="Include stored answers to idempotency keys.")] = False,
    deleted: Annotated[bool, typer.Option("--deleted", help="Include deleted objects.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Include everything that goverse load needs.")] = False,
) -> None:
    """Print all objects, one JSON object per line, sorted by name.

    The command only reads, so a server may use the directory at the same time.

    \b
    Examples:
      goverse dump > today.ndjson
      goverse dump --all > all.ndjson
      goverse dump --to-seq 4711 | jq 'select(.type == "Counter") | .state.value'
    """
    from goverse_node.stores.wal import dump as dumping  # noqa: PLC0415

    invocation = invocation_of(context)
    directory = _data_dir(invocation, data_dir)
    with progress(invocation) as report:
        lines = dumping.dump(
            directory,
            to_seq=to_seq,
            replies=replies or everything,
            tombstones=deleted or everything,
            floors=everything,
            calls=everything,
            progress=report,
        )
        for line in lines:
            sys.stdout.write(f"{line}\n")


def diff(
    context: typer.Context,
    a: Annotated[Path, typer.Argument(help="Data directory or dump file.")],
    b: Annotated[Path, typer.Argument(help="Data directory or dump file.")],
    *,
    replies: Annotated[
        bool, typer.Option("--replies", help="Also compare the stored answers to idempotency keys.")
    ] = False,
) -> None:
    """Compare the objects, versions and states of two data directories or dumps. Exits with code 1 if they differ.

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
        if path.is_dir():
            _check_data(path)
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
            f"the data directory {directory} does not exist",
            hint="set --data-dir; by default, goverse dev uses .goverse in the folder that it was started in",
            exit_code=ExitCode.USAGE,
        )
    _check_data(directory)
    return directory


def _check_data(directory: Path) -> None:
    """Refuse a folder that contains no part of a store.

    A folder with some parts of a store is damaged. That is not a usage error; the store reports it.
    """
    from goverse_node.stores.wal.directory import DataDirectory  # noqa: PLC0415 - other commands start faster without

    data = DataDirectory(directory)
    if not any(path.exists() for path in (data.manifest, data.segments, data.snapshots)):
        raise Failure(
            f"{directory} is not a data directory: {data.manifest.name} is missing",
            hint="set --data-dir to the data directory of goverse dev, .goverse by default",
            exit_code=ExitCode.USAGE,
        )


def _counted(objects: int) -> str:
    return f"{objects} objects (including recently deleted ones)"
