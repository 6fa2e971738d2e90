"""Tests of the supply chain: SBOMs, refused licences, and an advisory service that does not answer."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.tree import ROOT

TOOLS = ROOT / os.environ.get("CHAIN_TOOLS", ".chain-tools") / "bin"
PATIENCE_S = 600


def document(folder: Path, *components: dict[str, Any]) -> Path:
    path = folder / "planted.cdx.json"
    path.write_text(json.dumps({"bomFormat": "CycloneDX", "specVersion": "1.6", "components": components}))
    return path


def package(name: str, *licences: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "library",
        "name": name,
        "version": "1.0",
        "purl": f"pkg:pypi/{name}@1.0",
        "licenses": list(licences),
    }


def licences(*files: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TOOLS / "python", ROOT / "scripts" / "licences.py", *files],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@pytest.fixture(scope="module")
def written() -> dict[str, Any]:
    """The documents of this tree, by name."""
    done = subprocess.run(
        [ROOT / "scripts" / "sbom.sh"], capture_output=True, text=True, timeout=PATIENCE_S, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return {path.name: json.loads(path.read_text()) for path in (ROOT / "dist" / "sbom").iterdir()}


@pytest.mark.deploy
@pytest.mark.requirement("SEC-7")
def test_the_documents_name_what_is_shipped_in_the_pinned_versions_and_nothing_else(written: dict[str, Any]) -> None:
    assert sorted(written) == ["goverse-client-typescript.cdx.json", "goverse-client.cdx.json", "goverse.cdx.json"]
    pinned = dict(re.findall(r"^([^#=\s]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    pins = {name.lower().replace("_", "-"): version for name, version in pinned.items()}
    named = {
        component["name"].lower().replace("_", "-"): component["version"]
        for component in written["goverse.cdx.json"]["components"]
    }
    assert {name: pins[name] for name in named} == named
    assert {"grpcio", "fastapi", "asyncpg", "pydantic-core"} <= named.keys()
    assert not {"pip", "setuptools", "pytest", "ruff", "mypy"} & named.keys()
    assert written["goverse.cdx.json"]["metadata"]["component"]["name"] == "goverse"
    assert written["goverse-client-typescript.cdx.json"].get("components", []) == []


@pytest.mark.deploy
@pytest.mark.requirement("SEC-7")
def test_the_documents_hold_nothing_that_differs_from_one_run_or_machine_to_the_next(written: dict[str, Any]) -> None:
    for name, found in written.items():
        assert "serialNumber" not in found, name
        assert "timestamp" not in found["metadata"], name
        assert str(ROOT) not in json.dumps(found), name


@pytest.mark.deploy
@pytest.mark.requirement("SEC-7")
def test_everything_that_is_shipped_has_an_accepted_licence(written: dict[str, Any]) -> None:
    assert written
    done = licences()
    assert done.returncode == 0, done.stdout
    assert "all with an accepted licence" in done.stdout


@pytest.mark.deploy
@pytest.mark.requirement("SEC-7")
@pytest.mark.parametrize(
    ("licence", "complaint"),
    [
        ({"license": {"id": "GPL-3.0-only"}}, "GPL-3.0-only, which is not accepted"),
        ({"expression": "MIT AND AGPL-3.0-or-later"}, "which is not accepted"),
        ({"expression": "MIT OR nonsense-1"}, "which is not a valid SPDX expression"),
        ({"license": {"name": "do what you like"}}, "has no SPDX licence"),
        (None, "has no SPDX licence"),
    ],
)
def test_a_planted_package_under_another_licence_is_found(
    tmp_path: Path, licence: dict[str, Any] | None, complaint: str
) -> None:
    planted = package("planted", *([licence] if licence else []))
    done = licences(document(tmp_path, package("good", {"license": {"id": "MIT"}}), planted))
    assert done.returncode == 1
    assert "planted 1.0 has" in done.stdout
    assert complaint in done.stdout


@pytest.mark.deploy
def test_a_choice_with_an_accepted_licence_is_accepted_and_an_empty_document_is_not(tmp_path: Path) -> None:
    choice = document(tmp_path, package("choice", {"expression": "GPL-2.0-only OR (MIT AND BSD-3-Clause)"}))
    assert licences(choice).returncode == 0
    assert licences(document(tmp_path)).returncode == 1


@pytest.fixture
def advisories() -> ModuleType:
    """The module `scripts/advisories.py`, which needs only pip-audit."""
    spec = importlib.util.spec_from_file_location("advisories", ROOT / "scripts" / "advisories.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def auditor(folder: Path, known: dict[str, str]) -> Path:
    """Write a fake pip-audit with known vulnerabilities, which like the real one reports nothing if it has no data."""
    path = folder / "pip-audit"
    path.write_text(
        f"#!{sys.executable}\n"
        "import json, sys\n"
        f"known = {known!r}\n"
        "lines = open(sys.argv[sys.argv.index('--requirement') + 1]).read().split()\n"
        "found = [dict(zip(('name', 'version'), line.split('=='))) for line in lines]\n"
        "for one in found:\n"
        "    one['vulns'] = [{'id': known[one['name']], 'fix_versions': ['9']}] if one['name'] in known else []\n"
        "print(json.dumps({'dependencies': found}))\n"
    )
    path.chmod(0o755)
    return path


@pytest.mark.requirement("SEC-7")
@pytest.mark.parametrize(
    ("known", "status", "said"),
    [
        ({}, 2, "could not be queried, so nothing was checked"),
        ({"jinja2": "PYSEC-1"}, 0, "1 packages without a known vulnerability"),
        ({"jinja2": "PYSEC-1", "shipped": "PYSEC-2"}, 1, "shipped 1.0: PYSEC-2, fixed in: 9"),
    ],
)
def test_a_service_without_data_is_not_mistaken_for_no_vulnerabilities(
    tmp_path: Path,
    advisories: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    known: dict[str, str],
    status: int,
    said: str,
) -> None:
    monkeypatch.setattr(advisories, "PIP_AUDIT", auditor(tmp_path, known))
    assert advisories.main([document(tmp_path, package("shipped"))]) == status
    assert said in "".join(capsys.readouterr())


def test_without_documents_or_with_packages_of_npm_nothing_counts_as_checked(
    tmp_path: Path, advisories: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert advisories.main([]) == 2
    npm = {"type": "library", "name": "left-pad", "version": "1", "purl": "pkg:npm/left-pad@1"}
    assert advisories.main([document(tmp_path, package("shipped"), npm)]) == 2
    assert "1 packages are not Python packages" in capsys.readouterr().err
