"""Watches over broken connections and lost history: every change arrives once and in order, or all keys are reread."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import pytest

from goverse.errors import Unavailable
from goverse.ports.coordinator import Changed, Coordinator, KeyEntry, Put
from goverse.testing.coordinator_harness import put
from tests.etcd_server import EtcdCluster, etcd_cluster
from tests.integration.etcd.clients import client_of, following, until
from tests.loop_time import LoopTime
from tests.tcp_proxy import Way, proxy_to

pytestmark = pytest.mark.requirement("CLU-1")

BURST = 6_000
WRITERS = 50


async def test_a_burst_arrives_completely_once_and_in_order(etcd: EtcdCluster) -> None:
    async with client_of(etcd.urls) as client:
        async with following(client, "/n/") as follower:
            revisions = await burst(client)
            await until(lambda: len(follower.log) >= BURST)

        assert [revision for *_, revision in follower.log] == revisions
        assert {key: entry.value for key, entry in follower.state.items()} == {
            entry.key: entry.value for entry in (await client.read("/n/")).entries
        }


async def burst(client: Coordinator) -> list[int]:
    """Write from many concurrent tasks; return the sorted revisions."""

    async def write(writer: int) -> list[int]:
        return [await put(client, f"/n/{writer}/{number % 10}", b"x" * 100) for number in range(BURST // WRITERS)]

    written = await asyncio.gather(*map(write, range(WRITERS)))
    return sorted(revision for revisions in written for revision in revisions)


async def test_constantly_broken_connections_lose_and_double_nothing(etcd: EtcdCluster) -> None:
    async with (
        proxy_to(etcd.members[0].port) as proxy,
        client_of(etcd.urls) as writer,
        client_of([f"http://127.0.0.1:{proxy.port}"]) as client,
        following(client, "/n/") as follower,
    ):
        writing = asyncio.create_task(burst(writer))
        while not writing.done():
            seen = len(follower.log)
            await until(lambda seen=seen: len(follower.log) > seen or writing.done())  # type: ignore[misc]
            proxy.cut()
        revisions = await writing
        await until(lambda: len(follower.log) >= BURST)

        assert proxy.streams_begun > 5
        assert [revision for *_, revision in follower.log] == revisions
        assert follower.reloads == 0


async def test_a_large_write_arrives_in_one_piece_although_etcd_sends_fragments(etcd: EtcdCluster) -> None:
    async with client_of(etcd.urls) as client:
        start = (await client.read("/n/")).revision
        for _ in range(4):
            await client.write([], [Put(f"/n/{number}", bytes(8_000)) for number in range(128)])
        news: list[Changed] = []
        async for one in client.watch("/n/", start):
            assert isinstance(one, Changed)
            news.append(one)
            if one.revision == start + 4:
                break

        assert sum(len(one.changes) for one in news) == 4 * 128
        assert all(len(one.changes) % 128 == 0 for one in news)


async def test_history_that_is_compacted_while_a_watch_is_cut_off_is_read_again(etcd: EtcdCluster) -> None:
    async with (
        proxy_to(etcd.members[0].port) as proxy,
        client_of(etcd.urls) as writer,
        client_of([f"http://127.0.0.1:{proxy.port}"]) as client,
        following(client, "/n/") as follower,
    ):
        for round_number in range(3):
            seen = await put(writer, "/n/x", b"seen %d" % round_number)
            await until(lambda seen=seen: follower.revision >= seen)  # type: ignore[misc]
            proxy.refuse()
            for number in range(20):
                await put(writer, "/n/x", b"unseen %d" % number)
            await writer.write([], [Put(f"/n/{round_number}", b"")])
            await etcd.compact()
            proxy.release()
            await until(lambda done=round_number + 1: follower.reloads == done)  # type: ignore[misc]

        expected = await writer.read("/n/")
        assert list(follower.state.values()) == list(expected.entries)
        last = await put(writer, "/n/x", b"last")
        await until(lambda: follower.revision == last)
        assert follower.reloads == 3


async def test_a_client_leaves_a_member_whose_packets_are_dropped(tmp_path: Path) -> None:
    async with (
        etcd_cluster(tmp_path, members=3) as cluster,
        proxy_to(cluster.members[0].port) as proxy,
        client_of([f"http://127.0.0.1:{proxy.port}", *cluster.urls[1:]]) as client,
        client_of(cluster.urls) as writer,
        following(client, "/n/") as follower,
    ):
        await until_seen(follower.state, await put(writer, "/n/x", b"1"))
        proxy.hold()
        await until_seen(follower.state, await put(writer, "/n/x", b"2"))

        assert follower.reloads == 0
        assert (await client.read("/n/")).entries[0].value == b"2"


async def until_seen(state: dict[str, KeyEntry], revision: int) -> None:
    await until(lambda: any(entry.mod_revision == revision for entry in state.values()))


async def test_an_idle_watch_stays_on_its_stream(
    etcd: EtcdCluster, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO", "goverse.etcd")
    async with (
        proxy_to(etcd.members[0].port) as proxy,
        client_of([f"http://127.0.0.1:{proxy.port}"], ask_s=10.0, silence_s_max=60.0) as client,
        client_of(etcd.urls) as writer,
        following(client, "/n/") as follower,
    ):
        await until_seen(follower.state, await put(writer, "/n/x", b"1"))
        time = LoopTime(monkeypatch)
        while time.ahead_s < 180.0:  # three times ``silence_s_max``
            await put(writer, "/elsewhere", b"")
            heard = proxy.passed_bytes[Way.BACK]
            await time.advance(10.0)
            await until(partial(lambda heard: proxy.passed_bytes[Way.BACK] > heard, heard))
        await etcd.compact()
        await until_seen(follower.state, await put(writer, "/n/x", b"2"))

        assert proxy.streams_begun == 1
        assert caplog.messages == []
        assert [value for _, value, _ in follower.log] == [b"1", b"2"]
        assert follower.reloads == 0


async def test_a_write_whose_reply_was_cut_off_took_effect_once_or_not(etcd: EtcdCluster) -> None:
    async with (
        proxy_to(etcd.members[0].port) as proxy,
        client_of(etcd.urls) as observer,
        client_of([f"http://127.0.0.1:{proxy.port}"]) as client,
        following(observer, "/n/") as follower,
    ):
        answered: dict[bytes, int] = {}
        unanswered: set[bytes] = set()

        async def write(writer: int) -> None:
            for number in range(50):
                value = b"%d-%d" % (writer, number)
                try:
                    answered[value] = await put(client, f"/n/{writer}", value)
                except Unavailable:
                    unanswered.add(value)

        writing = asyncio.gather(*map(write, range(20)))
        while not writing.done():
            count = len(answered) + len(unanswered)
            await until(lambda count=count: len(answered) + len(unanswered) > count + 30 or writing.done())  # type: ignore[misc]
            proxy.cut()
        await writing
        last = await put(observer, "/n/last", b"last")
        await until(lambda: follower.revision >= last)
        happened = [value for _, value, _ in follower.log if value != b"last"]

        assert len(answered) + len(unanswered) == 1_000
        assert len(unanswered) > 0
        assert len(happened) == len(set(happened))
        assert set(answered) <= {value for value in happened if value is not None}
        assert {revision for *_, revision in follower.log} >= set(answered.values())
