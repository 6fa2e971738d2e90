"""What a person sees when the server answers: where it is, what it serves, and a first call to paste."""

from __future__ import annotations

import logging
import os
import shlex
import sys
from collections.abc import Mapping
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
    first = first_call(running)
    call = f"\n\n{indent(first, '  ')}" if first else ""
    return f"\n{typer.style('GoVerse', bold=True)}\n\n{text}{call}\n"


def first_call(running: Running) -> str | None:
    """Return what calls the most inviting method, after a create where it needs one; None where there is no method."""
    found = _inviting(running)
    if found is None:
        return None
    type_name, method = found
    url = f"{running.url}/objects/{type_name}/{type_name.lower()}-1"
    path = f"/call/{method.name}"
    call = _curl("POST", f"{url}{path}", _example(running.document, type_name, path, "post"))
    if type_name not in running.created_first:
        return call
    return f"{_curl('PUT', url, _example(running.document, type_name, '', 'put'))}\n{call}"


def _curl(verb: str, url: str, arguments: Any) -> str:
    body = f" -d {shlex.quote(encode(arguments).decode())}" if arguments else ""
    return f"curl -X {verb} {shlex.quote(url)}{body}"


def _inviting(running: Running) -> tuple[str, MethodDescription] | None:
    """Prefer a type that a call creates, then a method that changes something, then one that asks for nothing."""
    methods = [
        (name, method)
        for name, described in running.catalog.items()
        if described.create == "anyone"
        for method in described.methods.values()
    ]

    def demands(found: tuple[str, MethodDescription]) -> tuple[bool, bool, int]:
        name, method = found
        return name in running.created_first, method.readonly, len(method.arguments.get("required", []))

    return min(methods, key=demands, default=None)


def _example(document: Mapping[str, Any], type_name: str, path: str, verb: str) -> Any:
    """Return the arguments that the API document shows for a request to an object; None where it shows none."""
    operation = document["paths"].get(f"/objects/{type_name}/{{id}}{path}", {}).get(verb, {})
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    return content.get("example")


def _color() -> bool:
    return wants_color(sys.stderr, os.environ)
