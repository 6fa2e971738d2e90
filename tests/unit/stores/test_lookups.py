"""Batched lookups: one query per turn of the event loop, and retries while the database is unavailable."""

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
    """Returns the length of each key, unless an error is planned.

    Attributes:
        batches: the keys of every query, in order.
        errors: errors that the next queries raise.
    """

    def __init__(self, *errors: Exception) -> None:
        self.batches: list[list[str]] = []
        self.errors = list(errors)

    async def fetch(self, keys: Sequence[str]) -> Sequence[int]:
        self.batches.append(list(keys))
        await asyncio.sleep(0)
        if self.errors:
            raise self.errors.pop(0)
        return [len(key) for key in keys]


async def test_keys_of_one_turn_go_out_as_one_query_and_equal_keys_once() -> None:
    database = Database()
    lookups = Lookups(database.fetch)

    assert [await value for value in (lookups("a"), lookups("bb"), lookups("a"))] == [1, 2, 1]
    assert database.batches == [["a", "bb"]]


async def test_a_retry_includes_all_keys_that_are_waiting_by_then() -> None:
    database = Database(Unavailable("restarts"), Unavailable("restarts"))
    lookups = Lookups(database.fetch)
    first = lookups("a")
    await until(lambda: not database.errors)
    given_up, second, equal = lookups("ccc"), lookups("bb"), lookups("a")
    given_up.cancel()

    assert [await value for value in (first, second, equal)] == [1, 2, 1]
    assert sorted(database.batches[-1]) == ["a", "bb"]
    assert await lookups("dddd") == 4


async def test_a_key_without_waiters_is_not_retried() -> None:
    database = Database(Unavailable("restarts"))
    lookups = Lookups(database.fetch)
    abandoned = lookups("a")
    await until(lambda: bool(database.batches))
    abandoned.cancel()

    assert await lookups("bb") == 2
    assert database.batches == [["a"], ["bb"]]


async def test_a_retry_keeps_no_reference_to_calls_that_have_ended() -> None:
    database = Database(*[Unavailable("restarts")] * 4)
    lookups = Lookups(database.fetch)
    waiting, ended = lookups("a"), lookups("a")
    ended.cancel()
    gone = ref(ended)
    del ended
    await until(lambda: len(database.batches) > 1)
    gc.collect()
    assert gone() is None
    assert await waiting == 1


async def test_a_lookup_times_out_and_permanent_errors_are_not_retried() -> None:
    with pytest.raises(Unavailable):
        await Lookups(Database(Unavailable("restarts")).fetch, timeout_s=0)("a")
    with pytest.raises(StoreError):
        await Lookups(Database(StoreError("table not found")).fetch)("a")


async def test_stopping_cancels_all_waiting_lookups() -> None:
    lookups = Lookups(Database(Unavailable("restarts")).fetch)
    waiting = lookups("a")
    await asyncio.sleep(0.01)

    await lookups.stop()

    with pytest.raises(asyncio.CancelledError):
        await waiting
