"""Dashboards, alerts and runbook are consistent: known series, and a runbook entry and a test for each alert."""

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.tree import ROOT, load_module

pytestmark = pytest.mark.requirement("OBS-4")

FILES = ROOT / "helm" / "goverse" / "files"
DASHBOARDS = sorted((FILES / "dashboards").glob("*.json"))
RULES = yaml.safe_load((FILES / "rules.yaml").read_text(encoding="utf-8"))["groups"][0]["rules"]
RUNBOOK = (ROOT / "docs" / "operations" / "runbook.md").read_text(encoding="utf-8")
METRICS = (ROOT / "docs" / "guide" / "metrics.md").read_text(encoding="utf-8")
NAME = re.compile(r"\bgoverse_[a-z_]+\b")


def test_the_dashboards_are_those_of_the_script(tmp_path: Path) -> None:
    load_module(ROOT / "scripts" / "dashboards.py").main(tmp_path)
    written = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    assert len(written) == 4
    assert {path.name: path.read_text(encoding="utf-8") for path in DASHBOARDS} == written, (
        "python scripts/dashboards.py"
    )


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_reads_known_series_and_says_what_its_panels_mean(path: Path) -> None:
    for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
        assert panel["title"]
        assert panel["description"].endswith(".")
        for target in panel["targets"]:
            assert 'namespace="$namespace"' in target["expr"]
            _assert_known(target["expr"])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_reads_known_series_has_an_entry_and_a_test(rule: dict[str, str | dict[str, str]]) -> None:
    name = rule["alert"]
    annotations = rule["annotations"]
    assert isinstance(name, str)
    assert isinstance(annotations, dict)
    _assert_known(str(rule["expr"]))
    assert annotations["runbook"] == f"docs/operations/runbook.md#{name.lower()}"
    entry = RUNBOOK.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    assert "**Means**" in entry
    assert "**Callers notice**" in entry
    fired = (ROOT / "tests" / "deploy" / "rules.yaml").read_text(encoding="utf-8")
    assert f'alertname="{name}"' in fired


def test_the_runbook_has_no_entry_for_an_alert_that_is_gone() -> None:
    assert set(re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE)) == {rule["alert"] for rule in RULES}


def _assert_known(query: str) -> None:
    for name in NAME.findall(query):
        plain = re.sub(r"_(bucket|sum|count)$", "", name)
        assert f"`{name}" in METRICS or f"`{plain}" in METRICS, f"{name} is not in docs/guide/metrics.md"
