"""``python -m benchmarks``: measure side by side, in one run on one machine, and write down what came out."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks import report
from benchmarks.measurements import Results, footprint, latency, throughput
from benchmarks.postgres import postgres


def main() -> int:
    """Run; 1 when a target is missed or, with ``--check``, when a recorded ratio got worse."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round: to see that it works, not to publish")
    parser.add_argument(
        "--check", action="store_true", help="compare with benchmarks/results.json instead of writing it"
    )
    parser.add_argument("--dir", type=Path, default=Path.cwd(), help="where the data goes: a disk, not memory")
    options = parser.parse_args()
    rounds, seconds = (1, 2.0) if options.quick else (3, 3.0)
    results = Results()
    with tempfile.TemporaryDirectory(prefix=".benchmark-", dir=options.dir) as name:
        folder = Path(name)
        with postgres(Path(tempfile.gettempdir())) as (dsn, version):
            results.postgres = version
            throughput(results, folder, dsn, rounds=rounds, seconds=seconds, say=print)
        latency(results, folder, seconds=4 * seconds, say=print)
        footprint(results, folder, seconds=2 * seconds, say=print)
    missed = [what for what, _, _, reached in report.verdicts(results) if not reached]
    for what, ratio, wanted, reached in report.verdicts(results):
        print(f"{'PASS' if reached else 'FAIL'} {what}: {ratio:.2f}, wanted {wanted:.2f}")
    if options.check:
        worse = report.regressions(results)
        print("\n".join(worse) or "no ratio is more than a fifth below the recorded one")
        return 1 if missed or worse else 0
    if not options.quick:
        report.write(results, "make bench")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
