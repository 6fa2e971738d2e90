"""A one-off move of a shard: a pin under a lease of its own, taken back as soon as the shard is where it should be.

The leader carries it out as any pin, so there is nothing new to go wrong; if whoever asked for it dies, the lease
ends and the pin with it.
"""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple

from goverse.cluster.keys import KeyLayout
from goverse.cluster.view import ClusterView, Entry
from goverse.ports.coordinator import Coordinator, Guard, Put
from goverse_cli.failure import Failure

_LEASE_S: Final = 15.0
_LOOK_S: Final = 0.25  # each look reads what the whole cluster says


class Moved(NamedTuple):
    """A move that arrived: from where, and how long that took."""

    source: str | None
    seconds: float


async def move(coordinator: Coordinator, layout: KeyLayout, shard: int, node: str, *, timeout_s: float) -> Moved:
    """Have ``node`` serve ``shard``; return once it does.

    Raises:
        Failure: the shard is pinned, or it did not arrive in time; says why that may be.
        Unavailable: etcd does not answer.
    """
    now = asyncio.get_running_loop().time
    began = now()
    view = await _look(coordinator, layout)
    source = _claimant(view, shard)
    if source == node:
        return Moved(source, 0.0)
    lease = await coordinator.grant(_LEASE_S)
    try:
        key = layout.pin(shard)
        if await coordinator.write([Guard(key, create_revision=0)], [Put(key, node.encode(), lease.lease_id)]) is None:
            raise Failure(
                f"shard {shard} is pinned to {view.pins.get(shard, 'a node')}",
                hint=f"first goverse shards unpin {shard}",
            )
        refresh_at = now() + _LEASE_S / 3
        while _claimant(view, shard) != node:
            if now() >= began + timeout_s:
                raise _late(view, shard, node, timeout_s)
            await asyncio.sleep(_LOOK_S)
            if now() >= refresh_at:
                await coordinator.refresh(lease.lease_id)
                refresh_at = now() + _LEASE_S / 3
            view = await _look(coordinator, layout)
    finally:
        await coordinator.revoke(lease.lease_id)
    return Moved(source, now() - began)


async def _look(coordinator: Coordinator, layout: KeyLayout) -> ClusterView:
    snapshot = await coordinator.read(layout.prefix)
    view = ClusterView(layout)
    view.reload((Entry(*entry) for entry in snapshot.entries), snapshot.revision)
    return view


def _claimant(view: ClusterView, shard: int) -> str | None:
    found = [(claims.epochs[shard], node) for node, claims in view.claims.items() if shard in claims.epochs]
    return max(found)[1] if found else None


def _late(view: ClusterView, shard: int, node: str, timeout_s: float) -> Failure:
    target = view.targets.owner(shard) if view.targets is not None else None
    if view.leader is None:
        why, hint = "no node leads", "goverse nodes list shows who is there; a leader is elected within a lease's time"
    elif node in view.drains:
        why, hint = f"{node} is drained", f"goverse nodes drain {node} --undo"
    elif target != node:
        why, hint = "the leader has not planned it: too many other shards move, or too few nodes are there", "try again"
    else:
        why = f"it is on its way, and {_claimant(view, shard) or 'nobody'} still serves it"
        hint = "a method that runs for long holds it for some seconds; goverse shards list shows moves"
    return Failure(f"shard {shard} did not move to {node} within {timeout_s:g} s: {why}", hint=hint)
