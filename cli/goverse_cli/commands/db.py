"""``goverse db``: create, migrate, check and clean up the database of a cluster."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from goverse.errors import ConfigError, GoverseError, Unavailable
from goverse_cli.failure import ExitCode, Failure
from goverse_cli.invocation import Invocation, invocation_of
from goverse_cli.single_options import Commands
from goverse_cli.terminal import confirm, progress, show

if TYPE_CHECKING:
    from goverse_node.stores.postgres.schema import Migration

T = TypeVar("T")

commands = Commands(no_args_is_help=True, help="Create, migrate, check and clean up the database of a cluster.")

Dsn = Annotated[str | None, typer.Option(help="PostgreSQL data source name (postgres.dsn).", show_default=False)]


@commands.command(short_help="Create the role, the database and the schema.")
def init(
    context: typer.Context,
    *,
    admin_dsn: Annotated[
        str,
        typer.Option(
            help="Data source name of a user that may create roles and databases.", envvar="GOVERSE_ADMIN_DSN"
        ),
    ],
    admin_password_file: Annotated[
        Path | None,
        typer.Option(
            help="File that contains the password of that user.",
            envvar="GOVERSE_ADMIN_PASSWORD_FILE",
            show_default=False,
        ),
    ] = None,
    dsn: Dsn = None,
) -> None:
    """Create the role and the database that postgres.dsn names, and the schema of this release.

    Run it once per cluster; later releases need `goverse db migrate` only. It is safe to repeat: an existing role,
    database or table is kept. The role gets the password from the setting postgres.password.

    \b
    Examples:
      goverse db init --admin-dsn postgresql://postgres@db:5432/postgres
      GOVERSE_POSTGRES__PASSWORD_FILE=/run/secrets/db goverse db init --admin-dsn postgresql://postgres@db/postgres
    """
    from goverse_cli.cluster.database import postgres_of  # noqa: PLC0415 - only this command needs the driver
    from goverse_node.stores.postgres.provision import provision  # noqa: PLC0415

    invocation = invocation_of(context)
    values = invocation.settings({"postgres.dsn": ("--dsn", dsn)}).values
    password = None if admin_password_file is None else _password_in(admin_password_file)
    try:
        made = asyncio.run(provision(postgres_of(values), admin_dsn, password))
    except Unavailable as error:
        raise _unreachable(error, "--admin-dsn and postgres.dsn (or --dsn)") from error
    show(invocation, {"made": made}, "\n".join(f"created {name}" for name in made) or "everything exists already")


def _password_in(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not valid UTF-8"
        raise Failure(f"--admin-password-file: {path} cannot be read: {why}", exit_code=ExitCode.USAGE) from error


@commands.command(short_help="Apply missing schema migrations.")
def migrate(context: typer.Context, *, dsn: Dsn = None) -> None:
    """Apply the migrations that the database is missing. Safe to run at any time, and from several hosts at once.

    \b
    Examples:
      goverse db migrate --dsn postgresql://goverse@127.0.0.1/goverse
    """
    from goverse_node.stores.postgres import schema  # noqa: PLC0415

    invocation = invocation_of(context)
    applied = with_connection(invocation, dsn, schema.migrate)
    show(invocation, {"applied": applied}, "\n".join(f"applied {name}" for name in applied) or "nothing to apply")


@commands.command(short_help="Show which migrations are applied.")
def status(
    context: typer.Context,
    *,
    dsn: Dsn = None,
    wait_s: Annotated[
        float, typer.Option("--wait", min=0, max=86_400, help="Seconds to wait until every migration is applied.")
    ] = 0,
) -> None:
    """Show each migration and when it was applied.

    With --wait, the command waits until the database has the schema of this release. It exits with code 3 if that
    takes longer. Use it to start a process after the migration.

    \b
    Examples:
      goverse db status
      goverse -o json db status
      goverse db status --wait 300
    """
    from goverse_node.stores.postgres import schema  # noqa: PLC0415

    invocation = invocation_of(context)
    invocation.settings({"postgres.dsn": ("--dsn", dsn)})  # fails now on an invalid setting: waiting cannot fix it

    def ask() -> list[schema.Migration]:
        return with_connection(invocation, dsn, schema.status)

    found = _complete(ask, wait_s) if wait_s else ask()
    document = {"migrations": [{"name": each.name, "applied": each.applied} for each in found]}
    show(invocation, document, "\n".join(f"{each.name}  {each.applied or 'missing'}" for each in found))


@commands.command(short_help="Check the integrity of schema and data.")
def verify(context: typer.Context, *, dsn: Dsn = None) -> None:
    """Check the schema, and that versions, change feed, stored answers and shards are consistent.

    The command reads one snapshot of the whole database and writes nothing, so nodes may run during the check. It
    takes minutes if there are many millions of changes. It exits with code 1 if a check fails.

    \b
    Examples:
      goverse db verify
      goverse -o json db verify
    """
    from goverse_node.stores.postgres.verify import verify as ask  # noqa: PLC0415

    invocation = invocation_of(context)
    findings = with_connection(invocation, dsn, ask, statement_timeout_s=_VERIFY_TIMEOUT_S)
    wrong = [finding for finding in findings if finding.wrong]
    document = {
        "ok": not wrong,
        "checks": [{"check": one.check, "ok": not one.wrong, "wrong": list(one.wrong)} for one in findings],
    }
    lines = [f"{'wrong' if one.wrong else 'ok   '}  {one.question}" for one in findings]
    if wrong:
        told = [f"\n  {one.check}: {each}" for one in wrong for each in one.wrong]
        hint = "run goverse db migrate" if wrong[0].check == "schema" else _DAMAGED
        raise Failure(f"{len(wrong)} checks failed" + "".join(told), hint=hint, document=document)
    show(invocation, document, "\n".join(lines))


@commands.command(short_help="Delete changes and answers past their retention.")
def cleanup(
    context: typer.Context,
    *,
    dsn: Dsn = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be deleted.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Delete changes, stored answers to idempotency keys and finished calls that are past their retention.

    Objects and pending calls are never deleted. Nodes do this every two minutes, so the command is useful only while no
    node runs, or with --dry-run. Rows are deleted in batches; an interrupted command can be repeated. The retention
    settings are postgres.changes_retention_days, node.idempotency_retention_s, and for calls
    node.failed_calls_retention_s, expired_calls_retention_s, cancelled_calls_retention_s and dead_letters_retention_s.

    \b
    Examples:
      goverse db cleanup --dry-run
      goverse db cleanup --yes
    """
    from goverse_cli.cluster.database import postgres_of  # noqa: PLC0415
    from goverse_node.stores.postgres.expiry import expire  # noqa: PLC0415

    invocation = invocation_of(context)
    options = postgres_of(invocation.settings({"postgres.dsn": ("--dsn", dsn)}).values)
    if not dry_run:
        confirm(
            invocation,
            "delete changes, stored answers and finished calls past their retention permanently?",
            agreed=yes,
        )
    with progress(invocation, in_bytes=False) as report:
        expired = with_connection(
            invocation, dsn, lambda connection: expire(connection, options, dry_run=dry_run, report=report)
        )
    word = "would remove" if dry_run else "removed"
    lines = [f"{word} {name}, {size} bytes" for name, size in expired.days]
    if expired.replies:
        lines.append(f"{word} {expired.replies} stored answers outside the daily partitions")
    if expired.calls:
        lines.append(f"{word} {expired.calls} finished calls outside the daily partitions")
    if expired.changes:
        lines.append(f"{word} {expired.changes} batches of changes outside the daily partitions")
    document = {
        "dry_run": dry_run,
        "days": dict(expired.days),
        "replies": expired.replies,
        "changes": expired.changes,
        "calls": expired.calls,
    }
    show(invocation, document, "\n".join(lines) or "nothing is past its retention")


def _complete(ask: Callable[[], list[Migration]], wait_s: float) -> list[Migration]:
    """Poll until no migration is missing. A server, role or database that does not exist yet may still be created."""
    end = time.monotonic() + wait_s
    while True:
        try:
            found = ask()
        except (ConfigError, Failure) as error:
            reason = str(error)
        else:
            missing = [each.name for each in found if each.applied is None]
            if not missing:
                return found
            reason = f"the database lacks {', '.join(missing)}"
        if time.monotonic() >= end:
            hint = "run goverse db migrate and check its output"
            raise Failure(f"not ready after {wait_s:g} s: {reason}", hint=hint, exit_code=ExitCode.UNAVAILABLE)
        time.sleep(min(_PAUSE_S, max(0.0, end - time.monotonic())))


def with_connection(
    invocation: Invocation,
    dsn: str | None,
    work: Callable[[Any], Awaitable[T]],
    *,
    statement_timeout_s: float | None = None,
) -> T:
    from goverse_cli.cluster.database import postgres_of  # noqa: PLC0415
    from goverse_node.stores.postgres.connections import Connections  # noqa: PLC0415
    from goverse_node.stores.postgres.failures import translated  # noqa: PLC0415

    flags: dict[str, tuple[str, Any]] = {"postgres.dsn": ("--dsn", dsn)}
    if statement_timeout_s is not None:
        flags["postgres.statement_timeout_s"] = ("the timeout of the check", statement_timeout_s)
    values = invocation.settings(flags).values

    async def run() -> T:
        connections = Connections(postgres_of(values))
        try:
            connection = await connections.dedicated()
        except Exception as error:
            raise _unreachable(translated(error)) from error
        try:
            return await work(connection)
        except GoverseError:
            raise
        except Exception as error:
            raise translated(error) from error
        finally:
            await connections.hang_up(connection)

    return asyncio.run(run())


def _unreachable(error: GoverseError, options: str = "postgres.dsn (or --dsn)") -> Exception:
    if not isinstance(error, Unavailable):
        return error
    return Failure(
        error.detail,
        hint=f"check that the server is running and that {options} is correct",
        exit_code=ExitCode.UNAVAILABLE,
        document={"code": error.code, "detail": error.detail},
    )


_VERIFY_TIMEOUT_S = 3_600.0
_PAUSE_S = 1.0
_DAMAGED = "stop the nodes and compare the database with a backup: GoVerse itself never writes inconsistent data"
