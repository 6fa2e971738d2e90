"""Support bundle: one archive, without secrets, with everything that is needed to analyse a problem.

Each piece is collected separately. A piece that cannot be collected becomes a line in `missing.txt`; the others are
still collected.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from scripts.operate.facts import Pod
from scripts.operate.looking import Look
from scripts.operate.programs import Programs, Refused
from scripts.operate.redaction import of_document, of_text

KINDS = (
    *("pods", "statefulsets", "deployments", "jobs", "cronjobs", "services", "configmaps", "poddisruptionbudgets"),
    *("horizontalpodautoscalers", "networkpolicies", "persistentvolumeclaims", "ingresses"),
)
LOG_LINES = "20000"

Piece = tuple[str, Callable[[], str]]


def pieces(programs: Programs, look: Look) -> Iterator[Piece]:
    """Yield each piece of a bundle: its name, and a function that collects it."""
    for kind in KINDS:
        yield f"objects/{kind}.json", partial(_json, partial(programs.of_release, kind))
    yield "events.json", partial(_json, partial(programs.document, "get", "events", "--sort-by", ".lastTimestamp"))
    yield "helm/values.json", partial(_helm, programs, "get", "values", programs.release)
    yield "helm/history.json", partial(_helm, programs, "history", programs.release)
    yield "versions.json", partial(_json, partial(programs.document, "version"))
    yield "cluster/nodes.json", partial(_json, partial(look.by, "gate", "nodes", "list"))
    yield "cluster/shards.json", partial(_json, partial(look.by, "gate", "shards", "list"))
    yield "cluster/migrations.json", partial(_json, partial(look.by, "node", "db", "status"))
    for pod in look.pods or ():
        yield f"pods/{pod.name}/log.txt", partial(_log, programs, pod.name)
        if pod.restarts:
            yield f"pods/{pod.name}/previous.txt", partial(_log, programs, pod.name, "--previous")
    for pod in look.serving():
        yield f"pods/{pod.name}/readyz.json", partial(_served, look, pod, "/readyz")
        yield f"pods/{pod.name}/metrics.txt", partial(_served, look, pod, "/metrics")


def _json(ask: Callable[[], object]) -> str:
    return json.dumps(of_document(ask()), indent=1, sort_keys=True)


def _helm(programs: Programs, *words: str) -> str:
    return _json(partial(json.loads, programs.helm(*words, "--output", "json")))


def _served(look: Look, pod: Pod, path: str) -> str:
    return of_text(look.served(pod, path))


def _log(programs: Programs, pod: str, *words: str) -> str:
    return of_text(programs.kubectl("logs", pod, "--all-containers", "--timestamps", "--tail", LOG_LINES, *words))


def collect(programs: Programs, folder: Path) -> tuple[Path, list[str]]:
    """Write the archive, and return its path and one line for each missing piece.

    Raises:
        OSError: the archive cannot be written.
    """
    now = datetime.now(UTC)
    name = f"{programs.release}-{now:%Y%m%dT%H%M%SZ}"
    look = Look(programs)
    missing = [f"pods: {reason}" for reason in look.unseen.values()]
    path = folder / f"{name}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for piece, ask in pieces(programs, look):
            try:
                _add(archive, f"{name}/{piece}", ask(), now)
            except (Refused, ValueError) as error:
                missing.append(f"{piece}: {of_text(str(error))}")
        _add(archive, f"{name}/missing.txt", "".join(f"{line}\n" for line in missing), now)
    path.chmod(0o600)
    return path, missing


def _add(archive: tarfile.TarFile, name: str, text: str, now: datetime) -> None:
    content = text.encode()
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = len(content), int(now.timestamp()), 0o600
    archive.addfile(entry, io.BytesIO(content))
