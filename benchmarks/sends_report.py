"""The report's section about reliable calls, and its targets."""

from __future__ import annotations

import math
import statistics
from typing import Final

from benchmarks.measurements import Results, Target
from benchmarks.sends import (
    ACCEPTED,
    ACCEPTED_CLUSTER,
    DBOS,
    PLAIN,
    PLAIN_CLUSTER,
    PROCRASTINATE,
    RESTATE,
    SENDS,
    SENDS_CLUSTER,
    Rates,
)

TARGETS: Final = (
    Target(SENDS, PLAIN, 0.45),
    Target(SENDS_CLUSTER, PLAIN_CLUSTER, 0.40),
    Target(SENDS_CLUSTER, RESTATE, 5.0),
    Target(SENDS_CLUSTER, PROCRASTINATE, 3.0),
    Target(SENDS_CLUSTER, DBOS, 5.0),
    Target(ACCEPTED, PLAIN, 0.8),
    Target(ACCEPTED_CLUSTER, PLAIN_CLUSTER, 0.8),
)
FLAT: Final = 0.8
"""The least ratio of the CPU time of a send without pending calls to that with the most pending calls."""

_TEXT: Final = """
A completed send was committed by its sender, executed and committed by its receiver, and removed from the outbox. Each
send has a turn of its own, which a call over HTTP runs. Completions count during a window inside of a longer load, so
what is accepted and waits counts for nothing (`benchmarks/sends.py`). CPU time is that of all servers, with PostgreSQL.
The queues run on the same PostgreSQL, with producers of their own and without HTTP, configured as their documentation
recommends for speed (`benchmarks/peers/`). They keep no order, and can have an effect twice.
"""


def ratio(rates: Rates, name: str, of: str) -> float:
    """Return the median of the ratios within each round."""
    return statistics.median(one.per_s / other.per_s for one, other in zip(rates[name], rates[of], strict=False))


def verdicts(results: Results) -> list[tuple[str, float, float, bool]]:
    """Return (name, ratio, target, reached) for each target that was measured."""
    found: list[tuple[str, float, float, bool]] = []
    for target in TARGETS:
        if target.name in results.sends and target.of in results.sends:
            reached = ratio(results.sends, target.name, target.of)
            found.append((f"{target.name} / {target.of}", reached, target.at_least, reached >= target.at_least))
    if len(results.pending) > 1:
        most, costs = list(results.pending)[-1], [each.cpu_us for each in results.pending.values()]
        what = f"CPU time of a send, none pending / {most} pending"
        found.append((what, costs[0] / costs[-1], FLAT, costs[0] / costs[-1] >= FLAT))
    return found


def sends_section(results: Results) -> list[str]:
    """Return the lines of the section; none if nothing was measured."""
    rates = results.sends
    if not rates:
        return []
    lines = ["", "## Reliable calls", _TEXT, "| | per second | CPU time each |", "| --- | ---: | ---: |"]
    for name, rounds in rates.items():
        used = statistics.median(each.cpu_us for each in rounds)
        cost = "" if math.isnan(used) else f"{used:,.0f} µs"
        lines.append(f"| {name} | {statistics.median(each.per_s for each in rounds):,.0f} | {cost} |")
    if results.pending:
        lines += ["", "Sends on one machine by the number of other pending calls:", ""]
        lines += ["| pending | per second | CPU time each |", "| ---: | ---: | ---: |"]
        lines += [f"| {count} | {each.per_s:,.0f} | {each.cpu_us:,.0f} µs |" for count, each in results.pending.items()]
    return lines
