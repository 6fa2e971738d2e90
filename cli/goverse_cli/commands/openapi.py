"""``goverse openapi export|check``: print the OpenAPI document of an application, or find breaking changes in it."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from pydantic_core import to_json

from goverse.model.json_values import decode
from goverse.objects.application import load_application
from goverse_cli.compatibility import Break, breaks
from goverse_cli.failure import ExitCode, Failure, named_file
from goverse_cli.invocation import invocation_of
from goverse_cli.single_options import Commands
from goverse_cli.terminal import show
from goverse_cli.trust import Ca, Cert, CertKey, Trust

commands = Commands(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Export the OpenAPI document, and find breaking changes.",
)

_TIMEOUT_S = 30.0
_UNUSABLE = frozenset((errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.EROFS))
"""Errors caused by the given path, not by the disk."""


@commands.command(short_help="Print the OpenAPI document of an application or a server.")
def export(
    target: Annotated[
        str | None,
        typer.Argument(metavar="PATH|MODULE", help="The application, as for `goverse dev`.", show_default=False),
    ] = None,
    *,
    url: Annotated[
        str | None, typer.Option(help="Read the document from this running server.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write. Default: standard output.", show_default=False)
    ] = None,
    ca: Ca = None,
    cert: Cert = None,
    cert_key: CertKey = None,
) -> None:
    """Print the OpenAPI 3.1 document of an application: its types, methods, schemas and errors.

    The output depends only on the code and the GoVerse release, so you can commit it and compare versions. The
    document of a running server also contains its administration paths, for example /admin/config.

    \b
    Examples:
      goverse openapi export app.py > openapi.json
      goverse openapi export --url http://localhost:8000 --out openapi.json
    """
    _check_source(target, url, "give either an application or --url", "goverse openapi export")
    document = _of_server(url, Trust(ca, cert, cert_key)) if url is not None else _of_application(target or "")
    text = to_json(document, indent=2) + b"\n"
    if out is None:
        typer.echo(text, nl=False)
    else:
        _write(out, text)
        typer.echo(f"wrote {out}", err=True)


@commands.command(short_help="Find changes that break existing clients.")
def check(
    context: typer.Context,
    old: Annotated[Path, typer.Argument(metavar="OLD", help="OpenAPI document (.json) of the previous release.")],
    new: Annotated[
        str | None,
        typer.Argument(
            metavar="NEW",
            help="OpenAPI document (.json) of the new release, or its application as for `goverse dev`.",
            show_default=False,
        ),
    ] = None,
    *,
    url: Annotated[
        str | None, typer.Option(help="Read the new document from this running server.", show_default=False)
    ] = None,
    ca: Ca = None,
    cert: Cert = None,
    cert_key: CertKey = None,
) -> None:
    """Find changes between two OpenAPI documents that break clients of the old one.

    New methods, new optional arguments, wider argument types and new members of results are compatible. Removals, new
    required arguments, narrower argument types and wider result types are breaking. If there is a breaking change, the
    command lists all of them and exits with code 1.

    \b
    Examples:
      goverse openapi check openapi.json app.py
      goverse openapi check openapi.json --url http://localhost:8000
      goverse openapi check v1.json v2.json -o json
    """
    _check_source(new, url, "give either NEW or --url", "goverse openapi check openapi.json")
    fresh = _of_server(url, Trust(ca, cert, cert_key)) if url is not None else _of_code_or_file(new or "")
    found = breaks(_document(_of_file(old), str(old)), _document(fresh, url or new or ""))
    told = {"breaks": [each._asdict() for each in found]}
    if found:
        raise _broken(old, found, told)
    show(invocation_of(context), told, f"compatible: no change breaks clients of {old}")


def _write(out: Path, text: bytes) -> None:
    there = out.exists()
    try:
        out.write_bytes(text)
    except OSError as error:
        if not there:
            out.unlink(missing_ok=True)  # an incomplete document could be taken for a complete one
        code = ExitCode.USAGE if error.errno in _UNUSABLE else ExitCode.FAILED
        raise Failure(
            f"{out} cannot be written: {error.strerror}", hint="name another file with --out", exit_code=code
        ) from error


def _check_source(target: str | None, url: str | None, what: str, command: str) -> None:
    """Refuse a command line that gives neither or both of the two sources."""
    if (target is None) == (url is None):
        raise Failure(
            what,
            hint=f"{command} app.py    or: {command} --url http://localhost:8000",
            exit_code=ExitCode.USAGE,
        )


def _broken(old: Path, found: list[Break], told: dict[str, Any]) -> Failure:
    lines = "".join(f"\n  {each.place}: {each.what}" for each in found)
    what = "a change breaks" if len(found) == 1 else f"{len(found)} changes break"
    return Failure(
        f"{what} clients of {old}:{lines}",
        hint="keep the old form and add the new one beside it, or give the changed method a new name",
        document=told,
    )


def _of_code_or_file(target: str) -> object:
    return _of_file(Path(target)) if target.endswith(".json") else _of_application(target)


def _of_file(path: Path) -> object:
    try:
        return decode(named_file(path))
    except ValueError as error:
        raise Failure(
            f"{path} is not valid JSON", hint="create it with goverse openapi export", exit_code=ExitCode.USAGE
        ) from error


def _document(found: object, source: str) -> Mapping[str, Any]:
    if not isinstance(found, Mapping) or "openapi" not in found:
        raise Failure(
            f"{source} is not an OpenAPI document",
            hint="create one with goverse openapi export",
            exit_code=ExitCode.USAGE,
        )
    return cast("Mapping[str, Any]", found)


def _of_server(url: str, trust: Trust) -> object:
    from goverse_cli.server_client import ServerClient, shown_url  # noqa: PLC0415 - needed with --url only

    answer = ServerClient(url, timeout_s=_TIMEOUT_S, trust=trust).request("GET", "/openapi.json")
    try:
        return decode(answer.content)
    except ValueError as error:
        raise Failure(
            f"{shown_url(answer.url)} is not an OpenAPI document",
            hint="check that --url is the URL of a GoVerse server",
        ) from error


def _of_application(target: str) -> object:
    # A late import, because other short-lived commands do not need the web framework.
    from goverse_cli.serve import api_document  # noqa: PLC0415

    return api_document(load_application(target).registry)
