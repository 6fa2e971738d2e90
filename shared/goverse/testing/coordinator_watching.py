"""The tests of the coordinator contract for watches."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from goverse.ports.coordinator import Changed, Delete, Deleted, KeyEntry, Put, Reloaded, Snapshot
from goverse.testing.coordinator_harness import TTL_S, CoordinatorHarness, Follower, next_of, put


class WatchingContract(CoordinatorHarness):
    """The tests that every coordinator passes for watches."""

    async def test_a_watch_yields_every_change_in_order(self) -> None:
        async with self.opened() as (coordinator, prefix):
            start = (await coordinator.read(prefix)).revision
            async with aclosing(coordinator.watch(prefix, start)) as watch:
                first = await put(coordinator, f"{prefix}a", b"1")
                assert await next_of(watch) == Changed(first, [KeyEntry(f"{prefix}a", b"1", first, first)])
                second = await put(coordinator, f"{prefix}a", b"2")
                assert await next_of(watch) == Changed(second, [KeyEntry(f"{prefix}a", b"2", first, second)])
                third = await coordinator.write([], [Delete(f"{prefix}a")])
                assert third is not None
                assert await next_of(watch) == Changed(third, [Deleted(f"{prefix}a", third)])

    async def test_a_watch_begins_after_the_given_revision(self) -> None:
        async with self.opened() as (coordinator, prefix):
            revisions = [await put(coordinator, f"{prefix}{n}", b"%d" % n) for n in range(5)]
            follower = Follower(Snapshot(revisions[1], []))
            async with follower.following(coordinator.watch(prefix, revisions[1])):
                await self._caught_up(follower, revisions[-1])

            assert follower.log == [(f"{prefix}{n}", b"%d" % n, revisions[n]) for n in (2, 3, 4)]

    async def test_the_changes_of_one_write_arrive_together(self) -> None:
        async with self.opened() as (coordinator, prefix):
            start = await put(coordinator, f"{prefix}gone", b"")
            async with aclosing(coordinator.watch(prefix, start)) as watch:
                changes = [Put(f"{prefix}{n}", b"x") for n in range(20)]
                revision = await coordinator.write([], [*changes, Delete(f"{prefix}gone")])
                assert revision is not None
                news = await next_of(watch)

            assert isinstance(news, Changed)
            assert news.revision == revision
            assert sorted(change.key for change in news.changes) == sorted(
                [*(change.key for change in changes), f"{prefix}gone"]
            )

    async def test_a_watch_ignores_other_keys_and_writes_without_effect(self) -> None:
        async with self.opened() as (coordinator, prefix):
            start = (await coordinator.read("")).revision
            async with aclosing(coordinator.watch(f"{prefix}in/", start)) as watch:
                await put(coordinator, f"{prefix}in0", b"")  # sorts directly after the prefix
                await put(coordinator, f"{prefix}in", b"")
                await coordinator.write([], [Delete(f"{prefix}in/absent")])
                last = await put(coordinator, f"{prefix}in/x", b"")

                assert await next_of(watch) == Changed(last, [KeyEntry(f"{prefix}in/x", b"", last, last)])

    async def test_a_watch_of_everything_sees_every_key(self) -> None:
        async with self.opened() as (coordinator, prefix):
            start = (await coordinator.read("")).revision
            async with aclosing(coordinator.watch("", start)) as watch:
                last = await put(coordinator, f"{prefix}x", b"")

                assert await next_of(watch) == Changed(last, [KeyEntry(f"{prefix}x", b"", last, last)])

    async def test_a_watch_yields_keys_that_were_deleted_with_their_lease(self) -> None:
        async with self.opened() as (coordinator, prefix):
            lease = await coordinator.grant(TTL_S)
            await put(coordinator, f"{prefix}a", b"", lease_id=lease.lease_id)
            start = await put(coordinator, f"{prefix}b", b"", lease_id=lease.lease_id)
            follower = Follower(await coordinator.read(prefix))
            async with follower.following(coordinator.watch(prefix, start)):
                await self.eventually(lambda: not follower.state)

            assert sorted((key, value) for key, value, _ in follower.log) == [
                (f"{prefix}a", None),
                (f"{prefix}b", None),
            ]

    async def test_a_watch_after_a_compaction_reloads_and_continues(self) -> None:
        async with self.opened() as (coordinator, prefix):
            start = await put(coordinator, f"{prefix}lost", b"")
            await coordinator.write([], [Delete(f"{prefix}lost")])
            kept = await put(coordinator, f"{prefix}kept", b"1")
            await self.compact()
            async with aclosing(coordinator.watch(prefix, start - 1)) as watch:
                news = await next_of(watch)
                assert isinstance(news, Reloaded)
                assert news.snapshot.revision >= kept
                assert list(news.snapshot.entries) == [KeyEntry(f"{prefix}kept", b"1", kept, kept)]
                later = await put(coordinator, f"{prefix}later", b"2")

                assert await next_of(watch) == Changed(later, [KeyEntry(f"{prefix}later", b"2", later, later)])

    async def test_a_compaction_does_not_affect_a_watch_that_is_up_to_date(self) -> None:
        async with self.opened() as (coordinator, prefix):
            start = await put(coordinator, f"{prefix}x", b"")
            follower = Follower(await coordinator.read(prefix))
            async with follower.following(coordinator.watch(prefix, start)):
                await self._caught_up(follower, await put(coordinator, f"{prefix}x", b"1"))
                await self.compact()
                await self._caught_up(follower, await put(coordinator, f"{prefix}x", b"2"))

            assert follower.reloads == 0
            assert [value for _, value, _ in follower.log] == [b"1", b"2"]

    async def test_many_watches_each_see_every_change_once_and_in_order(self) -> None:
        async with self.opened() as (coordinator, prefix):
            snapshot = await coordinator.read(prefix)
            followers = [Follower(snapshot) for _ in range(3)]
            async with (
                followers[0].following(coordinator.watch(prefix, snapshot.revision)),
                followers[1].following(coordinator.watch(prefix, snapshot.revision)),
                followers[2].following(coordinator.watch(prefix, snapshot.revision)),
            ):
                writes = [put(coordinator, f"{prefix}{n % 7}", b"%d" % n) for n in range(200)]
                revisions = sorted(await asyncio.gather(*writes))
                for follower in followers:
                    await self._caught_up(follower, revisions[-1])

            assert all([revision for *_, revision in follower.log] == revisions for follower in followers)

    async def test_a_watch_ends_when_its_client_is_closed(self) -> None:
        async with self.opened() as (coordinator, prefix):
            start = (await coordinator.read(prefix)).revision
            follower = Follower(await coordinator.read(prefix))
            async with follower.following(coordinator.watch(prefix, start)) as following:
                await self._caught_up(following, await put(coordinator, f"{prefix}x", b""))
                await coordinator.close()
                await self.eventually(lambda: following.ended)

    async def _caught_up(self, follower: Follower, revision: int) -> None:
        await self.eventually(lambda: follower.revision >= revision)
