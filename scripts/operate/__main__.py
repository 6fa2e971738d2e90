"""Command line of the operator's tool: `python3 -m scripts.operate COMMAND --help`, from the root of the repository."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from scripts.operate import commands, recovery, size
from scripts.operate.dialogue import Run
from scripts.operate.looking import CHART
from scripts.operate.programs import Refused


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(prog="python3 -m scripts.operate", description="Operate GoVerse on Kubernetes.")
    kinds = made.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, about: str, run: Run) -> argparse.ArgumentParser:
        added = kinds.add_parser(name, help=about, description=about)
        added.set_defaults(run=run)
        _of_a_release(added)
        return added

    deploy = command("deploy", "Check cluster and values, install a release, and check it.", commands.deploy)
    upgrade = command("upgrade", "Check a release, upgrade it, and check it again.", commands.upgrade)
    for each in (deploy, upgrade):
        _of_a_change(each)
    validate = command("validate", "Check the health of a release, and run `helm test`.", commands.validate)
    validate.add_argument(
        "--prometheus", default="", metavar="NAMESPACE/SERVICE:PORT", help="also check for firing alerts"
    )
    for each in (deploy, upgrade, validate):
        each.add_argument("--call", nargs="+", metavar="WORD", help="TYPE ID METHOD [JSON]: a call that must succeed")
        each.add_argument(
            "--window-s", type=float, default=10, help="seconds during which failed calls are counted (10)"
        )

    debug = command("debug", "Collect logs, states and metrics in one archive, without secrets.", commands.debug)
    debug.add_argument("--folder", type=Path, default=Path(), help="folder for the archive (the current one)")
    command("backup", "Create a backup of each store now.", recovery.backup)
    restore = command("restore", "Restore the database from a dump; gates and nodes must be stopped.", recovery.restore)
    what = restore.add_mutually_exclusive_group(required=True)
    what.add_argument("--list", action="store_true", help="list the available dumps")
    what.add_argument("--stop", action="store_true", help="stop gates and nodes, and record their number of replicas")
    what.add_argument("--start", action="store_true", help="start gates and nodes again, with the database as it is")
    what.add_argument("--dump", metavar="NAME", help="restore this dump, verify it, and start gates and nodes again")
    restore.add_argument("--no-start", action="store_true", help="with --dump: leave gates and nodes stopped")
    restore.add_argument(
        "--no-migrate", action="store_true", help="with --dump: do not migrate; leave gates and nodes stopped"
    )
    restore.add_argument("--yes", default="", metavar="RELEASE", help="confirm by repeating the name of the release")
    size.add_to(kinds.add_parser("size", help=size.ABOUT, description=size.ABOUT))
    return made


def _of_a_release(made: argparse.ArgumentParser) -> None:
    made.add_argument("release", nargs="?", default="goverse", help="name of the release (goverse)")
    made.add_argument("-n", "--namespace", default="default", help="namespace of the release (default)")
    made.add_argument("--kubeconfig", type=Path, help="as in kubectl")
    made.add_argument("--context", default="", help="as in kubectl")
    made.add_argument("--patience-s", type=float, default=900, help="timeout of Helm and of a Job in seconds (900)")
    made.add_argument("--despite", action="append", default=[], metavar="CODE", help="continue despite this finding")
    made.add_argument("--json", action="store_true", help="print findings as JSON")
    made.add_argument("--backup-age-h", type=float, default=26, help="maximum age of the newest dump in hours (26)")
    made.add_argument("--errors-share", type=float, default=0.01, help="maximum share of failed calls (0.01)")


def _of_a_change(made: argparse.ArgumentParser) -> None:
    made.add_argument("--chart", type=Path, default=CHART, help="the chart (helm/goverse of this repository)")
    made.add_argument("--values", type=Path, action="append", default=[], metavar="FILE", help="values, as in helm")
    made.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a value, as in helm")
    made.add_argument("--check-only", action="store_true", help="run the pre-flight checks only; change nothing")
    made.add_argument("--settle-s", type=float, default=300, help="timeout in seconds for the checks afterwards (300)")


def main(arguments: list[str]) -> int:
    """Run a command. Exit codes: 0 success, 1 failure or a blocking finding, 2 invalid command line."""
    options = parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except Refused as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # end quietly if the reader closes the pipe
    sys.exit(main(sys.argv[1:]))
