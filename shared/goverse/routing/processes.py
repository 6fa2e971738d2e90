"""The processes behind the node ids of a cluster, and those that have ended while calls were on their way to them.

A call can end the process that runs it. The router therefore remembers, for a call whose connection broke, with which
process that happened (``lost_with``). Before it sends the call again it asks whether that process has ended:

* A process that is registered has not. Only the connection broke, so the call is sent again.
* One that was draining or restarting ended on purpose.
* Any other process is counted: it ended while it had the call. It may have been frozen or cut off instead; nothing here
  can tell, so one such process is no reason to give a call up.

A plain call that lost three processes in this way is not carried to a fourth one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from goverse.cluster.member import Member, MemberState
from goverse.errors import Executed, SuspectedCrash, known

LOST_MAX: Final = 3
"""Processes that a plain call may lose. Its neighbours are lost with them, and go to the same next process. So one loss
proves nothing, and the second one can be an accident while a cluster is in trouble."""

_LEFT_MAX: Final = 1_000


class Processes:
    """The processes of a cluster, by their incarnations."""

    def __init__(self) -> None:
        """No process is known."""
        self._living: set[str] = set()
        self._of_node: dict[str, str] = {}
        self._leaving: dict[str, None] = {}

    def follow(self, members: Mapping[str, Member]) -> None:
        """Take note of the registered nodes."""
        self._living = {member.incarnation for member in members.values()}
        for node, member in members.items():
            self._of_node[node] = member.incarnation
            if member.state is not MemberState.SERVING:
                self._leaving[member.incarnation] = None
        while len(self._leaving) > _LEFT_MAX:
            del self._leaving[next(iter(self._leaving))]

    def at(self, node: str) -> str:
        """Return the process that was registered last under this id."""
        return self._of_node.get(node, "")

    def has_ended(self, process: str) -> bool:
        """True if a process ended, and not on purpose."""
        return bool(process) and process not in self._living and process not in self._leaving

    def refusal(self, lost: Iterable[str]) -> SuspectedCrash | None:
        """Return the error for a plain call that lost these processes, or None if it may be sent again."""
        ended = sorted(process for process in set(lost) if self.has_ended(process))
        if len(ended) < LOST_MAX:
            return None
        return known(
            SuspectedCrash(
                f"{len(ended)} nodes ended while they had this call, so the request may have ended them; it is not "
                "sent to a further node. Look for the method in the logs of these nodes before you send it again"
            ),
            Executed.UNKNOWN,
        )


def ended_with(process: str) -> SuspectedCrash:
    """Return the answer to a delivery that is not made, because the process that it was lost with has ended."""
    return known(SuspectedCrash(f"the process {process} ended during an earlier delivery of this call"), Executed.NO)
