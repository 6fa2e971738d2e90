"""Exit codes and error messages of commands.

A command that fails prints one sentence and, where possible, a hint on standard error; standard output carries results
only. With ``-o json`` the error is one JSON object. ``--debug`` adds the traceback.
"""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Any

import typer
from typer import TyperException

from goverse.errors import ConfigError, GoverseError, StoreLocked, TryAgain, Unavailable
from goverse.model.json_values import encode
from goverse_cli.near_options import near_option
from goverse_cli.printable import lines


class ExitCode(IntEnum):
    """Exit codes that scripts may rely on."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNAVAILABLE = 3
    INTERRUPTED = 130


class Failure(Exception):
    """A command failed; ``message`` says why and ``hint`` says what to do next."""

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        exit_code: ExitCode = ExitCode.FAILED,
        document: dict[str, Any] | None = None,
        unforeseen: bool = False,
    ) -> None:
        """Describe a failure.

        Args:
            message: one sentence.
            hint: what to do next.
            exit_code: exit code of the command.
            document: error object for ``-o json``, if it has more fields than the message.
            unforeseen: True for an unexpected error, for which the log of a server has the traceback.
        """
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code
        self.document = document
        self.unforeseen = unforeseen


def named_file(path: Path) -> bytes:
    """Read a file that was named on the command line.

    Raises:
        Failure: the file cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror}", exit_code=ExitCode.USAGE) from error


def failure_of(error: BaseException) -> Failure:
    """Convert any error that ended a command to a ``Failure``."""
    if isinstance(error, Failure):
        return error
    if isinstance(error, TyperException):
        context = getattr(error, "ctx", None)
        hint = f"see {context.command_path} --help" if context is not None else ""
        message = error.format_message().rstrip(".") or "invalid command line"
        if hasattr(error, "option_name") and (near := near_option(error)):
            message, hint = error.message, f"did you mean {near}? {hint}"
        return Failure(message[:1].lower() + message[1:], hint=hint, exit_code=ExitCode.USAGE)
    if isinstance(error, GoverseError):
        document = {"code": error.code, "detail": error.detail, **error.extra}
        hint = (
            "stop that process, or choose another directory with --data-dir" if isinstance(error, StoreLocked) else ""
        )
        return Failure(error.detail, hint=hint, exit_code=_exit_code(error), document=document)
    if isinstance(error, BrokenPipeError):
        return Failure("the reader of the output closed the pipe")
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return Failure(f"{place}{error.strerror or error}")
    return Failure(
        f"unexpected error: {type(error).__name__}: {error}",
        hint="run the command again with --debug to get a traceback, and please report it",
        unforeseen=True,
    )


@contextmanager
def needing(needed: str) -> Generator[None]:
    """Add a hint to an ``Unavailable`` error of a starting server: check that ``needed`` is reachable."""
    try:
        yield
    except Unavailable as error:
        document = {"code": error.code, "detail": error.detail, **error.extra}
        hint = f"check that {needed} can be reached from this machine"
        raise Failure(error.detail, hint=hint, exit_code=_exit_code(error), document=document) from error


def _exit_code(error: GoverseError) -> ExitCode:
    if isinstance(error, ConfigError):
        return ExitCode.USAGE
    return ExitCode.UNAVAILABLE if isinstance(error, TryAgain | StoreLocked) else ExitCode.FAILED


def tell(error: BaseException, *, as_json: bool, debug: bool) -> ExitCode:
    """Print or log the error, and return the exit code."""
    failure = failure_of(error)
    if _logs_are_json():
        extra = {"exit_code": int(failure.exit_code), **({"hint": failure.hint} if failure.hint else {})}
        traced = error if debug or failure.unforeseen else None
        logging.getLogger("goverse.cli").error("%s", failure.message, exc_info=traced, extra=extra)
        return failure.exit_code
    if debug:
        typer.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    if as_json:
        document: dict[str, Any] = failure.document or {"code": "command_failed", "detail": failure.message}
        if failure.hint:
            document = {**document, "hint": failure.hint}
        typer.echo(lines(encode(document).decode()), err=True)
    else:
        typer.echo(f"{_styled('error:', 'red')} {lines(failure.message)}", err=True)
        if failure.hint:
            typer.echo(f"{_styled('hint:', 'cyan')} {lines(failure.hint)}", err=True)
    return failure.exit_code


def _logs_are_json() -> bool:
    if not logging.getLogger().handlers:
        return False  # commands other than servers configure no log, and need not import it here
    from goverse.telemetry import logs  # noqa: PLC0415

    return logs.writes_json()


def _styled(text: str, color: str) -> str:
    return text if os.environ.get("NO_COLOR") else typer.style(text, fg=color, bold=True)
