"""``goverse openapi export``: the HTTP interface as a document, from code or from a running server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pydantic_core import to_json

from goverse.model.json_values import decode
from goverse.objects.application import load_application
from goverse_cli.failure import ExitCode, Failure
from goverse_cli.trust import Ca, Cert, CertKey, Trust

commands = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The HTTP interface as an OpenAPI document.")

_TIMEOUT_S = 30.0


@commands.callback()
def _family() -> None:
    """Keep ``export`` a command of its own: without this the only command would take its family's place."""


@commands.command(short_help="Print the OpenAPI document of an application or a server.")
def export(
    target: Annotated[
        str | None,
        typer.Argument(metavar="PATH|MODULE", help="Application, as for `goverse dev`.", show_default=False),
    ] = None,
    *,
    url: Annotated[str | None, typer.Option(help="A running server to ask instead.", show_default=False)] = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write; standard output without it.", show_default=False)
    ] = None,
    ca: Ca = None,
    cert: Cert = None,
    cert_key: CertKey = None,
) -> None:
    """Print the OpenAPI 3.1 document of an application: its types, methods, schemas and errors.

    The output is the same for the same code and release, so it can be committed and compared. That of a server has
    the paths of its administration as well (/admin/config, and of the store as far as it has them).

    \b
    Examples:
      goverse openapi export app.py > openapi.json
      goverse openapi export --url http://localhost:8000 --out openapi.json
    """
    if (target is None) == (url is None):
        raise Failure(
            "name an application or a server",
            hint="goverse openapi export app.py    or: goverse openapi export --url http://localhost:8000",
            exit_code=ExitCode.USAGE,
        )
    document = _of_server(url, Trust(ca, cert, cert_key)) if url is not None else _of_application(target or "")
    text = to_json(document, indent=2) + b"\n"
    if out is None:
        typer.echo(text, nl=False)
    else:
        out.write_bytes(text)
        typer.echo(f"wrote {out}", err=True)


def _of_server(url: str, trust: Trust) -> object:
    from goverse_cli.server import Server  # noqa: PLC0415 - the HTTP client, which the other way does not need

    answer = Server(url, timeout_s=_TIMEOUT_S, trust=trust).request("GET", "/openapi.json")
    try:
        return decode(answer.content)
    except ValueError as error:
        raise Failure(
            f"{answer.url} is no OpenAPI document", hint="see whether --url names the right server"
        ) from error


def _of_application(target: str) -> object:
    # Here, because no other command that is short-lived needs the web framework.
    from goverse_cli.serve import api_document  # noqa: PLC0415

    return api_document(load_application(target).registry)
