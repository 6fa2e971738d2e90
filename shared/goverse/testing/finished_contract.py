"""The tests of finished calls, as a part of the outbox contract."""

from __future__ import annotations

from collections.abc import Sequence

from goverse.model.call_retention import CallRetention
from goverse.model.effects import CallState, FinishedCall
from goverse.model.keys import ObjectKey
from goverse.ports.outbox import CallFilter, Outbox
from goverse.testing.outbox_harness import RECEIVER, SENDER, OutboxHarness, ended, keeps, pending, sent
from goverse.testing.store_harness import NOW_MS, seqs_of

_ALL = CallFilter()
_STATES: tuple[CallState, ...] = ("success", "failed", "expired", "cancelled", "dead")


class FinishedContract(OutboxHarness):
    """The tests that every store passes for finished calls."""

    async def test_a_finished_call_is_read_back_as_written(self) -> None:
        async with self.opened() as store:
            ends = [
                ended(sent(f"c_{at}", then="paid", body=b'"\xc3\xb6"'), state=state, finished_ms=NOW_MS - at)
                for at, state in enumerate(_STATES)
            ]
            ends[2] = ends[2]._replace(outcome=b"", attempts=0)
            await seqs_of(store, [keeps(*ends[:2]), keeps(*ends[2:])])
            assert await store.finished(_ALL, limit=9) == ends
            assert await pending(store) == []
            later = await self.restart(store)
            try:
                assert await later.finished(_ALL, limit=9) == ends
                assert await later.finished_call("default", "c_3") == ends[3]
            finally:
                await later.close()

    async def test_finished_calls_come_the_newest_first_in_pages(self) -> None:
        async with self.opened() as store:
            times = [5, 3, 9, 3, 7, 3, 1]
            for at, ms in enumerate(times):
                await seqs_of(store, [keeps(ended(sent(f"c_{at}"), finished_ms=NOW_MS + ms))])
            paged = await _paged(store, _ALL, limit=2)

            assert [end.finished_ms - NOW_MS for end in paged] == sorted(times, reverse=True)
            assert sorted(end.call.id for end in paged) == [f"c_{at}" for at in range(len(times))]
            assert list(await store.finished(_ALL, limit=len(times))) == paged

    async def test_a_filter_selects_finished_calls(self) -> None:
        async with self.opened() as store:
            foreign, third = ObjectKey("other", "Counter", "c1"), ObjectKey("default", "Kasse", "k")
            ends = [
                ended(sent("c_0"), finished_ms=NOW_MS + 5),
                ended(sent("c_1"), sender=foreign, state="dead", finished_ms=NOW_MS + 4),
                ended(sent("c_2", receiver=third), state="dead", finished_ms=NOW_MS + 3),
                ended(sent("c_3", receiver=SENDER), sender=third, state="failed", finished_ms=NOW_MS + 2),
            ]
            for end in ends:
                await seqs_of(store, [keeps(end)])
            cases: list[tuple[CallFilter, list[int]]] = [
                (CallFilter(namespace="default"), [0, 2, 3]),
                (CallFilter(namespace="none"), []),
                (CallFilter(type="Kasse"), [2]),
                (CallFilter(sender=foreign), [1]),
                (CallFilter(receiver=RECEIVER), [0, 1]),
                (CallFilter(states=frozenset({"dead"})), [1, 2]),
                (CallFilter(states=frozenset({"dead", "failed"}), namespace="default"), [2, 3]),
                (CallFilter(states=frozenset()), []),
                (CallFilter(finished_before_ms=NOW_MS + 4), [2, 3]),
            ]
            for where, expected in cases:
                assert await _paged(store, where, limit=1) == [ends[at] for at in expected], where
                assert await store.count_finished(where, limit=9) == len(expected), where
            assert await store.count_finished(_ALL, limit=3) == 3

    async def test_an_expired_finished_call_is_gone(self) -> None:
        async with self.opened() as store:
            short, long = ended(sent("c_1"), kept_ms=10_000), ended(sent("c_2"), kept_ms=40_000)
            await seqs_of(store, [keeps(short, long)])
            self.clock.advance(9.999)
            assert await store.finished_call("default", "c_1") == short
            self.clock.advance(0.001)
            assert await store.finished_call("default", "c_1") is None
            assert await store.finished(_ALL, limit=9) == [long]
            later = await self.restart(store)
            try:
                assert await later.finished(_ALL, limit=9) == [long]
            finally:
                await later.close()

    async def test_a_shorter_retention_applies_to_calls_that_are_kept_for_longer(self) -> None:
        self.call_retention = CallRetention(failed_s=10, expired_s=20, cancelled_s=0, dead_s=70)
        async with self.opened() as store:
            ends = {state: ended(sent(state), state=state, finished_ms=NOW_MS) for state in _STATES}
            await seqs_of(store, [keeps(*ends.values())])
            waits: list[tuple[float, set[CallState]]] = [
                (0, {"success", "failed", "expired", "dead"}),
                (9.999, {"success", "failed", "expired", "dead"}),
                (0.001, {"success", "expired", "dead"}),
                (10, {"success", "dead"}),
                (39.999, {"success", "dead"}),
                (0.001, set()),
            ]
            for seconds, living in waits:
                self.clock.advance(seconds)
                assert {end.state for end in await store.finished(_ALL, limit=9)} == living
                assert await store.count_finished(_ALL, limit=9) == len(living)
                for state, end in ends.items():
                    assert await store.finished_call("default", state) == (end if state in living else None)
            assert await store.forget_finished(_ALL, limit=9) == 0

    async def test_a_call_is_found_by_its_id_in_its_namespace(self) -> None:
        async with self.opened() as store:
            foreign = ObjectKey("other", "Counter", "c1")
            older = ended(sent("same"), finished_ms=NOW_MS)
            newer = ended(sent("same"), sender=RECEIVER, state="dead", finished_ms=NOW_MS + 1)
            elsewhere = ended(sent("same"), sender=foreign, finished_ms=NOW_MS + 2)
            for end in (newer, older, elsewhere):
                await seqs_of(store, [keeps(end)])

            assert await store.finished_call("default", "same") == newer
            assert await store.finished_call("other", "same") == elsewhere
            assert await store.finished_call("third", "same") is None
            assert await store.finished_call("default", "same", sender=SENDER) == older
            assert await store.finished_call("default", "same", sender=RECEIVER) == newer
            assert await store.finished_call("default", "same", sender=foreign) is None
            assert await store.finished_call("default", "sam") is None
            assert await store.forget_finished(CallFilter(sender=RECEIVER), limit=9) == 1
            assert await store.finished_call("default", "same") == older

    async def test_a_later_end_of_the_same_call_replaces_the_earlier_one(self) -> None:
        async with self.opened() as store:
            later = ended(state="success", finished_ms=NOW_MS + 1)
            await seqs_of(store, [keeps(ended(state="dead"))])
            await seqs_of(store, [keeps(later)])

            assert await store.finished(_ALL, limit=9) == [later]
            assert await store.finished_call("default", later.call.id) == later

    async def test_forgotten_finished_calls_are_gone_the_oldest_first(self) -> None:
        async with self.opened() as store:
            ends = [ended(sent(f"c_{at}"), state="dead", finished_ms=NOW_MS - at) for at in range(6)]
            await seqs_of(store, [keeps(*ends[:5])])
            await seqs_of(store, [keeps(ended(sent("other"), state="failed", finished_ms=NOW_MS - 99))])
            dead = CallFilter(states=frozenset({"dead"}))

            assert await store.forget_finished(dead, limit=2) == 2
            assert await store.finished(dead, limit=9) == ends[:3]
            later = await self.restart(store)
            try:
                assert await later.finished(dead, limit=9) == ends[:3]
                assert await later.forget_finished(dead, limit=9) == 3
                assert await later.forget_finished(dead, limit=9) == 0
                assert [end.call.id for end in await later.finished(_ALL, limit=9)] == ["other"]
                assert await later.finished_call("default", "c_0") is None
                await seqs_of(later, [keeps(ends[0])])
                assert await later.finished(dead, limit=9) == ends[:1]
            finally:
                await later.close()


async def _paged(store: Outbox, where: CallFilter, *, limit: int) -> Sequence[FinishedCall]:
    """Read all pages; each call must come once."""
    found, after = list[FinishedCall](), None
    while page := await store.finished(where, after=after, limit=limit):
        assert len(page) <= limit
        found += page
        after = (page[-1].finished_ms, page[-1].call.id)
        assert len(found) < 100
    return found
