"""Input and output of the commands: options, printed findings and confirmations."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from datetime import timedelta

from scripts.operate.checks import Limits
from scripts.operate.findings import Finding, as_documents, blocking
from scripts.operate.programs import Programs, Refused

Options = argparse.Namespace
Run = Callable[[Options], int]


def programs_of(options: Options) -> Programs:
    """Return `kubectl` and `helm` for the release of the command line."""
    return Programs(options.release, options.namespace, options.kubeconfig, options.context)


def limits_of(options: Options) -> Limits:
    """Return the limits of the checks from the command line."""
    return Limits(timedelta(hours=options.backup_age_h), options.errors_share)


def tell(options: Options, findings: Iterable[Finding]) -> int:
    """Print findings and return the number of blocking ones."""
    found = list(findings)
    if options.json:
        print(json.dumps({"findings": as_documents(found)}))
    else:
        print("\n".join(each.line for each in found))
    stopped = blocking(found, options.despite)
    if stopped and not options.json:
        print(f"stopped by {', '.join(each.code for each in stopped)}; to continue anyway, add --despite CODE for each")
    return len(stopped)


def agree(options: Options, consequence: str) -> None:
    """Ask the operator to confirm by typing the name of the release.

    Raises:
        Refused: the answer was another word, or there is no terminal to ask on.
    """
    if options.yes == options.release:
        return
    if options.yes or not sys.stdin.isatty():
        raise Refused(f"{consequence}; to confirm, add --yes {options.release}")
    if input(f"{consequence}.\nType the name of the release to confirm: ").strip() != options.release:
        raise Refused("cancelled; nothing was changed")


def say(options: Options, text: str) -> None:
    """Print a message; with ``--json`` to standard error, because standard output then contains findings only."""
    print(text.rstrip(), file=sys.stderr if options.json else sys.stdout)
