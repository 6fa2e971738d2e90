"""Facts about a release: the parsed output of Kubernetes, Helm and the cluster itself.

This module does no input or output; ``looking`` reads the facts. Times are aware datetimes. ``None`` means that a fact
could not be read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Document = Mapping[str, Any]

_SERIES = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Pod:
    """A Pod of the release."""

    name: str
    part: str
    ready: bool
    release: str
    restarts: int
    leaving: bool


@dataclass(frozen=True)
class Node:
    """A node as it is registered in the cluster."""

    name: str
    state: str
    release: str
    shards: int
    leader: bool


@dataclass(frozen=True)
class Shards:
    """Number of shards in total, with an owner, and moving."""

    total: int
    claimed: int
    moving: int


@dataclass(frozen=True)
class Wanted:
    """Number of Pods that a part should have, that have the newest template, and that are ready."""

    part: str
    replicas: int
    updated: int
    ready: int


@dataclass(frozen=True)
class Facts:
    """All facts at one time. ``unseen`` has the reason for each fact that could not be read."""

    at: datetime
    release_status: str | None = None
    present: str | None = None
    wanted: str | None = None
    pods: tuple[Pod, ...] | None = None
    sizes: tuple[Wanted, ...] | None = None
    nodes: tuple[Node, ...] | None = None
    shards: Shards | None = None
    budgets: Mapping[str, int] | None = None
    backups: Mapping[str, datetime | None] | None = None
    migrations: Mapping[str, bool] | None = None
    known_migrations: tuple[str, ...] = ()
    values_refused: str | None = None
    calls: Mapping[str, float] | None = None
    certificates: Mapping[str, datetime] | None = None
    readiness: Mapping[str, tuple[str, ...]] | None = None
    alerts: tuple[str, ...] | None = None
    unseen: Mapping[str, str] = field(default_factory=dict[str, str])


def time_of(text: str | None) -> datetime | None:
    """Parse a time in the format of Kubernetes."""
    return datetime.fromisoformat(text).astimezone(UTC) if text else None


def pods_of(listing: Document) -> tuple[Pod, ...]:
    """Parse a list of Pods. Pods of completed Jobs are left out."""
    found: list[Pod] = []
    for item in listing.get("items", []):
        metadata, status = item["metadata"], item.get("status", {})
        if status.get("phase") in ("Succeeded", "Failed"):
            continue
        labels = metadata.get("labels", {})
        conditions = {each["type"]: each["status"] for each in status.get("conditions", [])}
        restarts = sum(int(each.get("restartCount", 0)) for each in status.get("containerStatuses", []))
        found.append(
            Pod(
                metadata["name"],
                labels.get("app.kubernetes.io/component", ""),
                conditions.get("Ready") == "True",
                labels.get("app.kubernetes.io/version", ""),
                restarts,
                "deletionTimestamp" in metadata,
            )
        )
    return tuple(found)


def sizes_of(listing: Document) -> tuple[Wanted, ...]:
    """Parse a list of StatefulSets and Deployments."""
    found: list[Wanted] = []
    for item in listing.get("items", []):
        status, part = item.get("status", {}), item["metadata"]["labels"]["app.kubernetes.io/component"]
        replicas = int(item.get("spec", {}).get("replicas", 1))
        found.append(Wanted(part, replicas, int(status.get("updatedReplicas", 0)), int(status.get("readyReplicas", 0))))
    return tuple(found)


def nodes_of(document: Document) -> tuple[Node, ...]:
    """Parse the output of `goverse -o json nodes list`."""
    return tuple(
        Node(name, each["state"], each["release"], int(each["shards"]), bool(each["leader"]))
        for name, each in sorted(document.items())
    )


def shards_of(document: Document) -> Shards:
    """Parse the output of `goverse -o json shards list`."""
    return Shards(int(document["shards"]), int(document["claimed"]), len(document["moving"]))


def budgets_of(listing: Document) -> dict[str, int]:
    """Return the number of evictions that each PodDisruptionBudget allows now."""
    return {
        item["metadata"]["name"]: int(item.get("status", {}).get("disruptionsAllowed", 0))
        for item in listing.get("items", [])
    }


def backups_of(listing: Document) -> dict[str, datetime | None]:
    """Return the last success of each backup CronJob, or None if it never succeeded."""
    return {
        item["metadata"]["name"]: time_of(item.get("status", {}).get("lastSuccessfulTime"))
        for item in listing.get("items", [])
        if "-backup-" in item["metadata"]["name"]
    }


def migrations_of(document: Document) -> dict[str, bool]:
    """Parse the output of `goverse -o json db status`: True for each migration that is applied."""
    return {each["name"]: each["applied"] is not None for each in document["migrations"]}


def series_of(text: str, name: str) -> list[tuple[dict[str, str], float]]:
    """Return the samples of one metric from text in the Prometheus format."""
    found: list[tuple[dict[str, str], float]] = []
    for line in text.splitlines():
        match = _SERIES.match(line)
        if match and match[1] == name:
            found.append((dict(_LABEL.findall(match[2] or "")), float(match[3])))
    return found


def calls_of(texts: Iterable[str]) -> dict[str, float]:
    """Return the number of calls by status, summed over all gates."""
    found: dict[str, float] = {}
    for text in texts:
        for labels, count in series_of(text, "goverse_method_calls_total"):
            found[labels["status"]] = found.get(labels["status"], 0.0) + count
    return found


def certificates_of(texts: Mapping[str, str]) -> dict[str, datetime]:
    """Return the expiry of each certificate, by Pod and link."""
    return {
        f"{pod} {labels['link']}": datetime.fromtimestamp(at, UTC)
        for pod, text in texts.items()
        for labels, at in series_of(text, "goverse_tls_certificate_expiry_timestamp_seconds")
    }


def alerts_of(document: Document, namespace: str) -> tuple[str, ...]:
    """Return the firing alerts of a namespace from Prometheus' `/api/v1/alerts`."""
    return tuple(
        sorted(
            {
                alert["labels"]["alertname"]
                for alert in document["data"]["alerts"]
                if alert["state"] == "firing" and alert["labels"].get("namespace") == namespace
            }
        )
    )
