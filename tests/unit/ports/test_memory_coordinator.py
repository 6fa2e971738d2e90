"""The in-memory coordinator: partitions of one client, outages for all, and leases by a manual clock."""

import asyncio

import pytest

from goverse.errors import Unavailable
from goverse.ports.clock import ManualClock, SystemClock
from goverse.ports.coordinator import Changed, Guard, Put
from goverse.ports.memory_coordinator import MemoryCoordinator
from goverse.ports.memory_keys import MemoryKeys
from goverse.testing.coordinator_harness import Follower, next_of, put
from tests.nodes import settle, until

pytestmark = pytest.mark.requirement("CLU-12")


async def test_cutting_off_one_client_does_not_affect_others() -> None:
    keys = MemoryKeys(ManualClock())
    one, other = MemoryCoordinator(keys), MemoryCoordinator(keys)
    one.reach.cut()

    with pytest.raises(Unavailable):
        await one.read("")
    with pytest.raises(Unavailable):
        await one.write([], [Put("x", b"")])
    assert (await other.read("")).entries == []
    one.reach.heal()
    assert await put(one, "x", b"") == 2


async def test_a_write_whose_answer_is_lost_takes_effect() -> None:
    keys = MemoryKeys(ManualClock())
    one, other = MemoryCoordinator(keys), MemoryCoordinator(keys)
    one.reach.cut(requests=False)

    with pytest.raises(Unavailable, match="answer was lost"):
        await one.write([Guard("x", create_revision=0)], [Put("x", b"")])
    assert [entry.key for entry in (await other.read("")).entries] == ["x"]
    one.reach.heal()
    assert await one.write([Guard("x", create_revision=0)], [Put("x", b"")]) is None


async def test_a_watch_that_was_cut_off_gets_all_changes_afterwards() -> None:
    keys = MemoryKeys(ManualClock())
    one, other = MemoryCoordinator(keys), MemoryCoordinator(keys)
    follower = Follower(await one.read(""))
    async with follower.following(one.watch("", follower.revision)):
        await put(other, "x", b"1")
        await until(lambda: len(follower.log) == 1)
        one.reach.cut(requests=False)
        await put(other, "x", b"2")
        await put(other, "x", b"3")
        await settle()
        assert len(follower.log) == 1
        one.reach.heal()
        await until(lambda: len(follower.log) == 3)

    assert [value for _, value, _ in follower.log] == [b"1", b"2", b"3"]


async def test_history_lost_during_a_cut_is_reported() -> None:
    keys = MemoryKeys(ManualClock())
    one = MemoryCoordinator(keys)
    follower = Follower(await one.read(""))
    async with follower.following(one.watch("", follower.revision)):
        await settle()
        keys.stop()
        keys.start()
        await put(one, "x", b"1")
        keys.compact()
        await until(lambda: follower.reloads == 1)

    assert list(follower.state) == ["x"]


async def test_a_slow_request_arrives_although_its_caller_timed_out() -> None:
    keys = MemoryKeys(ManualClock())
    slow = MemoryCoordinator(keys, operation_timeout_s=0.001)
    slow.reach.delay_s = 0.05

    with pytest.raises(Unavailable, match="in time"):
        await slow.write([], [Put("x", b"")])
    assert keys.read("").entries == []
    await until(lambda: len(keys.read("").entries) == 1)


async def test_leases_end_by_the_clock_in_the_order_of_their_deadlines() -> None:
    clock = ManualClock()
    keys = MemoryKeys(clock)
    for name, ttl_s in (("late", 3.0), ("early", 1.0), ("middle", 2.0)):
        keys.write([], [Put(name, b"", keys.grant(ttl_s).lease_id)])
    start = keys.revision
    clock.advance(10.0)
    changed = keys.changes("", start)

    assert changed is not None
    assert [change.key for change in changed.changes] == ["early", "middle", "late"]


async def test_no_lease_ends_during_an_outage_and_all_have_their_full_ttl_after_it() -> None:
    clock = ManualClock()
    keys = MemoryKeys(clock)
    lease = keys.grant(5.0)
    keys.write([], [Put("x", b"", lease.lease_id)])
    keys.stop()
    clock.advance(60.0)
    keys.start()
    clock.advance(4.9)
    assert len(keys.read("").entries) == 1
    clock.advance(0.2)

    assert keys.read("").entries == []


async def test_watches_report_an_expired_lease_without_a_request() -> None:
    keys = MemoryKeys(SystemClock())
    coordinator = MemoryCoordinator(keys)
    lease = await coordinator.grant(0.02)
    start = await put(coordinator, "x", b"", lease_id=lease.lease_id)
    news = await next_of(coordinator.watch("", start))

    assert isinstance(news, Changed)
    assert [change.key for change in news.changes] == ["x"]


async def test_equal_runs_give_equal_events() -> None:
    async def story() -> list[tuple[str, bytes | None, int]]:
        clock = ManualClock()
        keys = MemoryKeys(clock)
        clients = [MemoryCoordinator(keys) for _ in range(3)]
        follower = Follower(await clients[0].read(""))
        async with follower.following(clients[0].watch("", follower.revision)):
            for n in range(50):
                lease = await clients[n % 3].grant(n % 5 + 1.0)
                await put(clients[n % 3], f"k{n % 7}", b"%d" % n, lease_id=lease.lease_id)
                clock.advance(0.5)
                await asyncio.sleep(0)
            clock.advance(10.0)
            keys.expire()
            await until(lambda: follower.revision == keys.revision)
        return follower.log

    assert await story() == await story()
