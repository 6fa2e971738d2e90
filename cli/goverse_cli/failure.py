"""How a command ends: an exit code, and where it failed one clear sentence on standard error.

Standard output carries results only. With ``-o json`` the error is one JSON object. A traceback is shown with
``--debug`` alone.
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
    """What a script may rely on."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNAVAILABLE = 3
    INTERRUPTED = 130


class Failure(Exception):
    """A command cannot do what it was asked to; ``hint`` is what to do next."""

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
            exit_code: how the command ends.
            document: what ``-o json`` shows, where there is more to say than the message.
            unforeseen: nobody expected this; a traceback is worth more than the sentence.
        """
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code
        self.document = document
        self.unforeseen = unforeseen


def named_file(path: Path) -> bytes:
    """Return what is in a file that the command line names.

    Raises:
        Failure: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror}", exit_code=ExitCode.USAGE) from error


def failure_of(error: BaseException) -> Failure:
    """Return what to tell about any error that reached the top."""
    if isinstance(error, Failure):
        return error
    if isinstance(error, TyperException):
        context = getattr(error, "ctx", None)
        hint = f"{context.command_path} --help says how to use it" if context is not None else ""
        message = error.format_message().rstrip(".") or "wrong usage"
        if hasattr(error, "option_name") and (near := near_option(error)):
            message, hint = error.message, f"did you mean {near}? {hint}"
        return Failure(message[:1].lower() + message[1:], hint=hint, exit_code=ExitCode.USAGE)
    if isinstance(error, GoverseError):
        document = {"code": error.code, "detail": error.detail, **error.extra}
        return Failure(error.detail, exit_code=_exit_code(error), document=document)
    if isinstance(error, BrokenPipeError):
        return Failure("nobody reads the output any more")
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return Failure(f"{place}{error.strerror or error}")
    return Failure(
        f"something unforeseen happened: {type(error).__name__}: {error}",
        hint="run the command again with --debug to see where, and please report it",
        unforeseen=True,
    )


@contextmanager
def needing(needed: str) -> Generator[None]:
    """Say what has to be reachable where a server is refused as unavailable."""
    try:
        yield
    except Unavailable as error:
        document = {"code": error.code, "detail": error.detail, **error.extra}
        hint = f"see whether {needed} can be reached from here"
        raise Failure(error.detail, hint=hint, exit_code=_exit_code(error), document=document) from error


def _exit_code(error: GoverseError) -> ExitCode:
    if isinstance(error, ConfigError):
        return ExitCode.USAGE
    return ExitCode.UNAVAILABLE if isinstance(error, TryAgain | StoreLocked) else ExitCode.FAILED


def tell(error: BaseException, *, as_json: bool, debug: bool) -> ExitCode:
    """Say on standard error what went wrong, and return the exit code."""
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
        return False  # as in every command that is not a server, which then need not import the logs
    from goverse.telemetry import logs  # noqa: PLC0415

    return logs.writes_json()


def _styled(text: str, color: str) -> str:
    return text if os.environ.get("NO_COLOR") else typer.style(text, fg=color, bold=True)
