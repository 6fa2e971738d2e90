"""What was seen of a release, as values: what Kubernetes, Helm and the cluster itself answered, taken apart.

Nothing here asks; ``looking`` does. Times are aware datetimes, counts are counts, ``None`` is "could not be seen".
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
    """A node as the cluster itself knows it."""

    name: str
    state: str
    release: str
    shards: int
    leader: bool


@dataclass(frozen=True)
class Shards:
    """How many shards there are, and how many have an owner."""

    total: int
    claimed: int
    moving: int


@dataclass(frozen=True)
class Wanted:
    """How many Pods of a part there should be, and how many of those are of the newest template and ready."""

    part: str
    replicas: int
    updated: int
    ready: int


@dataclass(frozen=True)
class Facts:
    """All that was seen at one moment. ``unseen`` says what could not be, and why."""

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
    """Return a time as Kubernetes writes it."""
    return datetime.fromisoformat(text).astimezone(UTC) if text else None


def pods_of(listing: Document) -> tuple[Pod, ...]:
    """Take a list of Pods apart. Those of Jobs that are done do not count."""
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
    """Take a list of StatefulSets and Deployments apart."""
    found: list[Wanted] = []
    for item in listing.get("items", []):
        status, part = item.get("status", {}), item["metadata"]["labels"]["app.kubernetes.io/component"]
        replicas = int(item.get("spec", {}).get("replicas", 1))
        found.append(Wanted(part, replicas, int(status.get("updatedReplicas", 0)), int(status.get("readyReplicas", 0))))
    return tuple(found)


def nodes_of(document: Document) -> tuple[Node, ...]:
    """Take `goverse -o json nodes list` apart."""
    return tuple(
        Node(name, each["state"], each["release"], int(each["shards"]), bool(each["leader"]))
        for name, each in sorted(document.items())
    )


def shards_of(document: Document) -> Shards:
    """Take `goverse -o json shards list` apart."""
    return Shards(int(document["shards"]), int(document["claimed"]), len(document["moving"]))


def budgets_of(listing: Document) -> dict[str, int]:
    """Return how many Pods each budget lets go now."""
    return {
        item["metadata"]["name"]: int(item.get("status", {}).get("disruptionsAllowed", 0))
        for item in listing.get("items", [])
    }


def backups_of(listing: Document) -> dict[str, datetime | None]:
    """Return for each CronJob of backups when it last succeeded, or None where it never did."""
    return {
        item["metadata"]["name"]: time_of(item.get("status", {}).get("lastSuccessfulTime"))
        for item in listing.get("items", [])
        if "-backup-" in item["metadata"]["name"]
    }


def migrations_of(document: Document) -> dict[str, bool]:
    """Take `goverse -o json db status` apart: each migration, and whether it is applied."""
    return {each["name"]: each["applied"] is not None for each in document["migrations"]}


def series_of(text: str, name: str) -> list[tuple[dict[str, str], float]]:
    """Return the samples of one series in a text for Prometheus."""
    found: list[tuple[dict[str, str], float]] = []
    for line in text.splitlines():
        match = _SERIES.match(line)
        if match and match[1] == name:
            found.append((dict(_LABEL.findall(match[2] or "")), float(match[3])))
    return found


def calls_of(texts: Iterable[str]) -> dict[str, float]:
    """Return how many calls ended how, over all gates."""
    found: dict[str, float] = {}
    for text in texts:
        for labels, count in series_of(text, "goverse_method_calls_total"):
            found[labels["status"]] = found.get(labels["status"], 0.0) + count
    return found


def certificates_of(texts: Mapping[str, str]) -> dict[str, datetime]:
    """Return when the certificates end, by Pod and link."""
    return {
        f"{pod} {labels['link']}": datetime.fromtimestamp(at, UTC)
        for pod, text in texts.items()
        for labels, at in series_of(text, "goverse_tls_certificate_expiry_timestamp_seconds")
    }


def alerts_of(document: Document, namespace: str) -> tuple[str, ...]:
    """Return the alerts of a namespace that fire, from Prometheus' `/api/v1/alerts`."""
    return tuple(
        sorted(
            {
                alert["labels"]["alertname"]
                for alert in document["data"]["alerts"]
                if alert["state"] == "firing" and alert["labels"].get("namespace") == namespace
            }
        )
    )
