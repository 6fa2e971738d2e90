"""Where the command begins: the tree of commands, and the one place where errors become exit codes."""

from __future__ import annotations

import os
import sys
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import typer
from typer import TyperException

from goverse_cli.commands import call, cluster, config, db, dev, gate, load, new, node, openapi, storage, version
from goverse_cli.failure import ExitCode, tell
from goverse_cli.invocation import Invocation, Output, global_options_first
from goverse_cli.single_options import Commands

EXIT_CODES = (
    "Exit codes: 0 done, 1 failed, 2 wrong command line or configuration, 3 something needed is not available now."
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
app.command(short_help="Make a project to begin with.")(new.new)
app.command(short_help="Serve an application on this machine.")(dev.dev)
app.command(short_help="Serve an application as one node of a cluster.")(node.node)
app.command(short_help="Serve a cluster over HTTP.")(gate.gate)
app.add_typer(cluster.nodes, name="nodes")
app.add_typer(cluster.shards, name="shards")
app.add_typer(db.commands, name="db")
app.command(short_help="Call a method of an object.")(call.call)
app.command(short_help="Make a snapshot now.")(storage.snapshot)
app.command(short_help="Remove old snapshots and log.")(storage.trim)
app.command(short_help="Restore a position or a time into a new directory.")(storage.restore)
app.command(short_help="Print all objects, one JSON object per line.")(storage.dump)
app.command(short_help="Load a dump into an embedded store or a cluster.")(load.load)
app.command(short_help="Compare two data directories or dumps.")(storage.diff)
app.add_typer(config.commands, name="config")
app.add_typer(openapi.commands, name="openapi")
app.command(short_help="Say which release this is.")(version.version)


@app.callback()
def _globals(
    context: typer.Context,
    output: Annotated[Output, typer.Option("-o", "--output", help="Form of results and errors.")] = Output.TEXT,
    config: Annotated[
        Path | None, typer.Option(help="YAML file with settings; also GOVERSE_CONFIG.", show_default=False)
    ] = None,
    no_input: Annotated[bool, typer.Option("--no-input", help="Never ask a question; fail instead.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Virtual objects for Python: typed, durable, called over HTTP by name.

    These options may stand anywhere on the line, also behind a command.

    \b
    Begin with:
      goverse new shop                                    make a project in the folder shop
      goverse dev app.py                                  serve the classes in app.py
      goverse call Counter c1 increment '{"by": 2}'       call one of their objects
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
        # The reader left. Python would complain once more when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    except TyperException as error:
        if error.message.startswith("Usage:"):  # a command of several was called without saying which
            typer.echo(error.message)
            return ExitCode.USAGE
        return tell(error, as_json=as_json, debug="--debug" in words)
    except Exception as error:
        return tell(error, as_json=as_json, debug="--debug" in words)
    return outcome if isinstance(outcome, int) else ExitCode.OK


def _values_of_output(words: list[str]) -> list[str]:
    return [value for name, value in pairwise(words) if name in ("-o", "--output")]
