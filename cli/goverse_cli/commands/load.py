"""``goverse load``: load a dump into a new data directory or into the database of a cluster."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from goverse.errors import RestoreRefused
from goverse_cli.commands.db import Dsn, with_connection
from goverse_cli.failure import ExitCode, Failure
from goverse_cli.invocation import Invocation, invocation_of
from goverse_cli.one_object import refused_as_usage
from goverse_cli.terminal import ProgressReport, progress, show

if TYPE_CHECKING:
    from goverse_node.stores.dump_lines import Contents

_BYTES_A_REPORT = 1 << 20


def load(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="Dump to load; - reads standard input.")],
    *,
    into: Annotated[
        Path | None, typer.Option(help="New data directory to create, for goverse dev.", show_default=False)
    ] = None,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Load into the database of a cluster (postgres.dsn).")
    ] = False,
    dsn: Dsn = None,
    add: Annotated[
        bool, typer.Option("--add", help="With --cluster: allow a database that already holds other objects.")
    ] = False,
) -> None:
    """Load a dump. Either the whole dump is loaded or nothing is.

    Write the dump with `goverse dump --all`. It then includes deleted objects, so that their versions continue, the
    stored answers to idempotency keys, so that retries stay safe, and reliable calls, so that each still takes effect
    once. Every line is checked before anything is loaded.

    Objects keep their states, versions and positions. The change feed starts a new generation. Before you load into a
    cluster, stop its nodes and create the schema with `goverse db migrate`.

    \b
    Examples:
      goverse dump --all > all.ndjson
      goverse load all.ndjson --cluster --dsn postgresql://goverse@db/goverse
      goverse load all.ndjson --into restored
    """
    invocation = invocation_of(context)
    if cluster == (into is not None) or (add and not cluster):
        raise Failure(
            "name one destination: --into DIRECTORY, or --cluster (with --add if the database already holds objects)",
            exit_code=ExitCode.USAGE,
        )
    with _dump(file) as opened, progress(invocation) as report:
        if into is not None:
            _into_directory(invocation, opened, into, report)
        else:
            _into_database(invocation, opened, dsn, add=add, report=report)


def _into_directory(invocation: Invocation, opened: BinaryIO, into: Path, report: ProgressReport) -> None:
    from goverse_node.stores.wal.load import load as loading  # noqa: PLC0415 - other commands start faster without

    try:
        made = loading(_lines_of(opened, report), into, now_ms=time.time_ns() // 1_000_000)
    except RestoreRefused as error:
        raise refused_as_usage(error) from error
    document = {"directory": str(into), "next_seq": str(made.next_seq), **_counts(made.contents)}
    parts = [_words(made.contents)]
    if made.contents.calls:
        parts.append(_calls(made.contents))
    show(invocation, document, f"loaded {', and '.join(parts)}; serve them with --data-dir {into}")


def _into_database(
    invocation: Invocation, opened: BinaryIO, dsn: str | None, *, add: bool, report: ProgressReport
) -> None:
    from goverse_node.stores.postgres import schema  # noqa: PLC0415 - other commands start faster without
    from goverse_node.stores.postgres.load import LoadedIntoDatabase  # noqa: PLC0415 - as above
    from goverse_node.stores.postgres.load import load as loading  # noqa: PLC0415 - as above

    shards = invocation.settings({"postgres.dsn": ("--dsn", dsn)}).values.cluster.shards
    lines = _lines_of(opened, report)

    async def work(connection: Any) -> LoadedIntoDatabase:
        await schema.check(connection)
        return await loading(connection, lines, now_ms=time.time_ns() // 1_000_000, shards=shards, add=add)

    made = with_connection(invocation, dsn, work)
    document = {"commit_seq": str(made.commit_seq), "replies_left_out": made.replies_left_out, **_counts(made.contents)}
    document["calls_left_out"] = made.calls_left_out
    parts = [_words(made.contents) + _left_out(made.replies_left_out)]
    if made.contents.calls:
        parts.append(_calls(made.contents) + _left_out(made.calls_left_out))
    show(invocation, document, f"loaded {', and '.join(parts)} into the database; you can start the nodes")


def _dump(file: str) -> AbstractContextManager[BinaryIO]:
    if file == "-":
        return _spooled()
    try:
        return Path(file).open("rb")
    except OSError as error:
        raise Failure(f"{file} cannot be read: {error.strerror}", exit_code=ExitCode.USAGE) from error


@contextmanager
def _spooled() -> Generator[BinaryIO]:
    """Copy standard input to a temporary file, because the dump is read more than once."""
    with tempfile.TemporaryFile(prefix="goverse-load-") as kept:
        shutil.copyfileobj(sys.stdin.buffer, kept)
        yield kept


def _lines_of(opened: BinaryIO, report: ProgressReport) -> Callable[[str], Iterator[bytes]]:
    """Return a function that reads the dump from its beginning and reports progress under a given description."""
    opened.seek(0, 2)
    total = opened.tell()

    def lines(what: str) -> Iterator[bytes]:
        opened.seek(0)
        done = shown = 0
        for line in opened:
            done += len(line)
            if done - shown >= _BYTES_A_REPORT:
                shown = done
                report(what, done, total)
            yield line

    return lines


def _counts(contents: Contents) -> dict[str, int]:
    return {
        "objects": contents.objects,
        "deleted": contents.tombstones,
        "replies": contents.replies,
        "floors": contents.floors,
        "pending_calls": contents.pending,
        "receipts": contents.receipts,
        "finished_calls": contents.finished,
    }


def _words(contents: Contents) -> str:
    return (
        f"{contents.objects} objects, {contents.tombstones} deleted objects and {contents.replies} stored answers to "
        "idempotency keys"
    )


def _calls(contents: Contents) -> str:
    pending, receipts, finished = contents.pending, contents.receipts, contents.finished
    return f"{pending} pending reliable calls, {receipts} receipts and {finished} finished calls"


def _left_out(count: int) -> str:
    return f" ({count} of them had expired and were left out)" if count else ""
