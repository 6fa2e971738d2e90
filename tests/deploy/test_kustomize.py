"""Tests that k8s/ matches the chart: the committed files, and the output of kubectl kustomize."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import yaml

from tests.deploy.rendering import run
from tests.tree import ROOT, load_module

pytestmark = [pytest.mark.deploy, pytest.mark.requirement("OPS-3")]

HOME = ROOT / "k8s"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The script that generates k8s/."""
    return load_module(ROOT / "scripts" / "kustomize.py")


def test_the_written_files_are_what_would_be_written_today(script: ModuleType) -> None:
    written = {
        path.relative_to(HOME).as_posix(): path.read_text(encoding="utf-8")
        for folder in ("base", "overlays")
        for path in (HOME / folder).rglob("*")
        if path.is_file()
    }

    assert written == script.files()


@pytest.mark.parametrize("name", ["base", "dev", "staging", "production"])
def test_kustomize_gives_what_helm_gives(name: str, script: ModuleType) -> None:
    ran = run("kubectl", "kustomize", HOME / ("base" if name == "base" else f"overlays/{name}"))
    assert ran.returncode == 0, ran.stderr
    found: dict[tuple[str, str], dict[str, Any]] = {
        (document["kind"], document["metadata"]["name"]): document for document in yaml.safe_load_all(ran.stdout)
    }

    assert found == script.rendered(name)


@pytest.mark.parametrize("version", ["1.30.0", "1.33.0", "1.37.0"])
@pytest.mark.parametrize("name", ["dev", "staging", "production"])
def test_kubernetes_would_take_what_kustomize_gives(name: str, version: str, tmp_path: Any) -> None:
    file = tmp_path / "built.yaml"
    file.write_text(run("kubectl", "kustomize", HOME / "overlays" / name).stdout, encoding="utf-8")
    ran = run("kubernetes-validate", "--strict", "--quiet", "-k", version, file)

    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_no_password_is_in_the_manifests() -> None:
    kinds = [
        document["kind"]
        for path in (HOME / "base" / "objects.yaml", *(HOME / "overlays").rglob("added.yaml"))
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    ]

    assert "StatefulSet" in kinds
    assert "Secret" not in kinds
