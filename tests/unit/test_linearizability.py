"""The checker catches what it is there to catch."""

import pytest

from tests.linearizability import Observation, Outcome, complaints

DONE, FAILED, UNKNOWN = Outcome.DONE, Outcome.FAILED, Outcome.UNKNOWN


def wrote(entry: int, called: int, returned: int, *seen: int) -> Observation:
    return Observation(entry, called, returned, DONE, (*seen, entry))


def read(called: int, returned: int, *seen: int) -> Observation:
    return Observation(None, called, returned, DONE, seen)


def test_histories_that_one_copy_could_have_shown_are_accepted() -> None:
    assert complaints([], []) == []
    assert complaints([wrote(1, 0, 1), read(2, 3, 1), wrote(2, 4, 5, 1)], [1, 2]) == []
    concurrent = [wrote(1, 0, 9), wrote(2, 0, 9, 1), read(0, 9), read(0, 9, 1, 2)]
    assert complaints(concurrent, [1, 2]) == []
    assert complaints([Observation(1, 0, 1, UNKNOWN), read(2, 3)], [1]) == []
    assert complaints([Observation(1, 0, 1, UNKNOWN), read(2, 3)], []) == []
    assert complaints([Observation(1, 0, 1, FAILED), read(2, 3)], []) == []
    assert complaints([wrote(1, 0, 1), Observation(2, 2, 3, FAILED, (1,))], [1]) == []
    assert complaints([wrote(1, 0, 1), Observation(2, 2, 3, UNKNOWN, (1,))], [1]) == []


@pytest.mark.parametrize(
    ("history", "final", "said"),
    [
        ([wrote(1, 0, 1)], [1, 1], "twice"),
        ([wrote(1, 0, 1)], [], "lost"),
        ([Observation(1, 0, 1, FAILED)], [1], "failed and took effect"),
        ([wrote(1, 0, 1), wrote(2, 2, 3)], [1, 2], "not how the log begins"),
        ([read(0, 1, 7)], [1], "not how the log begins"),
        ([Observation(1, 0, 1, DONE, (1, 2))], [1, 2], "own entry last"),
        ([wrote(1, 0, 1), read(2, 3)], [1], "does not see"),
        ([read(0, 1, 1), read(2, 3), Observation(1, 0, 9, UNKNOWN)], [1], "does not see"),
        ([wrote(1, 2, 3), read(0, 1, 1)], [1], "does not see"),
        ([read(0, 1, 1), wrote(1, 2, 3)], [1], "does not see"),
        ([read(0, 1, 2, 1), Observation(2, 5, 6, UNKNOWN), wrote(1, 0, 9, 2)], [2, 1], "does not see"),
        ([wrote(1, 0, 1), Observation(2, 2, 3, FAILED, ())], [1], "does not see"),
    ],
    ids=["twice", "lost", "failed", "fork", "invented", "order", "stale", "stale", "early", "early", "early", "stale"],
)
def test_a_planted_violation_is_caught(history: list[Observation], final: list[int], said: str) -> None:
    found = complaints(history, final)
    assert found
    assert any(said in each for each in found)
