"""Tests of the rules in ``goverse.ports.coordinator``, for any implementation of a coordinator.

Subclass :class:`CoordinatorContract` in a test file and implement ``make_coordinator`` and ``compact``:

>>> class TestMyCoordinator(CoordinatorContract):
...     async def make_coordinator(self) -> Coordinator:
...         return MyCoordinator(self.address)

The suite uses plain assertions and works with any test runner that supports asyncio. Tests may share a server, because
each test uses its own key prefix.
"""

from __future__ import annotations

import asyncio

from goverse import limits
from goverse.errors import CoordinatorError, Unavailable
from goverse.ports.coordinator import Coordinator, Delete, Guard, KeyEntry, Put
from goverse.testing.coordinator_harness import TTL_S, put
from goverse.testing.coordinator_watching import WatchingContract


class CoordinatorContract(WatchingContract):
    """The tests that every coordinator passes; subclasses implement ``make_coordinator`` and ``compact``."""

    async def test_a_prefix_without_keys_reads_empty(self) -> None:
        async with self.opened() as (coordinator, prefix):
            snapshot = await coordinator.read(prefix)

            assert list(snapshot.entries) == []
            assert snapshot.revision > 0

    async def test_keys_below_a_prefix_are_read_in_order_with_their_revisions(self) -> None:
        async with self.opened() as (coordinator, prefix):
            names = [f"{prefix}b", f"{prefix}a/1", f"{prefix}ä\U0001f600", f"{prefix}a", f"{prefix}\x00\x7f"]
            revisions = {name: await put(coordinator, name, name.encode() * 2) for name in names}
            await put(coordinator, f"{prefix[:-1]}0", b"the first name after the prefix")
            snapshot = await coordinator.read(prefix)

            assert [entry.key for entry in snapshot.entries] == sorted(names, key=str.encode)
            for entry in snapshot.entries:
                assert entry == KeyEntry(entry.key, entry.key.encode() * 2, revisions[entry.key], revisions[entry.key])
            assert snapshot.revision >= max(revisions.values())

    async def test_revisions_grow_and_a_key_has_the_revision_that_created_it(self) -> None:
        async with self.opened() as (coordinator, prefix):
            first = await put(coordinator, f"{prefix}x", b"1")
            second = await put(coordinator, f"{prefix}x", b"")
            assert second > first
            assert await self._entry(coordinator, f"{prefix}x") == KeyEntry(f"{prefix}x", b"", first, second)
            await coordinator.write([], [Delete(f"{prefix}x")])
            assert await self._entry(coordinator, f"{prefix}x") is None
            third = await put(coordinator, f"{prefix}x", b"3")

            assert await self._entry(coordinator, f"{prefix}x") == KeyEntry(f"{prefix}x", b"3", third, third)

    async def test_a_write_is_made_only_if_every_guard_holds(self) -> None:
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

    async def test_a_write_without_effect_reports_if_its_guards_hold(self) -> None:
        async with self.opened() as (coordinator, prefix):
            revision = await put(coordinator, f"{prefix}x", b"")

            assert await coordinator.write([Guard(f"{prefix}x", mod_revision=revision)], []) is not None
            assert await coordinator.write([Guard(f"{prefix}x", mod_revision=0)], []) is None
            assert await coordinator.write([], [Delete(f"{prefix}absent")]) is not None

    async def test_only_one_of_many_concurrent_creates_of_a_key_succeeds(self) -> None:
        async with self.opened() as (coordinator, prefix):
            other = await self.make_coordinator()
            guard = Guard(f"{prefix}leader", create_revision=0)
            outcomes = await asyncio.gather(
                *(each.write([guard], [Put(guard.key, b"%d" % n)]) for n, each in enumerate([coordinator, other] * 10))
            )
            await other.close()
            entry = await self._entry(coordinator, guard.key)

            assert entry is not None
            assert [n for n, revision in enumerate(outcomes) if revision is not None] == [int(entry.value)]

    async def test_an_invalid_write_is_rejected_and_changes_nothing(self) -> None:
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

    async def test_the_largest_write_is_accepted(self) -> None:
        async with self.opened() as (coordinator, prefix):
            most, size = limits.COORDINATOR_CHANGES_MAX, limits.COORDINATOR_VALUE_BYTES_MAX
            guards = [Guard(f"{prefix}{n}", mod_revision=0) for n in range(most)]
            revision = await coordinator.write(guards, [Put(f"{prefix}{n}", bytes(size // most)) for n in range(most)])

            assert revision is not None
            assert {entry.mod_revision for entry in (await coordinator.read(prefix)).entries} == {revision}

    # --- leases -------------------------------------------------------------------------------------------------------

    async def test_keys_exist_while_their_lease_is_refreshed_and_are_deleted_when_it_ends(self) -> None:
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

    async def test_revoking_a_lease_deletes_its_keys_immediately(self) -> None:
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

    async def test_a_key_belongs_to_the_lease_of_its_last_write(self) -> None:
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

    async def test_an_unknown_lease_counts_as_ended(self) -> None:
        async with self.opened() as (coordinator, prefix):
            assert await coordinator.refresh(987_654_321) is None
            await coordinator.revoke(987_654_321)
            assert await coordinator.write([], [Put(f"{prefix}x", b"", 987_654_321)]) is None

    async def test_a_lease_outlives_the_client_that_created_it(self) -> None:
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

    # --- helpers ------------------------------------------------------------------------------------------------------

    async def _entry(self, coordinator: Coordinator, key: str) -> KeyEntry | None:
        return next((entry for entry in (await coordinator.read(key)).entries if entry.key == key), None)

    async def _is_gone(self, coordinator: Coordinator, key: str) -> bool:
        return await self._entry(coordinator, key) is None

    async def _refused(self, coordinator: Coordinator, guards: list[Guard], changes: list[Put | Delete]) -> None:
        try:
            await coordinator.write(guards, changes)
        except CoordinatorError:
            return
        raise AssertionError("the write was accepted")
