"""``python -m benchmarks``: measure all candidates in one run on one machine, and write the report."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import cluster_measurements, report, sends
from benchmarks.measurements import Results, footprint, latency, throughput
from benchmarks.postgres import postgres

PARTS = ("local", "cluster", "growth", "interruptions", "commits", "sends")


def _measure(results: Results, folder: Path, parts: Sequence[str], *, quick: bool) -> None:
    rounds, seconds = (1, 2.0) if quick else (3, 3.0)
    with postgres(Path(tempfile.gettempdir())) as (dsn, version):
        results.postgres = version
        if "local" in parts:
            throughput(results, folder, dsn, rounds=rounds, seconds=seconds, say=_say)
            latency(results, folder, seconds=4 * seconds, say=_say)
            footprint(results, folder, seconds=2 * seconds, say=_say)
        if "cluster" in parts:
            cluster_measurements.throughput(results, folder, dsn, rounds=rounds, seconds=seconds, say=_say)
        if "growth" in parts:
            cluster_measurements.growth(results, folder, dsn, seconds=seconds, say=_say)
        if "interruptions" in parts:
            cluster_measurements.interrupted(results, folder, dsn, say=_say)
        if "commits" in parts:
            cluster_measurements.commits(results, dsn, seconds=seconds / 3, say=_say)
        if "sends" in parts:
            sends.measure(results.sends, folder, dsn, rounds=rounds, seconds=seconds, say=_say)
            most = sends.PENDING[1] if quick else sends.PENDING[-1]
            results.pending = sends.by_pending(folder / "pending", most=most, seconds=seconds, say=_say)


def _say(line: str) -> None:
    print(line, flush=True)


def main() -> int:
    """Run the benchmarks. Returns 1 if a target is missed or, with ``--check``, if a recorded ratio got worse."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="run one short round, as a smoke test")
    parser.add_argument(
        "--check", action="store_true", help="compare with benchmarks/results.json instead of writing it"
    )
    parser.add_argument(
        "--only", choices=PARTS, action="append", help="measure only this part, without a report; can be repeated"
    )
    parser.add_argument("--note", default="", help="a sentence about the run for the report")
    parser.add_argument("--dir", type=Path, default=Path.cwd(), help="folder for the data, on a disk and not in memory")
    options = parser.parse_args()
    results = Results(note=options.note)
    with tempfile.TemporaryDirectory(prefix=".benchmark-", dir=options.dir) as name:
        _measure(results, Path(name), options.only or PARTS, quick=options.quick)
    missed = [what for what, _, _, reached in report.verdicts(results) if not reached]
    for what, ratio, wanted, reached in report.verdicts(results):
        print(f"{'PASS' if reached else 'FAIL'} {what}: {ratio:.2f}, target {wanted:.2f}")
    if options.check:
        worse = report.regressions(results)
        print("\n".join(worse) or "no regression: no ratio is more than a fifth below the recorded one")
        return 1 if missed or worse else 0
    if not options.quick and not options.only:
        report.write(results, "make bench")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
