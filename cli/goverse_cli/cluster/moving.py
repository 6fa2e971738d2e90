"""A single move of a shard: a temporary pin under its own lease, removed as soon as the shard has arrived.

The leader treats it like any other pin, so a move needs no code of its own in the leader. If the process that requested
the move dies, its lease expires and etcd deletes the pin.
"""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple

from goverse.cluster.keys import KeyLayout
from goverse.cluster.view import ClusterView
from goverse.ports.coordinator import Coordinator, Guard, Put
from goverse_cli.failure import Failure

_LEASE_S: Final = 15.0
_LOOK_S: Final = 0.25  # poll interval; each poll reads all keys of the cluster


class Moved(NamedTuple):
    """A completed move: the node that served the shard before, and the duration."""

    source: str | None
    seconds: float


async def move(coordinator: Coordinator, layout: KeyLayout, shard: int, node: str, *, timeout_s: float) -> Moved:
    """Move ``shard`` to ``node`` and return when the node serves it.

    Raises:
        Failure: the shard is pinned, or the move took longer than ``timeout_s``; the message has the likely reason.
        Unavailable: etcd does not respond.
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
                hint=f"remove the pin first: goverse shards unpin {shard}",
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
    view.reload(snapshot.entries, snapshot.revision)
    return view


def _claimant(view: ClusterView, shard: int) -> str | None:
    found = [(claims.epochs[shard], node) for node, claims in view.claims.items() if shard in claims.epochs]
    return max(found)[1] if found else None


def _late(view: ClusterView, shard: int, node: str, timeout_s: float) -> Failure:
    target = view.targets.owner(shard) if view.targets is not None else None
    if view.leader is None:
        why = "the cluster has no leader"
        hint = "a new leader is elected within one lease period; goverse nodes list shows it"
    elif node in view.drains:
        why, hint = f"{node} is being drained", f"end the drain: goverse nodes drain {node} --undo"
    elif target != node:
        why = "the leader has not planned it: too many other shards are moving, or too few nodes are registered"
        hint = "try again"
    else:
        why = f"the move has started, but {_claimant(view, shard) or 'no node'} serves the shard"
        hint = "a long-running method can delay a move by some seconds; goverse shards list shows its progress"
    return Failure(f"shard {shard} did not move to {node} within {timeout_s:g} s: {why}", hint=hint)
