"""The command line; `python3 -m scripts.operate COMMAND --help` from the root of the repository."""

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
    """Return what reads the command line."""
    made = argparse.ArgumentParser(prog="python3 -m scripts.operate", description="Operate GoVerse on Kubernetes.")
    kinds = made.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, about: str, run: Run) -> argparse.ArgumentParser:
        added = kinds.add_parser(name, help=about, description=about)
        added.set_defaults(run=run)
        _of_a_release(added)
        return added

    deploy = command("deploy", "Install a release, after a look at cluster and values.", commands.deploy)
    upgrade = command("upgrade", "Upgrade a release, with a look before and after.", commands.upgrade)
    for each in (deploy, upgrade):
        _of_a_change(each)
    validate = command("validate", "See whether a release is well, and run its tests.", commands.validate)
    validate.add_argument("--prometheus", default="", metavar="NAMESPACE/SERVICE:PORT", help="ask it for alerts")
    for each in (deploy, upgrade, validate):
        each.add_argument("--call", nargs="+", metavar="WORD", help="TYPE ID METHOD [JSON]: a call to be answered")
        each.add_argument("--window-s", type=float, default=10, help="seconds in which failed calls are counted (10)")

    debug = command("debug", "Collect logs, states and metrics in one archive, without secrets.", commands.debug)
    debug.add_argument("--folder", type=Path, default=Path(), help="where the archive goes (here)")
    command("backup", "Make a backup of each store now.", recovery.backup)
    restore = command("restore", "Restore the database from a dump while nobody serves.", recovery.restore)
    what = restore.add_mutually_exclusive_group(required=True)
    what.add_argument("--list", action="store_true", help="show the dumps that there are")
    what.add_argument("--stop", action="store_true", help="stop gates and nodes, and remember how many there were")
    what.add_argument("--start", action="store_true", help="start what --stop stopped, with the database as it is")
    what.add_argument("--dump", metavar="NAME", help="restore this one, verify it, and start what --stop stopped")
    restore.add_argument("--no-start", action="store_true", help="with --dump: start nobody afterwards")
    restore.add_argument("--no-migrate", action="store_true", help="with --dump: leave it as dumped, and start nobody")
    restore.add_argument("--yes", default="", metavar="RELEASE", help="do not ask; the name of the release again")
    size.add_to(kinds.add_parser("size", help=size.ABOUT, description=size.ABOUT))
    return made


def _of_a_release(made: argparse.ArgumentParser) -> None:
    made.add_argument("release", nargs="?", default="goverse", help="name of the release (goverse)")
    made.add_argument("-n", "--namespace", default="default", help="its namespace (default)")
    made.add_argument("--kubeconfig", type=Path, help="as in kubectl")
    made.add_argument("--context", default="", help="as in kubectl")
    made.add_argument("--patience-s", type=float, default=900, help="seconds for Helm, or for a Job (900)")
    made.add_argument("--despite", action="append", default=[], metavar="CODE", help="go on despite this finding")
    made.add_argument("--json", action="store_true", help="findings as JSON")
    made.add_argument("--backup-age-h", type=float, default=26, help="hours that the newest dump may be old (26)")
    made.add_argument("--errors-share", type=float, default=0.01, help="share of calls that may fail (0.01)")


def _of_a_change(made: argparse.ArgumentParser) -> None:
    made.add_argument("--chart", type=Path, default=CHART, help="the chart (that of this tree)")
    made.add_argument("--values", type=Path, action="append", default=[], metavar="FILE", help="values, as in helm")
    made.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a value, as in helm")
    made.add_argument("--check-only", action="store_true", help="look before, and change nothing")
    made.add_argument("--settle-s", type=float, default=300, help="seconds for all to be well afterwards (300)")


def main(arguments: list[str]) -> int:
    """Run a command: 0 is well, 1 is not, 2 is a wrong command line."""
    options = parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except Refused as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # whoever reads may leave
    sys.exit(main(sys.argv[1:]))
