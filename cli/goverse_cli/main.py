"""Entry point of ``goverse``: the tree of commands, and the one place where errors become exit codes."""

from __future__ import annotations

import os
import sys
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import typer
from typer import TyperException

from goverse_cli.commands import call, calls, cluster, config, db, dev, gate, load, new, node, openapi, storage, version
from goverse_cli.failure import ExitCode, tell
from goverse_cli.invocation import Invocation, Output, global_options_first
from goverse_cli.single_options import Commands

EXIT_CODES = (
    "Exit codes: 0 success, 1 failure, 2 invalid command line or configuration, 3 a server, port or data directory "
    "is unavailable."
)

app = Commands(
    name="goverse",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EXIT_CODES,
)
app.command(short_help="Create a project.")(new.new)
app.command(short_help="Serve an application on this machine.")(dev.dev)
app.command(short_help="Run one node of a cluster.")(node.node)
app.command(short_help="Run one gate, the HTTP server of a cluster.")(gate.gate)
app.add_typer(cluster.nodes, name="nodes")
app.add_typer(cluster.shards, name="shards")
app.add_typer(db.commands, name="db")
app.command(short_help="Call a method of an object.")(call.call)
app.add_typer(calls.commands, name="calls")
app.command(short_help="Write a snapshot of an embedded store.")(storage.snapshot)
app.command(short_help="Delete old snapshots and log files.")(storage.trim)
app.command(short_help="Restore all data, or one object, to an earlier state.")(storage.restore)
app.command(short_help="Print all objects, one JSON object per line.")(storage.dump)
app.command(short_help="Load a dump into a new data directory or a cluster.")(load.load)
app.command(short_help="Compare two data directories or dumps.")(storage.diff)
app.add_typer(config.commands, name="config")
app.add_typer(openapi.commands, name="openapi")
app.command(short_help="Print the version of GoVerse.")(version.version)


@app.callback()
def _globals(
    context: typer.Context,
    output: Annotated[Output, typer.Option("-o", "--output", help="Format of results and errors.")] = Output.TEXT,
    config: Annotated[
        Path | None,
        typer.Option(help="YAML file with settings; the environment variable is GOVERSE_CONFIG.", show_default=False),
    ] = None,
    no_input: Annotated[bool, typer.Option("--no-input", help="Fail instead of asking for confirmation.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Virtual objects for Python: typed, durable, called over HTTP by name.

    The options below are accepted anywhere on the command line, before or after the command.

    \b
    Get started:
      goverse new shop                                    create a project in the folder shop
      goverse dev app.py                                  serve the object types in app.py
      goverse call Counter c1 increment '{"by": 2}'       call a method of the object Counter/c1
    """
    context.obj = Invocation(output, config, no_input, debug)


def main() -> None:
    """Run the command line and exit."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    words = global_options_first(arguments)
    as_json = any(word in ("-ojson", "-o=json", "--output=json") for word in words) or "json" in _values_of_output(
        words
    )
    try:
        outcome = app(words, prog_name="goverse", standalone_mode=False)
        sys.stdout.flush()
    except typer.Abort:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader closed the pipe. Without this, Python would report it again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    except TyperException as error:
        if error.message.startswith("Usage:"):  # a command group without a command, for example `goverse db`
            typer.echo(error.message)
            return ExitCode.USAGE
        return tell(error, as_json=as_json, debug="--debug" in words)
    except Exception as error:
        return tell(error, as_json=as_json, debug="--debug" in words)
    return outcome if isinstance(outcome, int) else ExitCode.OK


def _values_of_output(words: list[str]) -> list[str]:
    return [value for name, value in pairwise(words) if name in ("-o", "--output")]
