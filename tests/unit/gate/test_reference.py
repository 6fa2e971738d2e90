"""The HTTP reference matches the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from goverse_gate.openapi.answers import DETAILS, RETRYABLE
from goverse_gate.problems import STATUS
from tests.tree import ROOT

PAGE = Path(ROOT) / "docs" / "guide" / "http.md"
ROW = re.compile(r"^\| (\d{3}) \| `(\w+)` \| (yes|no) \| (.+) \|$", re.MULTILINE)


@pytest.mark.requirement("GATE-1")
def test_the_table_of_errors_is_the_one_of_the_gate() -> None:
    documented = {
        code: (int(status), retry, text) for status, code, retry, text in ROW.findall(PAGE.read_text("utf-8"))
    }
    assert documented == {
        code: (status, "yes" if code in RETRYABLE else "no", DETAILS[code]) for code, status in STATUS.items()
    }
