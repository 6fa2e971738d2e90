"""Scripted events in a small cluster whose traces are kept in ``testdata``: one readable file per story.

Each message takes one millisecond and all clocks agree, so a trace changes only if the product behaves differently.
Keepalives, loads and what happens before the story begins are left out; lines of one instant are sorted.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Final

from goverse.model.keys import DEFAULT_NAMESPACE, ObjectKey
from goverse.ports.coordinator import Put
from tests.simulation import etcd
from tests.simulation.client import Plan, SimulatedClient
from tests.simulation.cluster import SimulatedCluster
from tests.simulation.processes import SimulatedNode
from tests.simulation.program import Parcel
from tests.simulation.senders import party_key
from tests.simulation.settings import PARTIES, Settings

SMALL: Final = Settings(nodes=2, gates=1, clients=1, senders=1)
LARGER: Final = replace(SMALL, nodes=3)
LOG: Final = "log-0"
LOOK_S: Final = 0.0005
PAUSE_S: Final = 0.01  # between two steps, so that no two lines of different steps have the same time
_LEFT_OUT: Final = re.compile(
    r" (loads/\S+ .*|(p[io]ng \d+(; )?)+|hello from .*|ready|end of stream: connection refused)$"
)

Story = Callable[["Stage"], Coroutine[Any, Any, None]]


class Stage:
    """A running cluster with one client, one log, and parties.

    Attributes:
        shard: the shard of the log.
        source, target: two parties whose shards are on different nodes.
    """

    def __init__(self, cluster: SimulatedCluster) -> None:
        self.cluster = cluster
        self.shard = cluster.gates[0].router.table.shard_of(ObjectKey(DEFAULT_NAMESPACE, "Log", LOG))
        self._client: SimulatedClient = cluster.clients[0]
        self._entries = 0
        parties = [f"party-{number}" for number in range(PARTIES)]
        self.source = parties[0]
        here = self.node_of(party_key(self.source))
        self.target = next(party for party in parties if self.node_of(party_key(party)) is not here)

    def node_of(self, key: ObjectKey) -> SimulatedNode:
        """Return the node that serves an object, as the gate sees it."""
        table = self.cluster.gates[0].router.table
        route = table.route(table.shard_of(key))
        assert route is not None
        return self.cluster.nodes[route.node]

    @property
    def owner(self) -> SimulatedNode:
        """The node that serves the log, as the gate sees it."""
        return self.node_of(ObjectKey(DEFAULT_NAMESPACE, "Log", LOG))

    @property
    def other(self) -> SimulatedNode:
        """The other node."""
        return next(node for node in self.cluster.nodes.values() if node is not self.owner)

    def tell(self, text: str) -> None:
        """Add a sentence to the trace."""
        self.cluster.world.note("story", text)

    async def append(self, key: str | None = None, *, kind: str = "append", pause_s: float = 0.0) -> None:
        """Append the next entry to the log, and wait for the reply."""
        self._entries += 1
        await self._client.carry_out(Plan(kind, LOG, self._entries, key, pause_s))
        await asyncio.sleep(PAUSE_S)

    async def repeat(self, key: str) -> None:
        """Make the last call again with the same key."""
        await self._client.attempt(Plan("append", LOG, self._entries, key))
        await asyncio.sleep(PAUSE_S)

    async def look(self) -> None:
        """Read the log by a readonly call."""
        await self._client.carry_out(Plan("look", LOG, None, None))
        await asyncio.sleep(PAUSE_S)

    async def send(self, **parcel: Any) -> None:
        """Let one party send the other a reliable call, whose id is its name."""
        parcels = [Parcel(to=self.target, has_id=True, **parcel)]
        await self.cluster.senders[0].post(self.source, "post", parcels)

    async def settled(self) -> None:
        """Wait until the receipt of a call that is pending is durable."""
        left = self.cluster.watchers.calls.left
        await self.cluster.until(lambda: any(call.receipt for call in left.values()), 60.0, look_s=LOOK_S)

    async def ended(self) -> None:
        """Wait until all reliable calls have ended."""
        await self.cluster.drained()
        await asyncio.sleep(PAUSE_S)

    async def served_again(self, node: SimulatedNode | None = None) -> None:
        """Wait until all shards are served, and the log by ``node``."""
        await self.cluster.until(lambda: not self.cluster.unserved() and node in (None, self.owner), 60.0)


async def call(stage: Stage) -> None:
    """A client appends twice with a key, and the second call is a repetition: it gets the stored reply."""
    await stage.append("k1")
    stage.tell("the client repeats the call with its key")
    await stage.repeat("k1")
    stage.tell("the client reads: the reply comes from memory, without a commit")
    await stage.look()


async def handoff(stage: Stage) -> None:
    """A shard moves while a call is running: the old owner commits it, then gives the shard away."""
    await stage.append()
    cluster, other = stage.cluster, stage.other
    running = asyncio.ensure_future(stage.append(kind="append_slowly", pause_s=0.6))
    await asyncio.sleep(0.1)
    stage.tell(f"an operator pins shard {stage.shard} to {other.name}")
    cluster.keys.write([], [Put(cluster.layout.pin(stage.shard), other.name.encode())])
    await asyncio.sleep(0.3)
    stage.tell("another call comes while the shard is closing")
    await stage.append()
    await running
    await stage.served_again(other)


async def failover(stage: Stage) -> None:
    """The owner's machine dies with a call under way. Its lease ends, and the other node takes over all shards."""
    await stage.append()
    other = stage.other
    running = asyncio.ensure_future(stage.append("k1", kind="append_slowly", pause_s=0.5))
    await asyncio.sleep(0.1)
    stage.owner.kill(host_down=True)
    await stage.served_again(other)
    await running


async def fenced_commit(stage: Stage) -> None:
    """A node is cut off from etcd and replaced. A gate that does not know yet sends it a call: the store refuses it."""
    await stage.append()
    cluster, old, gate = stage.cluster, stage.owner, stage.cluster.gates[0]
    ways = [(old.name, etcd.NAME), (etcd.NAME, old.name)]
    stage.tell(f"{old.name} and {gate.name} are cut off from etcd")
    cluster.world.sever([*ways, (gate.name, etcd.NAME), (etcd.NAME, gate.name)])
    other = stage.other
    await cluster.until(lambda: other.keeper.epoch(stage.shard) is not None, 60.0)
    stage.tell(f"{gate.name} still sends calls to {old.name}")
    running = asyncio.ensure_future(stage.append())
    await asyncio.sleep(0.5)
    stage.tell("the network is whole again")
    cluster.world.mend(tuple(cluster.world.cut))
    await running
    await stage.served_again()


async def etcd_loss(stage: Stage) -> None:
    """etcd loses all keys. The nodes register again and keep their shards, and calls go on."""
    await stage.append()
    stage.tell("etcd is emptied")
    stage.cluster.keys.restore(None)
    await asyncio.sleep(0.5)
    await stage.append()
    await stage.served_again()
    stage.tell("every shard is served by its owner from before")
    await stage.look()


async def reliable_call(stage: Stage) -> None:
    """A party sends another a reliable call: the commit of its turn, the commit at the receiver, and the removal."""
    await stage.send(name="parcel")
    await stage.ended()


async def outcome(stage: Stage) -> None:
    """The receiver refuses a reliable call. The outcome is a turn of the sender, whose commit also removes the call."""
    await stage.send(name="parcel", how="refuse", then="ended")
    await stage.ended()


async def redelivery(stage: Stage) -> None:
    """The receiver's node dies after the commit of a reliable call, before its reply. The next owner repeats that."""
    await stage.send(name="parcel", then="ended")
    await stage.settled()
    stage.node_of(party_key(stage.target)).kill()
    await stage.ended()


STORIES: Final[dict[str, Story]] = {
    story.__name__: story
    for story in (call, handoff, failover, fenced_commit, etcd_loss, reliable_call, outcome, redelivery)
}


def trace(name: str) -> str:
    """Return the trace of a story, with its purpose on top."""
    story = STORIES[name]
    cluster = SimulatedCluster(0, LARGER if story is redelivery else SMALL, traced=True, steady=True)

    async def play() -> None:
        await cluster.start()
        await asyncio.sleep(1.0)
        cluster.world.trace.clear()
        await story(Stage(cluster))
        lines.extend(cluster.world.trace)
        cluster.judge()
        await cluster.end()

    lines: list[str] = []
    found = cluster.play(play()).found
    assert not found, found
    shown = sorted((line for line in lines if not _LEFT_OUT.search(line)), key=_order)
    return "\n".join((f"# {inspect.getdoc(story)}", "", *shown, ""))


def _order(line: str) -> tuple[str, bool, str]:
    when, who = line[:9], line[9:]
    return when, not who.lstrip().startswith("story"), who
