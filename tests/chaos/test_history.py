"""Tests of the history check: it accepts exactly what one copy of each journal could have shown."""

from collections.abc import Callable

import pytest

from goverse.testing import ObjectHost
from tests.chaos.history import History, Note, Told, Verdict
from tests.chaos.journal import Journal, digests_of
from tests.linearizability import Outcome

pytestmark = [pytest.mark.requirement("QUA-2")]

CALLS = 40


class Run:
    """One caller of one journal. It appends 1, 2, 3, … and reads after each."""

    def __init__(self) -> None:
        self.final = list(range(1, CALLS + 1))
        self.notes: list[Note] = []
        for length, digest in enumerate(digests_of(self.final)):
            if length:
                self.notes.append(Note(length, 10 * length, 10 * length + 1, Outcome.DONE, Told(length, digest)))
            self.notes.append(Note(None, 10 * length + 2, 10 * length + 3, Outcome.DONE, Told(length, digest)))

    def judge(self) -> Verdict:
        history = History()
        for note in self.notes:
            history.note("a", note)
        return history.judge({"a": self.final})


async def test_a_journal_tells_length_and_digest() -> None:
    async with ObjectHost(Journal) as host:
        journal = host.ref(Journal, "a")
        told = [await journal.append(entry=entry) for entry in (5, 3)]
        told.append(await journal.append_slowly(entry=8, pause_s=0))

        assert told == list(enumerate(digests_of([5, 3, 8])))[1:]
        assert await journal.look() == told[-1]
        assert await journal.read() == [5, 3, 8]
    assert digests_of([3, 5])[-1] != digests_of([5, 3])[-1]


def test_a_run_without_a_fault_is_accepted() -> None:
    verdict = Run().judge()

    assert verdict.complaints == []
    assert (verdict.journals, verdict.calls, verdict.lost, verdict.doubled) == (1, 2 * CALLS + 1, 0, 0)


def test_a_call_without_an_answer_may_have_taken_effect_or_not() -> None:
    run = Run()
    run.notes[-2] = Note(CALLS, 10 * CALLS, 10 * CALLS + 1, Outcome.UNKNOWN)
    assert run.judge().complaints == []

    run.final.pop()
    run.notes.pop()
    assert run.judge().complaints == []


def _lost(run: Run) -> None:
    run.final.remove(7)


def _doubled(run: Run) -> None:
    run.final.append(7)


def _invented(run: Run) -> None:
    run.final.append(1_000)


def _stale(run: Run) -> None:
    at = next(number for number, note in enumerate(run.notes) if note.entry == 20) + 1
    run.notes[at] = run.notes[at]._replace(told=Told(19, digests_of(run.final)[19]))


def _swapped(run: Run) -> None:
    run.final[4], run.final[5] = run.final[5], run.final[4]


def _failed_and_there(run: Run) -> None:
    run.notes[-2] = run.notes[-2]._replace(outcome=Outcome.FAILED, told=None)


@pytest.mark.parametrize(
    ("plant", "said", "lost", "doubled"),
    [
        (_lost, "is lost", 1, 0),
        (_doubled, "took effect twice", 0, 1),
        (_invented, "was never appended", 0, 0),
        (_stale, "does not see", 0, 0),
        (_swapped, "not how the log begins", 0, 0),
        (_failed_and_there, "failed and took effect", 0, 0),
    ],
    ids=["lost", "doubled", "invented", "stale", "swapped", "failed"],
)
def test_a_planted_fault_is_caught(plant: Callable[[Run], None], said: str, lost: int, doubled: int) -> None:
    run = Run()
    plant(run)

    verdict = run.judge()

    assert (verdict.lost, verdict.doubled) == (lost, doubled)
    assert any(said in complaint for complaint in verdict.complaints), verdict.complaints
