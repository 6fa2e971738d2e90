"""Requirements and tests stay in step, in both directions."""

import re
from functools import cache
from pathlib import Path

import pytest

from tests.requirement_marks import Mark, UnreadableMark, marks_in
from tests.requirements import DELIVERED, KNOWN_GAPS
from tests.tree import ROOT, python_files

SAMPLE = """
import pytest

pytestmark = [pytest.mark.chaos, pytest.mark.requirement("MOD-1")]

@pytest.mark.requirement("FUN-1", "FUN-2")
async def test_function(): ...

@pytest.mark.requirement("NOT-1")
def fixture(): ...

@pytest.mark.requirement("CLS-1")
class TestClass:
    pytestmark = pytest.mark.requirement("CLS-2")

    def test_method(self): ...

TestProgram = Machine.TestCase

@pytest.mark.requirement("SUI-1")
class TestSuite(Contract): ...
"""


def _sample(folder: Path, text: str) -> Path:
    path = folder / "test_sample.py"
    path.write_text(text, encoding="utf-8")
    return path


@cache
def _carried() -> list[Mark]:
    tests = [path for path in python_files("tests", "sample-app") if path.name.startswith("test_")]
    return marks_in(path.relative_to(ROOT) for path in tests)


def test_marks_are_read_where_pytest_would_honour_them(tmp_path: Path) -> None:
    marks = marks_in([_sample(tmp_path, SAMPLE)])

    by_test: dict[str, set[str]] = {}
    for mark in marks:
        by_test.setdefault(mark.place.rpartition("::")[2], set()).add(mark.requirement)
    assert by_test == {
        "test_function": {"MOD-1", "FUN-1", "FUN-2"},
        "test_method": {"MOD-1", "CLS-1", "CLS-2"},
        "TestProgram": {"MOD-1"},
        "TestSuite": {"MOD-1", "SUI-1"},
    }


@pytest.mark.parametrize("arguments", ["", "name", '"A-1", name', 'id="A-1"'])
def test_a_mark_that_cannot_be_read_is_an_error(tmp_path: Path, arguments: str) -> None:
    path = _sample(tmp_path, f"@pytest.mark.requirement({arguments})\ndef test_it(): ...\n")

    with pytest.raises(UnreadableMark):
        marks_in([path])


@pytest.mark.parametrize("requirement", sorted(DELIVERED))
def test_a_delivered_requirement_has_a_test(requirement: str) -> None:
    assert any(mark.requirement == requirement for mark in _carried()), (
        f"{requirement} is delivered, but no test carries it: {DELIVERED[requirement]}"
    )


def test_every_carried_id_is_delivered() -> None:
    unknown = [mark for mark in _carried() if mark.requirement not in DELIVERED]

    assert unknown == []


def test_a_known_gap_belongs_to_a_delivered_requirement() -> None:
    assert set(KNOWN_GAPS) <= set(DELIVERED)


def test_entries_are_one_full_sentence_each() -> None:
    for id_, sentence in [*DELIVERED.items(), *KNOWN_GAPS.items()]:
        assert re.fullmatch(r"[A-Z]{3,4}-[1-9][0-9]?", id_)
        assert sentence.endswith(".")
        assert "\n" not in sentence
