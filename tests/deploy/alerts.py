"""Access to the alerts of the chart, for tests."""

import re

import yaml

from tests.tree import ROOT


def failing_statuses() -> str:
    """Return the regular expression of call statuses that GoVerseCallsFail counts as failures."""
    rules = yaml.safe_load((ROOT / "helm" / "goverse" / "files" / "rules.yaml").read_text(encoding="utf-8"))
    (rule,) = [each for each in rules["groups"][0]["rules"] if each["alert"] == "GoVerseCallsFail"]
    match = re.search(r'status=~"([^"]+)"', rule["expr"])
    assert match is not None
    return match[1]
