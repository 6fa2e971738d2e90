"""What commands have in common: whom they ask, what they tell, and what they want to hear from people."""

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
    """Return how to reach what the command line names."""
    return Programs(options.release, options.namespace, options.kubeconfig, options.context)


def limits_of(options: Options) -> Limits:
    """Return what the operator puts up with."""
    return Limits(timedelta(hours=options.backup_age_h), options.errors_share)


def tell(options: Options, findings: Iterable[Finding]) -> int:
    """Print findings and return how many block."""
    found = list(findings)
    if options.json:
        print(json.dumps({"findings": as_documents(found)}))
    else:
        print("\n".join(each.line for each in found))
    stopped = blocking(found, options.despite)
    if stopped and not options.json:
        print(f"stopped by {', '.join(each.code for each in stopped)}; whoever knows better adds --despite CODE")
    return len(stopped)


def agree(options: Options, consequence: str) -> None:
    """Have the operator write the name of the release.

    Raises:
        Refused: another word, or nobody to ask.
    """
    if options.yes == options.release:
        return
    if options.yes or not sys.stdin.isatty():
        raise Refused(f"{consequence}; if that is meant, add --yes {options.release}")
    if input(f"{consequence}.\nWrite the name of the release to go on: ").strip() != options.release:
        raise Refused("nothing was done")


def say(options: Options, text: str) -> None:
    """Tell people what happened; programs read findings alone."""
    print(text.rstrip(), file=sys.stderr if options.json else sys.stdout)
