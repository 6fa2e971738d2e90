"""The files that the two maps of the code name exist."""

import re

import pytest

from tests.tree import ROOT

FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
PATH = re.compile(r"`((?:shared|node|gate|cli|tests|scripts|helm|openapi|docs)/[\w./-]+)`")


@pytest.mark.parametrize("page", ["architecture.md", "life-of-a-call.md"])
def test_the_files_that_a_map_names_exist(page: str) -> None:
    text = FENCE.sub("", (ROOT / "docs" / "design" / page).read_text(encoding="utf-8"))
    named = set(PATH.findall(text))

    assert named
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []
