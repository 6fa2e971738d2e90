"""``goverse db``: the schema in PostgreSQL."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from goverse_cli.invocation import Invocation, invocation_of

commands = typer.Typer(no_args_is_help=True, help="The database of a cluster: make, migrate and clean it.")

Dsn = Annotated[str | None, typer.Option(help="Data source name (postgres.dsn).", show_default=False)]


@commands.command(short_help="Apply the migrations that are missing.")
def migrate(context: typer.Context, *, dsn: Dsn = None) -> None:
    """Bring the database to the schema of this release. Safe to run at any time and from several places.

    \b
    Examples:
      goverse db migrate --dsn postgresql://goverse@127.0.0.1/goverse
    """
    from goverse_node.stores.postgres import schema  # noqa: PLC0415 - only this command needs the driver

    applied = _with_connection(invocation_of(context), dsn, schema.migrate)
    typer.echo("\n".join(f"applied {name}" for name in applied) or "nothing to apply")


@commands.command(short_help="Show which migrations are applied.")
def status(context: typer.Context, *, dsn: Dsn = None) -> None:
    """Show each migration and when it was applied.

    \b
    Examples:
      goverse db status
    """
    from goverse_node.stores.postgres import schema  # noqa: PLC0415

    for each in _with_connection(invocation_of(context), dsn, schema.status):
        typer.echo(f"{each.name}  {each.applied or 'missing'}")


def _with_connection(invocation: Invocation, dsn: str | None, work: Any) -> Any:
    from goverse_cli.cluster.parts import postgres_of  # noqa: PLC0415
    from goverse_node.stores.postgres.connections import Connections  # noqa: PLC0415
    from goverse_node.stores.postgres.failures import told  # noqa: PLC0415

    values = invocation.settings({"postgres.dsn": ("--dsn", dsn)}).values

    async def run() -> Any:
        connections = Connections(postgres_of(values))
        try:
            connection = await connections.dedicated()
        except Exception as error:
            raise told(error) from error
        try:
            return await work(connection)
        finally:
            await connections.hang_up(connection)

    return asyncio.run(run())
