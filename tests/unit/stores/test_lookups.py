"""Questions that go to the database in company: as one query, and again when it was away."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence
from weakref import ref

import pytest

from goverse.errors import StoreError, Unavailable
from goverse_node.stores.postgres.lookups import Lookups
from tests.nodes import until

pytestmark = pytest.mark.requirement("DUR-5")


class Database:
    """Answers with the question's length, unless something else was planned.

    Attributes:
        asked: every query, in order.
        troubles: what the next queries raise.
    """

    def __init__(self, *troubles: Exception) -> None:
        self.asked: list[list[str]] = []
        self.troubles = list(troubles)

    async def ask(self, questions: Sequence[str]) -> Sequence[int]:
        self.asked.append(list(questions))
        await asyncio.sleep(0)
        if self.troubles:
            raise self.troubles.pop(0)
        return [len(question) for question in questions]


async def test_what_is_asked_in_one_turn_is_one_query_and_equal_questions_are_one() -> None:
    database = Database()
    lookups = Lookups(database.ask)

    assert [await answer for answer in (lookups("a"), lookups("bb"), lookups("a"))] == [1, 2, 1]
    assert database.asked == [["a", "bb"]]


async def test_a_database_that_is_away_is_asked_again_for_all_that_wait_by_then() -> None:
    database = Database(Unavailable("restarts"), Unavailable("restarts"))
    lookups = Lookups(database.ask)
    first = lookups("a")
    await until(lambda: not database.troubles)
    given_up, second, equal = lookups("ccc"), lookups("bb"), lookups("a")
    given_up.cancel()

    assert [await answer for answer in (first, second, equal)] == [1, 2, 1]
    assert sorted(database.asked[-1]) == ["a", "bb"]
    assert await lookups("dddd") == 4


async def test_a_question_that_nobody_waits_for_is_not_asked_again() -> None:
    database = Database(Unavailable("restarts"))
    lookups = Lookups(database.ask)
    nobodys = lookups("a")
    await until(lambda: bool(database.asked))
    nobodys.cancel()

    assert await lookups("bb") == 2
    assert database.asked == [["a"], ["bb"]]


async def test_calls_that_ended_leave_nothing_behind_in_a_question_that_is_asked_again() -> None:
    database = Database(*[Unavailable("restarts")] * 4)
    lookups = Lookups(database.ask)
    waiting, ended = lookups("a"), lookups("a")
    ended.cancel()
    gone = ref(ended)
    del ended
    await until(lambda: len(database.asked) > 1)
    gc.collect()
    assert gone() is None
    assert await waiting == 1


async def test_patience_ends_and_what_time_does_not_heal_is_told_at_once() -> None:
    with pytest.raises(Unavailable):
        await Lookups(Database(Unavailable("is away")).ask, patience_s=0)("a")
    with pytest.raises(StoreError):
        await Lookups(Database(StoreError("has no such table")).ask)("a")


async def test_stopping_lets_go_of_all_who_wait() -> None:
    lookups = Lookups(Database(Unavailable("restarts")).ask)
    waiting = lookups("a")
    await asyncio.sleep(0.01)

    await lookups.stop()

    with pytest.raises(asyncio.CancelledError):
        await waiting
