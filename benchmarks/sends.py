"""Reliable calls: one-way sends beside plain calls, and beside other systems that carry out work later.

A *completed send* was committed with the turn of its sender, delivered, executed, committed with its receipt by its
receiver, and removed from the outbox. Completions are counted where they happen, during a window inside of a longer
load, so calls that are accepted but wait count for nothing. GoVerse counts them when the removal is durable. Restate
and the queues on PostgreSQL have no such count, so the sum of the receivers' values counts, which is earlier.

All systems have 1 000 receivers. GoVerse and Restate are called over HTTP with 64 connections, and each call runs one
turn that sends one call. The queues run their own producers, without HTTP, in batches where they can
(``benchmarks/peers``): they start further work as soon as fewer than a thousand pieces are unfinished. PostgreSQL is
the same server for all, with default settings, so with ``fsync`` and synchronous commits.

Each round measures a plain call and a send in turn, and the ratio within the round counts: the machine is as busy for
both. CPU time per call is steadier than calls per second on a shared machine. It includes the backends of PostgreSQL.
"""

from __future__ import annotations

import math
import re
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks import servers
from benchmarks.cluster import cluster, database
from benchmarks.load import wrk, wrk_command
from benchmarks.peers import queues
from benchmarks.peers import servers as peers
from benchmarks.processor_time import processor_s

PLAIN, SENDS, ACCEPTED = "durable call", "one-way send", "call accepted with 202"
PLAIN_CLUSTER, SENDS_CLUSTER, ACCEPTED_CLUSTER = (
    f"{name}, gate + node + PostgreSQL" for name in (PLAIN, SENDS, ACCEPTED)
)
RESTATE, PROCRASTINATE, DBOS = "one-way send in Restate", "job in procrastinate", "workflow in a DBOS queue"
PENDING: Final = (0, 10_000, 100_000, 1_000_000)

_INCREMENT: Final = ("increment", "1000")
_PLACE: Final = ("place", "1000", "", "Order")
_ACCEPT: Final = ("increment", "1000", "accepted")
_RESTATE: Final = ("place", "1000", "restate", "Order")
_ENDED: Final = 'goverse_reliable_calls_total{outcome="success"}'
_LEAD_S: Final = 2.0
"""Load before each window: removals wait for others, and queues fill."""
_DEPTH: Final = 1_000
"""Delayed calls that one call of ``Order.delay`` sends, and that each sender has at most."""

Say = Callable[[str], None]
Used = Callable[[], float]


@dataclass(frozen=True)
class Rate:
    """Completions per second, and microseconds of CPU time of all servers per completion."""

    per_s: float
    cpu_us: float


Rates = dict[str, list[Rate]]


@dataclass(frozen=True)
class System:
    """A running GoVerse.

    Attributes:
        url: where calls go.
        metrics: the URL of the metrics of the process that has the objects.
        used_s: returns the CPU time of all its processes.
    """

    url: str
    metrics: str
    used_s: Used

    def ended(self) -> float:
        """Return the number of completed sends."""
        with urllib.request.urlopen(self.metrics, timeout=10) as answer:
            return value_of(answer.read().decode(), _ENDED)


def value_of(exposition: str, series: str) -> float:
    """Return the value of one series in the text format of Prometheus.

    Raises:
        SystemExit: there is none.
    """
    found = re.search(rf"^{re.escape(series)} (\S+)$", exposition, re.MULTILINE)
    if found is None:
        raise SystemExit(f"the metrics have no series {series}")
    return float(found[1])


# --- measuring --------------------------------------------------------------------------------------------------------


def window(completed: Callable[[], float], used_s: Used, seconds: float) -> Rate:
    """Count completions for ``seconds``.

    Raises:
        SystemExit: there were none.
    """
    first, used, began = completed(), used_s(), time.perf_counter()
    time.sleep(seconds)
    count, used, elapsed = completed() - first, used_s() - used, time.perf_counter() - began
    if count <= 0:
        raise SystemExit(f"nothing was completed within {seconds:g} s")
    return Rate(count / elapsed, used / count * 1e6)


def plain(system: System, arguments: Sequence[str], seconds: float) -> Rate:
    """Measure calls that count when they are answered.

    Raises:
        SystemExit: a response was an error.
    """
    used = system.used_s()
    seen = wrk(system.url, arguments, seconds=seconds)
    if seen.errors:
        raise SystemExit(f"{arguments}: {seen.errors} responses were errors")
    return Rate(seen.calls_per_s, (system.used_s() - used) / (seen.calls_per_s * math.ceil(seconds)) * 1e6)


@contextmanager
def _load(url: str, arguments: Sequence[str], seconds: float, prefix: Sequence[str] = ()) -> Iterator[None]:
    """Keep 64 connections busy for at least ``seconds``, and wait for their end at exit."""
    command = wrk_command(url, arguments, seconds=seconds, connections=64, prefix=prefix)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        time.sleep(_LEAD_S)
        yield
        printed, _ = running.communicate(timeout=seconds + 60)
    if "Non-2xx" in printed:
        raise SystemExit(f"{arguments}: responses were errors:\n{printed}")


def sends(system: System, seconds: float) -> Rate:
    """Measure completed sends under load."""
    with _load(system.url, _PLACE, _LEAD_S + seconds + 2):
        return window(system.ended, system.used_s, seconds)


def _rest(system: System) -> None:
    """Wait until no call is pending."""
    pending = re.compile(r'^goverse_reliable_calls_pending\{state="(?:running|waiting)"\} (\S+)$', re.MULTILINE)
    while True:
        with urllib.request.urlopen(system.metrics, timeout=10) as answer:
            if not sum(map(float, pending.findall(answer.read().decode()))):
                return
        time.sleep(0.05)


# --- GoVerse ----------------------------------------------------------------------------------------------------------


@contextmanager
def embedded(folder: Path) -> Iterator[System]:
    """Run one process with the embedded store."""
    with servers.goverse(folder) as server:
        yield System(server.url, f"{server.url}/metrics", partial(processor_s, server.pid))


@contextmanager
def clustered(folder: Path, dsn: str) -> Iterator[System]:
    """Run a gate and a node over the empty database of ``dsn``."""
    with cluster(folder, dsn) as one:
        processes = [one.pid("gate"), one.pid("n1"), *backends(dsn)]
        yield System(one.url, f"{one.admin_url('n1')}/metrics", partial(_used_by, processes))


def backends(dsn: str) -> list[int]:
    """Return the processes of PostgreSQL that serve clients of the database of ``dsn``."""
    return [int(pid) for pid in _select(dsn, "SELECT pid FROM pg_stat_activity WHERE datname = current_database()")]


def _select(dsn: str, sql: str) -> list[str]:
    found = subprocess.run(["psql", dsn, "-Atc", sql], check=True, capture_output=True, text=True)
    return found.stdout.split()


def pairs(rates: Rates, system: System, names: tuple[str, str, str], *, rounds: int, seconds: float, say: Say) -> None:
    """Measure plain calls, sends and accepted calls of one system in turn; ``names`` is in this order."""
    accepts = _accepts(system.url)
    if not accepts:
        say("no call is accepted with 202, because this release has no Prefer: respond-async")
    for arguments in (_INCREMENT, _PLACE):
        wrk(system.url, arguments, seconds=_LEAD_S)
    for _ in range(rounds):
        _rest(system)
        note(rates, names[0], plain(system, _INCREMENT, seconds), say)
        note(rates, names[1], sends(system, seconds), say)
        if accepts:
            _rest(system)
            note(rates, names[2], plain(system, _ACCEPT, seconds), say)


def _accepts(url: str) -> bool:
    headers = {"Content-Type": "application/json", "Prefer": "respond-async"}
    request = urllib.request.Request(f"{url}/objects/Counter/c0/call/increment", b"{}", headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return bool(answer.status == 202)


def note(rates: Rates, name: str, rate: Rate, say: Say) -> None:
    """Keep and print a measurement."""
    rates.setdefault(name, []).append(rate)
    say(f"{name}: {rate.per_s:,.0f}/s, {rate.cpu_us:.0f} µs of CPU time each")


def by_pending(folder: Path, *, most: int, seconds: float, say: Say) -> dict[str, Rate]:
    """Measure sends while more and more delayed calls are pending."""
    found: dict[str, Rate] = {}
    with embedded(folder) as system:
        wrk(system.url, _PLACE, seconds=_LEAD_S)
        present = 0
        for count in (count for count in PENDING if count <= most):
            while present < count:
                _delay(system.url, present // _DEPTH)
                present += _DEPTH
            rate = sends(system, seconds)
            found[f"{count:,}"] = rate
            say(f"{count:,} calls pending: {rate.per_s:,.0f} sends/s, {rate.cpu_us:.0f} µs of CPU time each")
    return found


def _delay(url: str, sender: int) -> None:
    body = f'{{"count":{_DEPTH}}}'.encode()
    request = urllib.request.Request(f"{url}/objects/Order/d{sender}/call/delay", body, method="POST")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=60):
        pass


# --- all --------------------------------------------------------------------------------------------------------------


def measure(rates: Rates, folder: Path, dsn: str, *, rounds: int, seconds: float, say: Say) -> None:
    """Measure GoVerse on one machine and in a cluster, and the other systems between the rounds."""
    with embedded(folder / "sends") as one:
        pairs(rates, one, (PLAIN, SENDS, ACCEPTED), rounds=rounds, seconds=seconds, say=say)
    names = (PLAIN_CLUSTER, SENDS_CLUSTER, ACCEPTED_CLUSTER)
    with clustered(folder / "sends-cluster", database(dsn, "sends")) as several:
        for number in range(rounds):
            pairs(rates, several, names, rounds=1, seconds=seconds, say=say)
            for name, rate in _others(folder / f"sends-{number}", dsn, number, seconds=seconds, say=say):
                note(rates, name, rate, say)


def _others(folder: Path, dsn: str, number: int, *, seconds: float, say: Say) -> Iterator[tuple[str, Rate]]:
    if peers.available():
        peers.install("restate")
        with peers.restate(folder / "restate") as peer:
            wrk(peer.url, _RESTATE, seconds=2 * _LEAD_S, prefix=peer.prefix)
            with _load(peer.url, _RESTATE, _LEAD_S + seconds + 2, peer.prefix):
                yield RESTATE, window(partial(peers.restate_sum, peer), _unknown, seconds)
    else:
        say("Restate is left out, because this user cannot create network namespaces")
    peers.install("queues")
    for name, program in ((PROCRASTINATE, "procrastinate"), (DBOS, "dbos")):
        with queues.running(program, folder / program, database(dsn, f"{program}_{number}")) as queue:
            time.sleep(2 * _LEAD_S)
            _select(queue.dsn, "ANALYZE")  # as autovacuum does after its first minute
            used_s = partial(_used_by, [*queue.pids, *backends(queue.dsn)])
            yield name, window(partial(_sum_of_values, queue.dsn), used_s, seconds)


def _used_by(processes: Sequence[int]) -> float:
    return sum(map(processor_s, processes))


def _unknown() -> float:
    return math.nan


def _sum_of_values(dsn: str) -> float:
    return float(_select(dsn, "SELECT coalesce(sum(value), 0) FROM receivers")[0])
