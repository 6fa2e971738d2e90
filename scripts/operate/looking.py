"""Reads the facts about a release from Kubernetes, Helm and the processes themselves.

`goverse` commands run inside a gate or a node, which have the addresses of the stores and the certificates. `/metrics`
and `/readyz` are read there too, because network policies block other clients. A fact that cannot be read is noted and
is never fatal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from scripts.operate import facts as taken
from scripts.operate.facts import Facts, Pod
from scripts.operate.programs import Programs, Refused

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "goverse"
MIGRATIONS = ROOT / "node" / "goverse_node" / "stores" / "postgres" / "migrations"
PYTHON = "/opt/goverse/bin/python"
SERVING = ("node", "gate")


class Look:
    """One reading of a release. Facts are read one by one; ``unseen`` collects the errors."""

    def __init__(self, programs: Programs) -> None:
        """Read the Pods of the release with ``programs``."""
        self.programs = programs
        self.unseen: dict[str, str] = {}
        self.pods = self.seen("pods", lambda: taken.pods_of(programs.of_release("pods")))

    def seen(self, what: str, ask: Callable[[], T]) -> T | None:
        """Return the result of ``ask``, or None after recording its error in ``unseen``."""
        try:
            return ask()
        except Refused as error:
            self.unseen[what] = str(error)
        except (KeyError, TypeError, ValueError) as error:
            self.unseen[what] = f"unexpected output: {type(error).__name__}: {error}"
        return None

    def serving(self, part: str | None = None) -> list[Pod]:
        """Return the Pods of nodes and gates, ready ones first."""
        found = [pod for pod in self.pods or () if pod.part in SERVING and part in (None, pod.part)]
        return sorted(found, key=lambda pod: (not pod.ready, pod.leaving, pod.name))

    def by(self, part: str, *words: str) -> Any:
        """Run `goverse` in a Pod of this part.

        Raises:
            Refused: the part has no Pod, or the command failed.
        """
        pods = self.serving(part)
        if not pods:
            raise Refused(f"the release has no Pod of a {part} to run the command in")
        return self.programs.goverse(pods[0].name, part, *words)

    def served(self, pod: Pod, path: str) -> str:
        """Return the response body of a process's path, whatever the status.

        Raises:
            Refused: the process does not respond.
        """
        return self.programs.inside(pod.name, pod.part, PYTHON, "-m", "goverse_cli.health", pod.part, path)

    def metrics(self, part: str | None = None) -> dict[str, str]:
        """Return the metrics of each Pod.

        Raises:
            Refused: a process does not respond.
        """
        return {pod.name: self.served(pod, "/metrics") for pod in self.serving(part)}

    def readiness(self) -> dict[str, tuple[str, ...]]:
        """Return the reasons why each Pod is not ready; empty for a ready Pod.

        Raises:
            Refused: a process does not respond.
        """
        return {pod.name: tuple(json.loads(self.served(pod, "/readyz"))["reasons"]) for pod in self.serving()}


def settled(programs: Programs) -> tuple[str, str]:
    """Return Helm's status of the release, and the version of GoVerse that it installed.

    Raises:
        Refused: the release does not exist.
    """
    newest = json.loads(programs.helm("history", programs.release, "--max", "1", "--output", "json"))[-1]
    return str(newest["status"]), str(newest["app_version"])


def app_version(programs: Programs, chart: Path) -> str:
    """Return the version of GoVerse that a chart installs.

    Raises:
        Refused: the path is not a chart.
    """
    found = re.search(r"^appVersion:\s*[\"']?([^\"'\s]+)", programs.helm("show", "chart", chart), re.MULTILINE)
    if found is None:
        raise Refused(f"the chart {chart} has no appVersion")
    return found[1]


def rendered(programs: Programs, chart: Path, values: Sequence[str]) -> str | None:
    """Return the error with which the chart refuses these values, or None if it accepts them."""
    try:
        programs.helm("template", programs.release, chart, *values)
    except Refused as error:
        return str(error).rpartition("Error: ")[2].strip() or str(error)
    return None


def known_migrations(folder: Path = MIGRATIONS) -> tuple[str, ...]:
    """Return the names of the migrations in ``folder``."""
    return tuple(sorted(path.stem for path in folder.glob("*.sql")))


def look(programs: Programs, *, chart: Path | None = None, values: Sequence[str] = (), prometheus: str = "") -> Facts:
    """Read the facts of a release and, if a chart is given, of an upgrade to that chart.

    Args:
        programs: `kubectl` and `helm` for the release.
        chart: the new chart.
        values: helm's arguments for its values.
        prometheus: `NAMESPACE/SERVICE:PORT` of a Prometheus with alerts; empty skips them.
    """
    at = Look(programs)
    state = at.seen("release_settled", lambda: settled(programs)) or (None, None)
    wanted = at.seen("wanted", lambda: app_version(programs, chart)) if chart is not None else state[1]
    metrics = at.seen("certificates", at.metrics)
    gates = None if metrics is None else [metrics[pod.name] for pod in at.serving("gate")]
    return Facts(
        at=datetime.now(UTC),
        release_status=state[0],
        present=state[1],
        wanted=wanted,
        pods=at.pods,
        sizes=at.seen("sizes", lambda: taken.sizes_of(programs.of_release("statefulsets,deployments"))),
        nodes=at.seen("nodes", lambda: taken.nodes_of(at.by("gate", "nodes", "list"))),
        shards=at.seen("shards", lambda: taken.shards_of(at.by("gate", "shards", "list"))),
        budgets=at.seen("budgets", lambda: taken.budgets_of(programs.of_release("poddisruptionbudgets"))),
        backups=at.seen("backups", lambda: taken.backups_of(programs.of_release("cronjobs"))),
        migrations=at.seen("migrations", lambda: taken.migrations_of(at.by("node", "db", "status"))),
        known_migrations=known_migrations(),
        values_refused=rendered(programs, chart, values) if chart is not None else None,
        calls=None if gates is None else taken.calls_of(gates),
        certificates=None if metrics is None else taken.certificates_of(metrics),
        readiness=at.seen("readiness", at.readiness),
        alerts=at.seen("alerts", lambda: alerts(programs, prometheus)) if prometheus else None,
        unseen={**at.unseen, **({"calls": at.unseen["certificates"]} if "certificates" in at.unseen else {})},
    )


def alerts(programs: Programs, prometheus: str) -> tuple[str, ...]:
    """Return the firing alerts of the namespace.

    Raises:
        Refused: ``prometheus`` is malformed, or Prometheus does not respond.
    """
    namespace, _, service = prometheus.partition("/")
    if not re.fullmatch(r"[\w.-]+:\w+", service):
        raise Refused(f"{prometheus!r} is invalid; the form is NAMESPACE/SERVICE:PORT")
    path = f"/api/v1/namespaces/{namespace}/services/http:{service}/proxy/api/v1/alerts"
    return taken.alerts_of(json.loads(programs.kubectl("get", "--raw", path)), programs.namespace)


def since(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Return the calls by status between two readings. A counter that decreased was reset by a restart."""
    counts = {code: count - before.get(code, 0.0) for code, count in after.items()}
    return {code: after[code] if count < 0 else count for code, count in counts.items()}
