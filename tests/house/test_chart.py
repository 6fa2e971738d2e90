"""The chart's README and schema are up to date with its values."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from jsonschema.exceptions import best_match

from goverse.settings import Settings
from goverse.settings.catalog import known_settings
from tests.tree import ROOT

CHART = ROOT / "helm" / "goverse"


@pytest.mark.requirement("OPS-2")
def test_readme_and_schema_of_the_chart_equal_their_source() -> None:
    documents: Callable[[], dict[str, str]] = runpy.run_path(str(ROOT / "scripts" / "chart_reference.py"))["documents"]

    assert {name: (CHART / name).read_text(encoding="utf-8") for name in documents()} == documents()


def _complaint(config: dict[str, Any]) -> str:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    error = best_match(Draft7Validator(schema).iter_errors({"config": config}))
    return error.message if error is not None else ""


@pytest.mark.requirement("OPS-2")
def test_the_chart_takes_every_setting_and_refuses_one_that_processes_do_not_know() -> None:
    every: dict[str, dict[str, Any]] = {}
    for setting in known_settings(Settings):
        section, _, name = setting.path.partition(".")
        every.setdefault(section, {})[name] = "x"

    assert _complaint(every) == ""
    assert "'webdir' was unexpected" in _complaint({"gate": {"webdir": "/x"}})
    assert "'gates' was unexpected" in _complaint({"gates": {"web_dir": "/x"}})


def test_chart_and_distribution_are_of_one_release() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")

    assert f'\nversion = "{chart["appVersion"]}"\n' in pyproject
