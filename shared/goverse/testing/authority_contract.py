"""Tests of the rules in ``goverse.ports.authority``, for any store that implements an authority.

Use it like :class:`goverse.testing.store_contract.StoreContract`: subclass it and implement ``make_authority``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from goverse.errors import Unavailable
from goverse.model.records import CommitRecord, StoredReply
from goverse.ports.authority import Authority, Holding
from goverse.ports.store import CommitOutcome, Conflict, Store
from goverse.testing.store_harness import KEY, OTHER, keep, load, put, recall

REPLY = StoredReply(b"fingerprint", b"2", 2**50)


class AuthorityStore(Store, Authority, Protocol):
    """A store that is also the authority, because the epoch has to be checked inside the commit."""


class AuthorityContract:
    """The tests that every authority passes; subclasses implement ``make_authority``."""

    def make_authority(self) -> AuthorityStore:
        """Return a store that is not open yet, with the data of the previous store of the same test, if any."""
        raise NotImplementedError

    async def test_the_first_claim_begins_above_zero(self) -> None:
        store = await self._opened()
        epochs = await store.claim([1, 2, 3], "a")
        assert set(epochs) == {1, 2, 3}
        assert min(epochs.values()) > 0
        assert await store.holdings() == {shard: Holding("a", epoch) for shard, epoch in epochs.items()}
        await store.close()

    async def test_a_claim_raises_the_epoch_even_for_the_same_owner(self) -> None:
        store = await self._opened()
        first = await store.claim([7], "a")
        second = await store.claim([7], "b")
        third = await store.claim([7], "b")
        assert first[7] < second[7] < third[7]
        assert (await store.holdings())[7] == Holding("b", third[7])
        await store.close()

    async def test_a_claim_of_no_shards_succeeds(self) -> None:
        store = await self._opened()
        assert await store.claim([], "a") == {}
        await store.close()

    async def test_a_record_of_the_newest_epoch_is_committed(self) -> None:
        store = await self._opened()
        epoch = (await store.claim([7], "a"))[7]
        (outcome,) = await store.commit([_under(put(KEY, 0), 7, epoch)])
        assert isinstance(outcome, int)
        await store.close()

    async def test_a_record_of_an_older_epoch_fails_alone_and_leaves_nothing(self) -> None:
        store = await self._opened()
        old = (await store.claim([7], "a"))[7]
        await store.claim([7], "b")
        new = (await store.claim([7], "a"))[7]
        fenced, good, kept = await store.commit(
            [_under(put(KEY, 0), 7, old), _under(put(OTHER, 0), 7, new), _under(keep(OTHER, 1, "k", REPLY), 7, old)]
        )
        assert _is_fenced(fenced)
        assert isinstance(good, int)
        assert _is_fenced(kept)
        assert await load(store, KEY) is None
        assert await recall(store, OTHER, "k") is None
        await store.close()

    async def test_a_record_of_an_epoch_that_was_never_given_is_fenced(self) -> None:
        store = await self._opened()
        (unclaimed,) = await store.commit([_under(put(KEY, 0), 9, 1)])
        epoch = (await store.claim([9], "a"))[9]
        (ahead,) = await store.commit([_under(put(KEY, 0), 9, epoch + 1)])
        assert _is_fenced(unclaimed)
        assert _is_fenced(ahead)
        await store.close()

    async def test_a_record_without_an_epoch_is_not_fenced(self) -> None:
        store = await self._opened()
        await store.claim([0, 7], "a")
        (outcome,) = await store.commit([put(KEY, 0)])
        assert isinstance(outcome, int)
        await store.close()

    async def test_a_check_returns_the_newest_position_and_uses_none(self) -> None:
        store = await self._opened()
        epoch = (await store.claim([7], "a"))[7]
        check = CommitRecord(KEY, 0, 0, None, 1, 0, shard=7, epoch=epoch)
        first, newest = await store.commit([_under(put(KEY, 0), 7, epoch), check])
        assert isinstance(first, int)
        assert isinstance(newest, int)
        assert newest >= first
        (again,) = await store.commit([check])
        assert again == newest == store.health().commit_seq
        await store.close()

    async def test_a_check_of_an_older_epoch_is_fenced(self) -> None:
        store = await self._opened()
        old = (await store.claim([7], "a"))[7]
        await store.claim([7], "b")
        (outcome,) = await store.commit([CommitRecord(KEY, 0, 0, None, 1, 0, shard=7, epoch=old)])
        assert _is_fenced(outcome)
        await store.close()

    async def test_a_check_ignores_the_version(self) -> None:
        store = await self._opened()
        epoch = (await store.claim([7], "a"))[7]
        (outcome,) = await store.commit([CommitRecord(KEY, 5, 5, None, 1, 0, shard=7, epoch=epoch)])
        assert isinstance(outcome, int)
        await store.close()

    async def test_a_closed_store_refuses_claims(self) -> None:
        store = await self._opened()
        await store.close()
        try:
            await store.claim([1], "a")
        except Unavailable:
            return
        raise AssertionError("a closed store raised an epoch")

    async def _opened(self) -> AuthorityStore:
        store = self.make_authority()
        await store.open()
        return store


def _under(record: CommitRecord, shard: int, epoch: int) -> CommitRecord:
    return replace(record, shard=shard, epoch=epoch)


def _is_fenced(outcome: CommitOutcome) -> bool:
    return isinstance(outcome, Conflict) and outcome.fenced
