"""What is written from the values of the chart is what would be written today."""

from __future__ import annotations

import runpy
from collections.abc import Callable

import pytest
import yaml

from tests.tree import ROOT

CHART = ROOT / "helm" / "goverse"


@pytest.mark.requirement("OPS-2")
def test_readme_and_schema_of_the_chart_equal_their_source() -> None:
    documents: Callable[[], dict[str, str]] = runpy.run_path(str(ROOT / "scripts" / "chart_reference.py"))["documents"]

    assert {name: (CHART / name).read_text(encoding="utf-8") for name in documents()} == documents()


def test_chart_and_distribution_are_of_one_release() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")

    assert f'\nversion = "{chart["appVersion"]}"\n' in pyproject
