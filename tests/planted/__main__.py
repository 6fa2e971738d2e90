"""Run the planted-bug list, or the entries that are named, and print one line per entry."""

import sys

from tests.planted import planted_bugs
from tests.planted.trial import try_bugs


def main() -> int:
    """Return 1 if a bug was not found by its test."""
    bugs = planted_bugs()
    names = sys.argv[1:] or list(bugs)
    if unknown := [name for name in names if name not in bugs]:
        sys.stderr.write(f"no such bug: {', '.join(unknown)}\n")
        return 2
    verdicts = try_bugs([bugs[name] for name in names])
    for name, verdict in verdicts.items():
        sys.stdout.write(f"{'ok  ' if verdict.fault is None else 'FAIL'} {verdict.seconds:6.2f} s  {name}\n")
        if verdict.fault is not None:
            sys.stdout.write(f"{verdict.fault}\n")
    return int(any(verdict.fault is not None for verdict in verdicts.values()))


if __name__ == "__main__":
    sys.exit(main())
