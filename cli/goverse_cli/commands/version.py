"""``goverse version``: print the version of GoVerse and Python."""

from __future__ import annotations

import platform

import typer

from goverse_cli.invocation import invocation_of
from goverse_cli.terminal import show
from goverse_cli.version import release


def version(context: typer.Context) -> None:
    """Print the version of GoVerse and of the Python that runs it.

    \b
    Examples:
      goverse version
      goverse version -o json
    """
    python = platform.python_version()
    found = {"goverse": release(), "python": python, "platform": platform.platform()}
    show(invocation_of(context), found, f"goverse {found['goverse']} on Python {python}")
