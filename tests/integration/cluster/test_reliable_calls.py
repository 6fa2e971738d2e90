"""Reliable calls in a cluster: they follow their shards, and wait for the release that knows their receivers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from goverse import Object, Outcome, call, handler
from goverse.ports.coordinator import Put
from goverse_cli.cluster.moving import move
from goverse_node.ownership.shutdown import Shutdown
from tests.nodes import PATIENCE_S, key_of, until, value
from tests.twin_cluster import LEASE_TTL_S, SHARDS, TwinCluster

pytestmark = pytest.mark.requirement("DUR-3", "CLU-3")

NAMES = [f"n{n}" for n in range(30)]


class Receiver(Object):
    """Receives calls. ``got`` lists what took effect, in order."""

    got: list[str] = []

    @handler
    async def take(self, name: str) -> None:
        self.got.append(name)

    @call(readonly=True)
    def look(self) -> list[str]:
        return self.got


class Sender(Object):
    """Sends calls. ``ends`` lists the outcomes that it received."""

    ends: list[tuple[str, str]] = []

    @call
    def send_all(self, names: list[str], receivers: list[str], delay_s: float) -> None:
        """Send each name to each receiver: the first half now, the others after a delay."""
        half = len(names) // 2
        for name in names[:half]:
            for to in receivers:
                self.sending(then=self.ended, id=f"{to}-{name}")(self.ref(Receiver, to).take, name=name)
        later = self.sending(then=self.ended, delay=timedelta(seconds=delay_s))
        for name in names[half:]:
            for to in receivers:
                later(self.ref(Receiver, to).take, name=name)

    @call
    def send_by_name(self, to: str, method: str) -> None:
        """Send a call to an object whose class is not imported."""
        self.sending(then=self.ended_somehow, id=f"{method} of {to}")(getattr(self.ref("Receiver", to), method))

    @handler
    def ended(self, outcome: Outcome[None]) -> None:
        self.ends.append((outcome.id, outcome.state))

    @handler
    def ended_somehow(self, outcome: Outcome[Any]) -> None:
        self.ends.append((outcome.id, outcome.state))

    @call(readonly=True)
    def look(self) -> list[tuple[str, str]]:
        return self.ends


def newer_receiver() -> type[Any]:
    """Return the type of receivers in the next release of the application."""

    class Receiver(Object):
        got: list[str] = []

        @handler
        async def newer(self) -> None:
            self.got.append("newer")

        @call(readonly=True)
        def look(self) -> list[str]:
            return self.got

    return Receiver


async def ends_of(cluster: TwinCluster, sender: str, count: int) -> list[list[str]]:
    """Wait until an object has received some outcomes, and return them."""
    async with asyncio.timeout(PATIENCE_S):
        while len(found := value(await cluster.call(Sender, sender, "look"))) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    outcomes: list[list[str]] = found
    return outcomes


async def _moved(cluster: TwinCluster) -> None:
    for shard, owner in enumerate(cluster.owners()):
        if owner == "a":
            await move(cluster.coordinator, cluster.layout, shard, "b", timeout_s=PATIENCE_S)


async def _left(cluster: TwinCluster) -> None:
    assert await cluster.hosts.pop("a").leave(Shutdown.GRACEFUL)


async def _left_fast(cluster: TwinCluster) -> None:
    assert await cluster.hosts.pop("a").leave(Shutdown.FAST)


async def _killed(cluster: TwinCluster) -> None:
    cluster.hosts["a"].kill()


def _all_ended(cluster: TwinCluster) -> bool:
    """Return True if every shard is served, its outbox was read, and no call is pending."""
    outboxes = [host.node.dispatcher.outboxes for host in cluster.hosts.values() if not host.dead]
    shards = [shard for each in outboxes for shard in each.shards.values()]
    entries = any(each.entries for each in outboxes)
    return len(shards) == SHARDS and not any(shard.loading for shard in shards) and not entries


@pytest.mark.requirement("CLU-6", "CLU-9")
@pytest.mark.parametrize("goes", [_moved, _left, _left_fast, _killed])
async def test_pending_calls_follow_their_shards(goes: Callable[[TwinCluster], Awaitable[None]]) -> None:
    lease_ttl_s = LEASE_TTL_S if goes is _killed else 30.0
    async with TwinCluster(Sender, Receiver, lease_ttl_s=lease_ttl_s) as cluster:
        await cluster.join("a", "b")
        await cluster.served("a", "b")
        on = {node: cluster.owners().index(node) for node in ("a", "b")}
        receivers = [f"shard#{shard}/r" for shard in on.values()]
        senders = [f"shard#{shard}/s" for shard in on.values()]
        for sender in senders:
            names = [f"{sender} {name}" for name in NAMES]
            value(await cluster.call(Sender, sender, "send_all", names=names, receivers=receivers, delay_s=0.1))
        await goes(cluster)

        await until(lambda: _all_ended(cluster))

        for sender in senders:
            ends = value(await cluster.call(Sender, sender, "look"))
            assert [state for _, state in ends] == ["success"] * len(NAMES) * len(receivers)
            assert len({call_id for call_id, _ in ends}) == len(ends)
        half = len(NAMES) // 2
        for receiver in receivers:
            got = value(await cluster.call(Receiver, receiver, "look"))
            for sender in senders:
                names = [f"{sender} {name}" for name in NAMES]
                found = [name for name in got if name in names]
                assert found[:half] == names[:half]
                assert sorted(found) == sorted(names)
        assert await cluster.store.pending(range(len(cluster.owners())), limit=1) == []


async def _pin(cluster: TwinCluster, node: str, *shards: int) -> None:
    await cluster.coordinator.write([], [Put(cluster.layout.pin(shard), node.encode()) for shard in shards])


@pytest.mark.requirement("CLU-11")
async def test_calls_wait_for_the_release_that_knows_them_and_no_longer() -> None:
    """The sender's node knows no receivers. Another one has an earlier release of them, and a third one the next."""
    async with TwinCluster(lease_ttl_s=30.0) as cluster:
        await cluster.join("plain", serves=[Sender])
        await cluster.join("earlier", serves=[Sender, Receiver])
        await cluster.served("plain", "earlier")
        plain = [shard for shard, owner in enumerate(cluster.owners()) if owner == "plain"]
        earlier = cluster.owners().index("earlier")
        await _pin(cluster, "plain", *plain[:2])
        await _pin(cluster, "earlier", earlier)
        sender, unserved, served = f"shard#{plain[0]}/s", f"shard#{plain[1]}/r", f"shard#{earlier}/r"

        value(await cluster.call(Sender, sender, "send_by_name", to=f"shard#{earlier}/x", method="misspelt"))
        assert await ends_of(cluster, sender, 1) == [[f"misspelt of shard#{earlier}/x", "dead"]]

        await cluster.join("next", serves=[Sender, newer_receiver()])
        await until(lambda: "next" in cluster.hosts["plain"].watch.view.catalogs)
        for to in (unserved, served):
            value(await cluster.call(Sender, sender, "send_by_name", to=to, method="newer"))
        pending = cluster.hosts["plain"].node.dispatcher.outboxes.of_sender
        await until(lambda: [entry.place.refusals > 1 for entry in pending(key_of(Sender, sender))] == [True, True])
        assert len(await ends_of(cluster, sender, 1)) == 1
        assert [entry.place.attempts for entry in pending(key_of(Sender, sender))] == [0, 0]

        await _pin(cluster, "next", plain[1], earlier)
        ends = await ends_of(cluster, sender, 3)
        assert sorted(ends[1:]) == sorted([f"newer of {to}", "success"] for to in (unserved, served))
        for to in (unserved, served):
            assert value(await cluster.call("Receiver", to, "look")) == ["newer"]
