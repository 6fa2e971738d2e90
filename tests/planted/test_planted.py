"""Every planted bug is found by the test of its entry, and the test passes without the bug."""

import pytest

from tests.planted import Planted, planted_bugs
from tests.planted.trial import Run, Verdict, judge, try_bugs

BUGS = planted_bugs()
PASSED = Run(None, "", 0.1)


@pytest.fixture(scope="module")
def verdicts() -> dict[str, Verdict]:
    return try_bugs(list(BUGS.values()))


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_found(name: str, verdicts: dict[str, Verdict]) -> None:
    assert verdicts[name].fault is None, verdicts[name].fault


@pytest.mark.parametrize(
    ("plain", "planted", "fault"),
    [
        (PASSED, Run("AssertionError: 2 == 1", "call", 0.1), None),
        (PASSED, PASSED, "passes with the bug"),
        (PASSED, Run("AssertionError: 2 == 1", "setup", 0.1), "failed in setup"),
        (PASSED, Run("AttributeError: no such name", "call", 0.1), "without saying"),
        (Run("AssertionError: 2 == 1", "call", 0.1), Run("AssertionError: 2 == 1", "call", 0.1), "without the bug"),
    ],
)
def test_an_entry_counts_only_if_its_test_fails_because_of_the_bug(plain: Run, planted: Run, fault: str | None) -> None:
    judged = judge(Planted("a-bug", lambda _: None, "tests/test_it.py::test_it", "2 == 1"), plain, planted)
    assert judged is None if fault is None else fault in (judged or "")
