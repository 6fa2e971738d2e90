"""Generate k8s/ from the chart: a Kustomize base, and overlays with the differences for other values.

An overlay adds the objects that only it has, deletes those that it does not have, and replaces top-level fields that
differ. So `kubectl kustomize k8s/overlays/NAME` prints the same objects as Helm with `k8s/values/NAME.yaml`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
HOME = ROOT / "k8s"
NAMESPACE = "goverse"
OVERLAYS = ("dev", "staging", "production")
MADE = "# Generated from the chart by `make k8s`. Do not edit: change helm/goverse or k8s/values.\n"

Document = dict[str, Any]
Key = tuple[str, str]


def rendered(name: str) -> dict[Key, Document]:
    """Render the chart with k8s/values/NAME.yaml and return the objects by kind and name, without Helm's own parts."""
    helm = ROOT / os.environ.get("DEPLOY_TOOLS", ".deploy-tools") / "bin" / "helm"
    values = HOME / "values" / f"{name}.yaml"
    ran = subprocess.run(
        [helm, "template", "goverse", ROOT / "helm" / "goverse", "--namespace", NAMESPACE, "--values", values],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[Key, Document] = {}
    for document in yaml.safe_load_all(ran.stdout):
        if document and document["metadata"].get("annotations", {}).get("helm.sh/hook") is None:
            found[document["kind"], document["metadata"]["name"]] = _without_helm(document)
    return dict(sorted(found.items()))


def _without_helm(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {name: _without_helm(inner) for name, inner in value.items() if name != "helm.sh/chart"}
        if kept.get("app.kubernetes.io/managed-by") == "Helm":
            kept["app.kubernetes.io/managed-by"] = "kustomize"
        return kept
    return [_without_helm(inner) for inner in value] if isinstance(value, list) else value


def patch(base: Document, wanted: Document) -> list[Document]:
    """Return the JSON patch that turns ``base`` into ``wanted``."""
    steps: list[Document] = []
    for name in sorted(base.keys() | wanted.keys()):
        if base.get(name) != wanted.get(name):
            step = "remove" if name not in wanted else "replace" if name in base else "add"
            steps.append({"op": step, "path": f"/{name}"} | ({"value": wanted[name]} if name in wanted else {}))
    return steps


def overlay(base: dict[Key, Document], wanted: dict[Key, Document]) -> dict[str, str]:
    """Return the files of an overlay. Patches are JSON, because Kustomize drops the last newline of a YAML patch."""
    patches: list[Document] = []
    for (kind, name), document in base.items():
        target = {"group": document["apiVersion"].rpartition("/")[0], "kind": kind, "name": name}
        target = {field: value for field, value in target.items() if value}
        if (kind, name) not in wanted:
            gone = {"apiVersion": document["apiVersion"], "kind": kind, "metadata": {"name": name}, "$patch": "delete"}
            patches.append({"target": target, "patch": _dump(gone)})
        elif steps := patch(document, wanted[kind, name]):
            patches.append({"target": target, "patch": json.dumps(steps, indent=1)})
    files: dict[str, str] = {}
    resources = ["../../base"]
    added = [document for key, document in wanted.items() if key not in base]
    if added:
        resources.append("added.yaml")
        files["added.yaml"] = MADE + yaml.safe_dump_all(added, sort_keys=False, width=1_000)
    files["kustomization.yaml"] = MADE + _dump(_kustomization(resources) | ({"patches": patches} if patches else {}))
    return files


def files() -> dict[str, str]:
    """Return every generated file of k8s/ by its path."""
    base = rendered("base")
    made = {"base/kustomization.yaml": MADE + _dump(_kustomization(["objects.yaml"]) | {"namespace": NAMESPACE})}
    made["base/objects.yaml"] = MADE + yaml.safe_dump_all(list(base.values()), sort_keys=False, width=1_000)
    for name in OVERLAYS:
        for file, content in overlay(base, rendered(name)).items():
            made[f"overlays/{name}/{file}"] = content
    return made


def _kustomization(resources: list[str]) -> Document:
    return {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": resources}


class _Dumper(yaml.SafeDumper):
    """YAML dumper that writes multi-line strings as block scalars."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def _dump(value: Any) -> str:
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=1_000)


if __name__ == "__main__":
    for folder in ("base", "overlays"):
        shutil.rmtree(HOME / folder, ignore_errors=True)
    for path, content in files().items():
        (HOME / path).parent.mkdir(parents=True, exist_ok=True)
        (HOME / path).write_text(content, encoding="utf-8")
