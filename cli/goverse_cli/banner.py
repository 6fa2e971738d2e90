"""Start message of ``goverse dev``: the URL, the served types, and a first request to copy into a terminal."""

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
    """Announce that the server is ready: a banner if the log is text, one log record if it is JSON."""
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
    """Return True if the log format is text, by its setting or because standard error is a terminal."""
    return settings.log.format == "text" or (settings.log.format == "auto" and sys.stderr.isatty())


def banner(running: Running, settings: Settings, *, reloads: bool) -> str:
    """Return the text of the banner."""
    lines = [
        ("serving", running.url),
        ("docs", f"{running.url}/docs"),
        *([("web", str(settings.gate.web_dir))] if settings.gate.web_dir else []),
        ("types", ", ".join(sorted(running.catalog))),
        ("data", str(settings.wal.data_dir.resolve())),
        ("reload", "on change" if reloads else "off"),
        ("pid", f"{os.getppid()} (server process: {os.getpid()})" if reloads else str(os.getpid())),
    ]
    width = max(len(name) for name, _ in lines)
    text = "\n".join(f"{typer.style(name.rjust(width), dim=True)}  {value}" for name, value in lines)
    return f"\n{typer.style('GoVerse', bold=True)}\n\n{text}\n\n{indent(first_call(running), '  ')}\n"


def first_call(running: Running) -> str:
    """Return curl commands that succeed as printed, whatever state the application's code expects.

    1. A call of a method that declares no business error. A method that changes state and takes arguments is preferred,
       because a method without arguments (``pay`` of a cart) often depends on an earlier call. A create precedes the
       call if the call alone does not create the object, or only reads it.
    2. Without such a method: a create, and a read of the new object's state.
    3. If creating needs arguments without a known example: a list of objects.
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
    """Return the sort key of a method: its drawbacks as a first example, most important first."""
    name, method = found
    bare = not method.readonly and not method.arguments.get("properties")
    required = len(method.arguments.get("required", []))
    return name in running.created_first, bare, method.readonly, required


def _curl(verb: str, url: str, arguments: Any) -> str:
    body = f" -d {shlex.quote(encode(arguments).decode())}" if arguments else ""
    return f"curl{'' if verb == 'GET' else f' -X {verb}'} {shlex.quote(url)}{body}"


def _example(running: Running, name: str, method: MethodDescription | None = None) -> Any:
    """Return the example arguments of a create or a call from the API document, or None if it has no example."""
    path, verb = (f"/call/{method.name}", "post") if method is not None else ("", "put")
    operation = running.document["paths"].get(f"/objects/{name}/{{id}}{path}", {}).get(verb, {})
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    return content.get("example")


def _color() -> bool:
    return wants_color(sys.stderr, os.environ)
