"""Members that restart, die, freeze or lose their quorum cost time. No change is lost, doubled or reported wrongly."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from benchmarks.ports import free_ports
from goverse.errors import Unavailable
from goverse.etcd.coordinator import EtcdCoordinator
from goverse.etcd.ranges import Range
from goverse.ports.coordinator import Delete, Guard, Put, Snapshot
from goverse.testing.coordinator_harness import put
from tests.etcd_server import etcd_cluster
from tests.integration.etcd.clients import client_of, following, insist, until
from tests.tcp_proxy import proxy_to

pytestmark = pytest.mark.requirement("CLU-1")

WRITES = 300


async def write_on(coordinator: EtcdCoordinator, count: int) -> list[int]:
    """Create keys one by one, retrying each until it exists; return the revisions."""
    revisions: list[int] = []
    for number in range(count):
        key = f"/n/{number:04d}"

        async def create(key: str = key) -> int:
            revision = await coordinator.write([Guard(key, create_revision=0)], [Put(key, b"")])
            if revision is None:  # an earlier attempt took effect although its reply was lost
                [entry] = (await coordinator.read(key)).entries
                return entry.mod_revision
            return revision

        revisions.append(await insist(create))
    return revisions


@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_a_restart_loses_nothing(tmp_path: Path, how: str) -> None:
    async with (
        etcd_cluster(tmp_path) as cluster,
        client_of(cluster.urls) as client,
        following(client, "/n/") as follower,
    ):
        lease = await client.grant(30.0)
        await put(client, "/n/own", b"", lease_id=lease.lease_id)
        [member] = cluster.members
        getattr(member, how)()
        writing = asyncio.create_task(write_on(client, 40))
        member.start()
        written = await writing
        assert await client.refresh(lease.lease_id) is not None
        last = await insist(lambda: client.write([], [Put("/n/own", b"2", lease.lease_id)]))
        await until(lambda: follower.revision >= last)

        revisions = [revision for *_, revision in follower.log]
        assert revisions == sorted(set(revisions))
        assert set(written) <= set(revisions)
        assert sorted(follower.state.items()) == [(entry.key, entry) for entry in (await client.read("/n/")).entries]
        assert follower.reloads == 0


async def test_an_operation_waits_for_a_member_and_gives_up_at_its_timeout(tmp_path: Path) -> None:
    async with etcd_cluster(tmp_path) as cluster, client_of(cluster.urls, operation_timeout_s=0.5) as client:
        [member] = cluster.members
        revision = await insist(lambda: client.write([], [Put("/n/x", b"")]))
        member.kill()
        with pytest.raises(Unavailable, match=r"no etcd member is reachable: http://127\.0\.0\.1"):
            await client.read("/n/")
        with pytest.raises(Unavailable):
            await client.write([], [Put("/n/x", b"never")])
        member.start()
        await cluster.healthy()

        [entry] = (await insist(lambda: client.read("/n/"))).entries
        assert (entry.value, entry.mod_revision) == (b"", revision)


async def test_the_death_of_the_leader_of_three_has_no_effect_on_clients(tmp_path: Path) -> None:
    async with etcd_cluster(tmp_path, members=3) as cluster, client_of(cluster.urls) as client:
        lease = await client.grant(30.0)
        await put(client, "/own/x", b"", lease_id=lease.lease_id)
        async with following(client, "/n/") as follower:
            writing = asyncio.create_task(write_on(client, WRITES))
            for _ in range(2):
                await until_more(follower.log, 60)
                leader = await cluster.leader()
                leader.kill()
                await until_more(follower.log, 40)
                assert await client.refresh(lease.lease_id) is not None
                leader.start()
                await cluster.healthy(leader)
            revisions = await writing
            await until(lambda: len(follower.log) == WRITES)

        assert [revision for *_, revision in follower.log] == revisions == sorted(revisions)
        assert follower.reloads == 0
        assert len((await client.read("/own/")).entries) == 1


async def until_more(log: list[tuple[str, bytes | None, int]], count: int) -> None:
    """Wait until the log has grown by ``count`` entries, or has all of them."""
    target = min(len(log) + count, WRITES)
    await until(lambda: len(log) >= target)


async def test_a_member_that_the_client_is_connected_to_dies(tmp_path: Path) -> None:
    async with (
        etcd_cluster(tmp_path, members=3) as cluster,
        client_of(cluster.urls) as client,
        following(client, "/n/") as follower,
    ):
        revisions = await write_on(client, 10)
        for member in cluster.members:  # among them the one in use and the leader
            member.kill()
            await insist(lambda: client.write([], [Put("/n/last", b"")]))
            member.start()
            await cluster.healthy()
        await until(lambda: follower.state.get("/n/last") is not None)

        assert await write_on(client, 10) == revisions
        assert follower.reloads == 0


async def test_every_endpoint_is_tried_by_name_and_by_address(tmp_path: Path) -> None:
    dead, held = free_ports(2)
    async with etcd_cluster(tmp_path) as cluster, proxy_to(held) as nowhere:
        nowhere.hold()
        [member] = cluster.members
        urls = [f"http://127.0.0.1:{dead}", f"localhost:{nowhere.port}", f"http://localhost:{member.port}"]
        async with client_of(urls) as client, following(client, "/n/") as follower:
            revision = await put(client, "/n/x", b"")
            await until(lambda: follower.revision == revision)

            assert [entry.mod_revision for entry in (await client.read("/n/")).entries] == [revision]


async def test_a_client_leaves_a_frozen_member_for_another_one(tmp_path: Path) -> None:
    async with etcd_cluster(tmp_path, members=3) as cluster:
        leader = await cluster.leader()
        follower_first = sorted(cluster.members, key=lambda member: member is leader)
        async with (
            client_of([member.url for member in follower_first]) as client,
            following(client, "/n/") as follower,
        ):
            lease = await client.grant(30.0)
            await write_on(client, 1)
            follower_first[0].pause()
            assert await client.refresh(lease.lease_id) is not None  # the client uses another member by now
            revision = await put(client, "/n/x", b"")
            await until(lambda: follower.revision == revision)
            follower_first[0].resume()

            assert follower.reloads == 0


async def test_a_cluster_continues_after_a_freeze(tmp_path: Path) -> None:
    async with (
        etcd_cluster(tmp_path, members=3) as cluster,
        client_of(cluster.urls) as client,
        client_of(cluster.urls, operation_timeout_s=1.5) as impatient,
        following(client, "/n/") as follower,
    ):
        lease = await client.grant(30.0)
        first = await write_on(client, 5)
        for member in cluster.members:
            member.pause()
        reading = asyncio.create_task(client.read("/n/"))
        refreshing = asyncio.create_task(client.refresh(lease.lease_id))
        for operation in (impatient.read("/n/"), impatient.refresh(lease.lease_id), impatient.grant(5.0)):
            with pytest.raises(Unavailable):
                await operation
        with pytest.raises(Unavailable):
            await impatient.write([], [Put("/n/perhaps", b"")])
        assert not reading.done()
        for member in cluster.members:
            member.resume()
        assert len((await reading).entries) in (5, 6)  # a request to a frozen member may take effect later
        assert await refreshing is not None
        last = await insist(lambda: client.write([], [Put("/n/last", b"")]))
        await until(lambda: follower.revision >= last)

        assert [revision for *_, revision in follower.log if revision in (*first, last)] == [*first, last]
        assert follower.reloads == 0


async def test_members_without_a_quorum_refuse_and_serve_again(tmp_path: Path) -> None:
    async with (
        etcd_cluster(tmp_path, members=3) as cluster,
        client_of(cluster.urls) as client,
        client_of(cluster.urls, operation_timeout_s=2.0) as impatient,
        following(client, "/n/") as follower,
    ):
        await write_on(client, 3)
        for member in cluster.members[1:]:
            member.kill()
        with pytest.raises(Unavailable):
            await impatient.read("/n/")
        with pytest.raises(Unavailable):
            await impatient.write([], [Put("/n/perhaps", b"")])
        writing = asyncio.create_task(insist(lambda: client.write([], [Put("/n/last", b"")])))
        for member in cluster.members[1:]:
            member.start()
        await writing
        await until(lambda: "/n/last" in follower.state)

        assert follower.reloads == 0


async def test_a_cluster_that_lost_its_memory_is_read_again(tmp_path: Path) -> None:
    async with (
        etcd_cluster(tmp_path) as cluster,
        client_of(cluster.urls) as client,
        following(client, "/n/") as follower,
    ):
        await write_on(client, 30)
        await until(lambda: len(follower.log) == 30)
        [member] = cluster.members
        member.kill()
        member.wipe()
        member.start()
        revision = await insist(lambda: client.write([], [Put("/n/new", b"")]))
        assert revision < follower.revision
        await until(lambda: follower.reloads > 0 and set(follower.state) == {"/n/new"})
        later = await put(client, "/n/later", b"")
        await until(lambda: follower.revision == later)

        assert set(follower.state) == {"/n/new", "/n/later"}
        assert follower.histories == follower.reloads == 1


@pytest.mark.parametrize("lost", ["put", "deleted"])
async def test_a_restored_backup_is_noticed_although_new_writes_have_overtaken_the_watch(
    tmp_path: Path, lost: str
) -> None:
    async with (
        etcd_cluster(tmp_path) as cluster,
        client_of(cluster.urls) as client,
        client_of(cluster.urls) as other,
        following(other, "/n/") as follower,
    ):
        await write_on(client, 3)
        await until(lambda: len(follower.state) == 3)
        [member] = cluster.members
        member.kill()
        member.save()
        member.start()
        change = Put("/n/lost", b"") if lost == "put" else Delete("/n/0002")
        await insist(lambda: client.write([], [change]))
        await until(lambda: ("/n/lost" in follower.state) or ("/n/0002" not in follower.state))
        seen = follower.revision
        member.kill()
        member.restore()
        member.start()
        await cluster.healthy()
        async with client_of(cluster.urls) as fast:
            while (await put(fast, "/n/new", b"")) <= seen + 5:
                pass
        await until(lambda: follower.histories == 1 and "/n/new" in follower.state)
        assert set(follower.state) == {"/n/0000", "/n/0001", "/n/0002", "/n/new"}


async def test_a_restored_backup_is_noticed_although_new_writes_overtake_the_watch_before_it_reads_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = EtcdCoordinator._read
    async with (
        etcd_cluster(tmp_path) as cluster,
        client_of(cluster.urls) as client,
        client_of(cluster.urls) as fast,
        following(client, "/n/") as follower,
    ):
        [member] = cluster.members
        await write_on(fast, 3)
        member.kill()
        member.save()
        member.start()
        await insist(lambda: fast.write([], [Put("/n/lost", b"")]))
        await until(lambda: "/n/lost" in follower.state)
        seen = follower.revision

        async def read_late(self: EtcdCoordinator, keys: Range, revision: int = 0) -> tuple[Snapshot, int]:
            """Delay the read of the watch, which noticed the restore, until etcd has a newer revision than before."""
            while revision == 0 and await insist(lambda: put(fast, "/n/new", b"")) <= seen + 5:
                pass
            return await read(self, keys, revision)

        monkeypatch.setattr(EtcdCoordinator, "_read", read_late)
        member.kill()
        member.restore()
        member.start()
        await until(lambda: follower.reloads == 1)
        assert follower.histories == 1
        assert set(follower.state) == {"/n/0000", "/n/0001", "/n/0002", "/n/new"}


async def test_a_lease_that_a_restored_backup_holds_as_well_is_another_lease(tmp_path: Path) -> None:
    async with etcd_cluster(tmp_path) as cluster, client_of(cluster.urls) as client:
        lease = await client.grant(60.0)
        [member] = cluster.members
        member.kill()
        member.save()
        member.start()
        await insist(lambda: client.write([], [Put("/n/x", b"", lease.lease_id)]))
        await write_on(client, 20)
        snapshot = await client.read("/n/")
        watch = client.watch("/n/", snapshot.revision)
        assert await client.refresh(lease.lease_id) is not None
        member.kill()
        member.restore()
        member.start()
        assert await insist(lambda: client.refresh(lease.lease_id)) is None
        await watch.aclose()


async def test_a_compacted_history_is_not_another_one(tmp_path: Path) -> None:
    async with (
        etcd_cluster(tmp_path) as cluster,
        client_of(cluster.urls) as client,
        client_of(cluster.urls) as other,
        following(other, "/n/") as follower,
    ):
        await write_on(client, 5)
        await until(lambda: len(follower.log) == 5)
        [member] = cluster.members
        member.kill()
        member.start()
        await cluster.healthy()
        async with client_of(cluster.urls) as fast:
            last = await put(fast, "/n/last", b"")
            await cluster.compact()
        await until(lambda: follower.revision >= last)
        assert (follower.histories, "/n/last" in follower.state) == (0, True)


async def test_a_lease_that_is_not_refreshed_expires_and_watchers_see_it(tmp_path: Path) -> None:
    async with (
        etcd_cluster(tmp_path, members=3) as cluster,
        client_of(cluster.urls) as client,
        client_of(cluster.urls[::-1]) as other,
        following(other, "/n/") as follower,
    ):
        lease = await client.grant(1.0)
        assert lease.ttl_s >= 1.0
        await put(client, "/n/x", b"", lease_id=lease.lease_id)
        await until(lambda: "/n/x" in follower.state)
        (await cluster.leader()).kill()
        await until(lambda: "/n/x" not in follower.state)

        assert await client.refresh(lease.lease_id) is None
        assert await client.write([], [Put("/n/x", b"", lease.lease_id)]) is None
