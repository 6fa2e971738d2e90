"""Terminal input and output: results on standard output, questions and progress on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from goverse.model.json_values import encode
from goverse_cli.failure import ExitCode, Failure
from goverse_cli.invocation import Invocation
from goverse_cli.printable import lines

ProgressReport = Callable[[str, int, int], None]
"""Called with a description of the work, the bytes or things done, and their total, 0 if that is not known."""


def show(invocation: Invocation, document: Any, text: str) -> None:
    """Print a result: the document with ``-o json``, else the text."""
    if invocation.as_json:
        typer.echo(lines(encode(document).decode()))
    else:
        typer.echo(lines(text))


def confirm(invocation: Invocation, question: str, *, agreed: bool) -> None:
    """Ask for confirmation before an irreversible step. ``agreed`` is the command's ``--yes``.

    Raises:
        Failure: there is no terminal to ask on, or the answer was no.
    """
    if agreed:
        return
    if invocation.no_input or not sys.stdin.isatty():
        hint = "confirmation is required, but the command cannot ask here; add --yes to confirm"
        raise Failure(question, hint=hint, exit_code=ExitCode.USAGE)
    if not typer.confirm(question, err=True):
        raise Failure("cancelled; nothing was changed")


@contextmanager
def progress(invocation: Invocation, *, in_bytes: bool = True) -> Generator[ProgressReport]:
    """Show a progress bar if standard error is a terminal and results are text; otherwise discard the reports.

    The reports count bytes, or things of any kind without ``in_bytes``.
    """
    console = Console(stderr=True)
    if invocation.as_json or not console.is_terminal or invocation.environ.get("TERM") == "dumb":
        yield _unseen
        return
    amount = DownloadColumn() if in_bytes else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), amount, TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task("starting", total=None)

        def report(what: str, done: int, total: int) -> None:
            bars.update(task, description=what, completed=done, total=total or None)

        yield report


@contextmanager
def counting(invocation: Invocation) -> Generator[Callable[[str], None]]:
    """Show how far work of unknown size has come, under the same conditions as ``progress``."""
    console = Console(stderr=True)
    if invocation.as_json or not console.is_terminal or invocation.environ.get("TERM") == "dumb":
        yield lambda _: None
        return
    with console.status("starting") as status:
        yield status.update


def _unseen(what: str, done: int, total: int) -> None:
    """Discard a progress report."""
