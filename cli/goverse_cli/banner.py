"""What a person sees when the server answers: where it is, what it serves, and a first call to paste."""

from __future__ import annotations

import logging
import os
import shlex
import sys
from functools import partial
from textwrap import indent
from typing import Any

import typer

from goverse.model.catalog import MethodDescription
from goverse.model.json_values import encode
from goverse.settings import Settings
from goverse.settings.sections import is_loopback
from goverse.telemetry.logs import wants_color
from goverse_cli.serve import Running

logger = logging.getLogger("goverse.dev")


def announce(running: Running, settings: Settings, *, reloads: bool) -> None:
    """Say that requests are answered: a banner for people, one record for programs."""
    if not is_loopback(settings.gate.host):
        logger.warning(
            "other machines can reach %s, and callers are not authenticated (gate.allow_unauthenticated_remote)",
            settings.gate.host,
        )
    if logs_are_text(settings):
        typer.echo(banner(running, settings, reloads=reloads), err=True, color=_color())
    else:
        logger.info(
            "serving",
            extra={
                "url": running.url,
                "docs": f"{running.url}/docs",
                "types": sorted(running.catalog),
                "data_dir": str(settings.wal.data_dir),
            },
        )


def logs_are_text(settings: Settings) -> bool:
    """Tell whether people read the log."""
    return settings.log.format == "text" or (settings.log.format == "auto" and sys.stderr.isatty())


def banner(running: Running, settings: Settings, *, reloads: bool) -> str:
    """Return the banner."""
    lines = [
        ("serving", running.url),
        ("docs", f"{running.url}/docs"),
        *([("web", str(settings.gate.web_dir))] if settings.gate.web_dir else []),
        ("types", ", ".join(sorted(running.catalog))),
        ("data", str(settings.wal.data_dir.resolve())),
        ("reload", "on change" if reloads else "off"),
        ("pid", f"{os.getppid()}, whose child {os.getpid()} serves" if reloads else str(os.getpid())),
    ]
    width = max(len(name) for name, _ in lines)
    text = "\n".join(f"{typer.style(name.rjust(width), dim=True)}  {value}" for name, value in lines)
    return f"\n{typer.style('GoVerse', bold=True)}\n\n{text}\n\n{indent(first_call(running), '  ')}\n"


def first_call(running: Running) -> str:
    """Return requests that succeed as they are printed, whatever the objects' own code expects of their state.

    A call of a method that declares no business error, preferably one that changes something and takes arguments,
    because one without arguments (``pay`` of a cart) tends to need what an earlier call has left. A create comes before
    it where the call alone does not create the object, or would only read it. Without such a method it is a create and
    a read of its state, and where even creating needs more than the types say, the list of objects.
    """
    types = [name for name in running.catalog if _can_be_created(running, name)]
    methods = [(name, method) for name in types for method in running.catalog[name].methods.values()]
    inviting = min(filter(partial(_can_be_called, running), methods), key=partial(_demands, running), default=None)
    if inviting is None and not types:
        return _curl("GET", f"{running.url}/objects/{next(iter(running.catalog))}", None)
    name, method = inviting or (types[0], None)
    url = f"{running.url}/objects/{name}/{name.lower()}-1"
    create = _curl("PUT", url, _example(running, name))
    if method is None:
        return f"{create}\n{_curl('GET', url, None)}"
    call = _curl("POST", f"{url}/call/{method.name}", _example(running, name, method))
    return f"{create}\n{call}" if method.readonly or name in running.created_first else call


def _can_be_created(running: Running, name: str) -> bool:
    described = running.catalog[name]
    known = _example(running, name) is not None or not described.create_arguments.get("required")
    return described.create == "anyone" and not described.create_errors and known


def _can_be_called(running: Running, found: tuple[str, MethodDescription]) -> bool:
    known = _example(running, *found) is not None or not found[1].arguments.get("required")
    return not found[1].errors and known


def _demands(running: Running, found: tuple[str, MethodDescription]) -> tuple[bool, bool, bool, int]:
    """Return what makes a method less inviting, the most important first."""
    name, method = found
    bare = not method.readonly and not method.arguments.get("properties")
    required = len(method.arguments.get("required", []))
    return name in running.created_first, bare, method.readonly, required


def _curl(verb: str, url: str, arguments: Any) -> str:
    body = f" -d {shlex.quote(encode(arguments).decode())}" if arguments else ""
    return f"curl{'' if verb == 'GET' else f' -X {verb}'} {shlex.quote(url)}{body}"


def _example(running: Running, name: str, method: MethodDescription | None = None) -> Any:
    """Return the arguments that the API document shows for a create or a call; None where it shows none."""
    path, verb = (f"/call/{method.name}", "post") if method is not None else ("", "put")
    operation = running.document["paths"].get(f"/objects/{name}/{{id}}{path}", {}).get(verb, {})
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    return content.get("example")


def _color() -> bool:
    return wants_color(sys.stderr, os.environ)
