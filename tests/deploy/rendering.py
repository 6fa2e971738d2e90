"""Rendering of the chart with Helm, and access to the rendered objects."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.tree import ROOT

Document = dict[str, Any]

CHART = ROOT / "helm" / "goverse"
VALUES = sorted((ROOT / "tests" / "deploy" / "values").glob("*.yaml"))
NAMES = [path.stem for path in VALUES]
NAMESPACE = "objects"

# Fields of the Pod that gates and nodes get as environment variables.
FIELDS = {"metadata.name": "goverse-node-0", "metadata.namespace": NAMESPACE, "status.podIP": "10.1.2.3"}


def program(name: str) -> Path:
    """Return the path of a program of scripts/deploy_tools.sh."""
    path = ROOT / os.environ.get("DEPLOY_TOOLS", ".deploy-tools") / "bin" / name
    assert path.exists(), f"{path} is not there: run scripts/deploy_tools.sh"
    return path


def run(name: str, *arguments: str | Path, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    """Run a program until it ends."""
    return subprocess.run(
        [program(name), *arguments], capture_output=True, text=True, timeout=timeout_s, check=False, cwd=ROOT
    )


def template(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Render the chart; the command may fail."""
    return run("helm", "template", "goverse", CHART, "--namespace", NAMESPACE, *arguments)


@cache
def text(name: str) -> str:
    """Return Helm's output for one file of values."""
    ran = template("--values", next(path for path in VALUES if path.stem == name))
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def documents(name: str) -> list[Document]:
    """Return the objects for one file of values."""
    return [document for document in yaml.safe_load_all(text(name)) if document]


def pods(found: list[Document]) -> Iterator[tuple[str, Document]]:
    """Yield the Pod templates: kind and name of their owner, and the template."""
    for document in found:
        label = f"{document['kind']}/{document['metadata']['name']}"
        if document["kind"] == "Pod":
            yield label, document
        elif document["kind"] == "CronJob":
            yield label, document["spec"]["jobTemplate"]["spec"]["template"]
        elif "template" in document.get("spec", {}):
            yield label, document["spec"]["template"]


def containers(pod: Document) -> list[Document]:
    """Return all containers of a template."""
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def environment(container: Document) -> dict[str, str]:
    """Return the environment of a container as Kubernetes builds it, without the values of secrets."""
    made: dict[str, str] = {}
    for entry in container.get("env", []):
        source = entry.get("valueFrom", {})
        value = entry.get("value", FIELDS.get(source.get("fieldRef", {}).get("fieldPath", ""), "from-a-secret"))
        for name, known in made.items():
            value = value.replace(f"$({name})", known)
        made[entry["name"]] = value
    return made


def named(found: list[Document], kind: str, name: str) -> Document:
    """Return the only object of this kind and name."""
    (one,) = [each for each in found if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return one
