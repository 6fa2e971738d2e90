"""Ways in which a node leaves its cluster."""

from __future__ import annotations

from enum import Enum, auto

from goverse.cluster.member import MemberState
from goverse.cluster.view import ClusterView


class Shutdown(Enum):
    """The kind of shutdown that the operator or the process manager requested."""

    GRACEFUL = auto()  # the leader first moves the shards away, if another node can take them
    FAST = auto()  # the node closes all shards immediately; it will restart soon
    FINAL = auto()  # the node closes all shards immediately; the time of a graceful shutdown is used up


def closes_all(how: Shutdown | None, view: ClusterView, node_id: str) -> bool:
    """Return True if the node closes all its shards without waiting for the leader to move them.

    That is the case if it will restart soon, if its time is used up, or if no other node is serving.
    """
    if how is not Shutdown.GRACEFUL:
        return how is not None
    others = (member for node, member in view.nodes.items() if node != node_id)
    return not any(member.state is MemberState.SERVING for member in others)
