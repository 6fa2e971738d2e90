"""How a node leaves its cluster."""

from __future__ import annotations

from enum import Enum, auto

from goverse.cluster.member import MemberState
from goverse.cluster.view import ClusterView


class Shutdown(Enum):
    """What an operator or the process manager asked for."""

    GRACEFUL = auto()  # the leader moves its shards away first, where there is a node that can take them
    FAST = auto()  # it closes them all at once and comes back soon
    FINAL = auto()  # it closes them all at once; the budget of a graceful shutdown is spent


def closes_all(how: Shutdown | None, view: ClusterView, node_id: str) -> bool:
    """Tell whether a node waits for no other one: it comes back soon, its time is up, or there is nobody."""
    if how is not Shutdown.GRACEFUL:
        return how is not None
    others = (member for node, member in view.nodes.items() if node != node_id)
    return not any(member.state is MemberState.SERVING for member in others)
