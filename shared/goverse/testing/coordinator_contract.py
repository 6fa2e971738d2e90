"""The rules of ``goverse.ports.coordinator`` as tests that every coordinator passes.

Subclass :class:`CoordinatorContract` in a test file, say how a client is made and history forgotten, and let an
asyncio-aware test runner collect it:

>>> class TestMyCoordinator(CoordinatorContract):
...     async def make_coordinator(self) -> Coordinator:
...         return MyCoordinator(self.address)

The suite needs no test framework of its own: it asserts. A server may be shared, each test has keys of its own.
"""

from __future__ import annotations

import asyncio

from goverse import limits
from goverse.errors import CoordinatorError, Unavailable
from goverse.ports.coordinator import Coordinator, Delete, Guard, KeyEntry, Put
from goverse.testing.coordinator_place import TTL_S, put
from goverse.testing.coordinator_watching import WatchingContract


class CoordinatorContract(WatchingContract):
    """What every coordinator does; subclasses say how one is made."""

    async def test_nothing_is_read_where_nothing_is(self) -> None:
        async with self.opened() as (coordinator, prefix):
            snapshot = await coordinator.read(prefix)

            assert list(snapshot.entries) == []
            assert snapshot.revision > 0

    async def test_keys_below_a_prefix_are_read_in_order_with_their_revisions(self) -> None:
        async with self.opened() as (coordinator, prefix):
            names = [f"{prefix}b", f"{prefix}a/1", f"{prefix}ä\U0001f600", f"{prefix}a", f"{prefix}\x00\x7f"]
            revisions = {name: await put(coordinator, name, name.encode() * 2) for name in names}
            await put(coordinator, f"{prefix[:-1]}0", b"the first name behind the prefix")
            snapshot = await coordinator.read(prefix)

            assert [entry.key for entry in snapshot.entries] == sorted(names, key=str.encode)
            for entry in snapshot.entries:
                assert entry == KeyEntry(entry.key, entry.key.encode() * 2, revisions[entry.key], revisions[entry.key])
            assert snapshot.revision >= max(revisions.values())

    async def test_every_write_has_a_larger_revision_and_a_key_knows_the_one_that_created_it(self) -> None:
        async with self.opened() as (coordinator, prefix):
            first = await put(coordinator, f"{prefix}x", b"1")
            second = await put(coordinator, f"{prefix}x", b"")
            assert second > first
            assert await self._entry(coordinator, f"{prefix}x") == KeyEntry(f"{prefix}x", b"", first, second)
            await coordinator.write([], [Delete(f"{prefix}x")])
            assert await self._entry(coordinator, f"{prefix}x") is None
            third = await put(coordinator, f"{prefix}x", b"3")

            assert await self._entry(coordinator, f"{prefix}x") == KeyEntry(f"{prefix}x", b"3", third, third)

    async def test_a_write_is_made_only_where_every_guard_holds(self) -> None:
        async with self.opened() as (coordinator, prefix):
            x, y = f"{prefix}x", f"{prefix}y"
            created = await put(coordinator, x, b"1")
            written = await put(coordinator, x, b"2")
            for guards in (
                [Guard(x, create_revision=0)],
                [Guard(x, mod_revision=0)],
                [Guard(x, mod_revision=created)],
                [Guard(x, create_revision=written)],
                [Guard(x, create_revision=created, mod_revision=created)],
                [Guard(x, mod_revision=written), Guard(y, mod_revision=written)],
            ):
                assert await coordinator.write(guards, [Put(x, b"3"), Put(y, b"3")]) is None
            assert [entry.value for entry in (await coordinator.read(prefix)).entries] == [b"2"]
            holds = [Guard(x, create_revision=created, mod_revision=written), Guard(y, create_revision=0), Guard(y)]

            revision = await coordinator.write(holds, [Put(x, b"3"), Put(y, b"4")])
            assert revision is not None
            assert list((await coordinator.read(prefix)).entries) == [
                KeyEntry(x, b"3", created, revision),
                KeyEntry(y, b"4", revision, revision),
            ]

    async def test_a_write_that_changes_nothing_tells_whether_its_guards_hold(self) -> None:
        async with self.opened() as (coordinator, prefix):
            revision = await put(coordinator, f"{prefix}x", b"")

            assert await coordinator.write([Guard(f"{prefix}x", mod_revision=revision)], []) is not None
            assert await coordinator.write([Guard(f"{prefix}x", mod_revision=0)], []) is None
            assert await coordinator.write([], [Delete(f"{prefix}absent")]) is not None

    async def test_of_many_who_create_a_key_one_does(self) -> None:
        async with self.opened() as (coordinator, prefix):
            other = await self.make_coordinator()
            guard = Guard(f"{prefix}leader", create_revision=0)
            outcomes = await asyncio.gather(
                *(who.write([guard], [Put(guard.key, b"%d" % n)]) for n, who in enumerate([coordinator, other] * 10))
            )
            await other.close()
            entry = await self._entry(coordinator, guard.key)

            assert entry is not None
            assert [n for n, revision in enumerate(outcomes) if revision is not None] == [int(entry.value)]

    async def test_a_write_that_no_coordinator_takes_is_refused_and_changes_nothing(self) -> None:
        async with self.opened() as (coordinator, prefix):
            x, most = f"{prefix}x", limits.COORDINATOR_CHANGES_MAX
            await self._refused(coordinator, [], [Put(x, b"1"), Put(x, b"2")])
            await self._refused(coordinator, [], [Put(x, b"1"), Delete(x)])
            await self._refused(coordinator, [], [Put("", b"1")])
            await self._refused(coordinator, [], [Put(x * limits.COORDINATOR_KEY_BYTES_MAX, b"")])
            await self._refused(coordinator, [], [Put(x, bytes(limits.COORDINATOR_VALUE_BYTES_MAX + 1))])
            await self._refused(coordinator, [], [Put(f"{x}{n}", b"") for n in range(most + 1)])
            await self._refused(coordinator, [Guard(f"{x}{n}", mod_revision=0) for n in range(most + 1)], [])

            assert list((await coordinator.read(prefix)).entries) == []

    async def test_the_largest_write_is_taken(self) -> None:
        async with self.opened() as (coordinator, prefix):
            most, size = limits.COORDINATOR_CHANGES_MAX, limits.COORDINATOR_VALUE_BYTES_MAX
            guards = [Guard(f"{prefix}{n}", mod_revision=0) for n in range(most)]
            revision = await coordinator.write(guards, [Put(f"{prefix}{n}", bytes(size // most)) for n in range(most)])

            assert revision is not None
            assert {entry.mod_revision for entry in (await coordinator.read(prefix)).entries} == {revision}

    # --- leases -------------------------------------------------------------------------------------------------------

    async def test_keys_stay_while_their_lease_is_refreshed_and_go_when_it_ends(self) -> None:
        async with self.opened() as (coordinator, prefix):
            lease = await coordinator.grant(TTL_S)
            assert lease.ttl_s >= TTL_S
            await put(coordinator, f"{prefix}x", b"", lease_id=lease.lease_id)
            for _ in range(8):
                await self.pass_time(TTL_S / 4)
                refreshed_s = await coordinator.refresh(lease.lease_id)
                assert refreshed_s is not None
                assert refreshed_s >= TTL_S
                assert await self._entry(coordinator, f"{prefix}x") is not None
            await self.eventually(lambda: self._is_gone(coordinator, f"{prefix}x"))

            assert await coordinator.refresh(lease.lease_id) is None

    async def test_a_revoked_lease_takes_its_keys_at_once(self) -> None:
        async with self.opened() as (coordinator, prefix):
            lease = await coordinator.grant(60.0)
            await put(coordinator, f"{prefix}x", b"", lease_id=lease.lease_id)
            await coordinator.revoke(lease.lease_id)

            assert list((await coordinator.read(prefix)).entries) == []
            assert await coordinator.refresh(lease.lease_id) is None
            await coordinator.revoke(lease.lease_id)

    async def test_nothing_is_written_under_a_lease_that_has_ended(self) -> None:
        async with self.opened() as (coordinator, prefix):
            lease = await coordinator.grant(60.0)
            await coordinator.revoke(lease.lease_id)
            changes = [Put(f"{prefix}a", b""), Put(f"{prefix}b", b"", lease.lease_id)]

            assert await coordinator.write([], changes) is None
            assert list((await coordinator.read(prefix)).entries) == []

    async def test_a_key_belongs_to_the_lease_that_it_was_written_under_last(self) -> None:
        async with self.opened() as (coordinator, prefix):
            first, second = await coordinator.grant(60.0), await coordinator.grant(60.0)
            assert first.lease_id != second.lease_id
            await put(coordinator, f"{prefix}freed", b"", lease_id=first.lease_id)
            await put(coordinator, f"{prefix}freed", b"")
            await put(coordinator, f"{prefix}moved", b"", lease_id=first.lease_id)
            await put(coordinator, f"{prefix}moved", b"", lease_id=second.lease_id)
            await coordinator.revoke(first.lease_id)
            kept = [entry.key for entry in (await coordinator.read(prefix)).entries]
            await coordinator.revoke(second.lease_id)

            assert kept == [f"{prefix}freed", f"{prefix}moved"]
            assert [entry.key for entry in (await coordinator.read(prefix)).entries] == [f"{prefix}freed"]

    async def test_a_lease_that_never_was_has_ended(self) -> None:
        async with self.opened() as (coordinator, prefix):
            assert await coordinator.refresh(987_654_321) is None
            await coordinator.revoke(987_654_321)
            assert await coordinator.write([], [Put(f"{prefix}x", b"", 987_654_321)]) is None

    async def test_a_lease_outlives_the_client_that_began_it(self) -> None:
        async with self.opened() as (coordinator, prefix):
            other = await self.make_coordinator()
            lease = await other.grant(60.0)
            await put(other, f"{prefix}x", b"", lease_id=lease.lease_id)
            await other.close()

            assert await coordinator.refresh(lease.lease_id) is not None
            assert await self._entry(coordinator, f"{prefix}x") is not None

    async def test_a_closed_client_is_unavailable(self) -> None:
        async with self.opened() as (coordinator, prefix):
            await coordinator.close()
            try:
                await coordinator.read(prefix)
            except Unavailable:
                return
            raise AssertionError("a closed client answered")

    # --- short ways to ask --------------------------------------------------------------------------------------------

    async def _entry(self, coordinator: Coordinator, key: str) -> KeyEntry | None:
        return next((entry for entry in (await coordinator.read(key)).entries if entry.key == key), None)

    async def _is_gone(self, coordinator: Coordinator, key: str) -> bool:
        return await self._entry(coordinator, key) is None

    async def _refused(self, coordinator: Coordinator, guards: list[Guard], changes: list[Put | Delete]) -> None:
        try:
            await coordinator.write(guards, changes)
        except CoordinatorError:
            return
        raise AssertionError("the write was taken")
