"""The application of tests that kill a process between two steps of a reliable call.

A buyer orders from a shop, and receives the outcome. The functions of the product in which a step ends are wrapped: the
process that reaches a step for which there is a file (``fault_at``) removes the file and kills itself. So each fault
happens once, in one process.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from goverse import Object, Outcome, call, handler
from goverse.model.effects import Effects
from goverse.model.frames import Reply
from goverse.model.receipts import Delivery
from goverse.model.records import CommitRecord
from goverse.ports.store import CommitOutcome
from goverse_node.messages.deliveries import Deliveries
from goverse_node.messages.dispatcher import Dispatcher
from goverse_node.messages.outboxes import Pair
from goverse_node.node import Node
from goverse_node.runtime.call import Call
from goverse_node.stores.postgres.store import PostgresStore
from goverse_node.stores.wal.store import WalStore
from tests.chaos.journal import Journal, Relay

__all__ = ["Buyer", "Journal", "Relay", "Shop"]

FOLDER: Final = "CLUSTER_FOLDER"
"""The environment variable with the folder of the cluster (``tests.cluster_processes``) or of the server."""

AT_SENDER: Final = ("sent", "dispatched", "answered", "concluding", "concluded")
AT_RECEIVER: Final = ("arrived", "ran", "settled")
STEPS: Final = ("sent", "dispatched", "arrived", "ran", "settled", "answered", "concluding", "concluded")
"""The moments at which the process ends, in order:

========== ============================================================================
sent       the sender's commit is durable, and the dispatcher does not know of the call
dispatched the delivery was given to the link
arrived    the receiver's node has the delivery, and its turn has not begun
ran        the receiver's turn has ended, and its commit has not begun
settled    the receiver's commit is durable, and nothing was answered
answered   the answer is at the sender's node, which has not taken note of it
concluding the turn with the outcome has run, and its commit has not begun
concluded  the commit that removes the call is durable, and nothing else happened
========== ============================================================================
"""


class Shop(Object):
    """Takes orders."""

    taken: list[str] = []

    @handler
    async def take(self, order: str) -> int:
        """Take an order, and return the number of all."""
        self.taken.append(order)
        return len(self.taken)

    @call(readonly=True)
    async def logs(self) -> list[str]:
        """Return the orders that were taken."""
        return self.taken


class Buyer(Object):
    """Sends orders.

    Attributes:
        ends: name, state and result of each order that has ended.
    """

    ends: list[tuple[str, str, int]] = []

    @call
    async def order(self, order: str, shop: str) -> None:
        """Send an order."""
        self.sending(then=self.ordered, id=order)(self.ref(Shop, shop).take, order=order)

    @handler
    async def ordered(self, outcome: Outcome[int]) -> None:
        """Log the end of an order."""
        self.ends.append((outcome.id, outcome.state, outcome.value if outcome.ok else 0))

    @call(readonly=True)
    async def logs(self) -> list[tuple[str, str, int]]:
        """Return the orders that have ended."""
        return self.ends


def fault_at(step: str, folder: str | Path) -> Path:
    """Return the file that ends a process of the cluster, or of the server, in ``folder`` at ``step``."""
    return Path(folder) / f"fault-{step}"


def strike(step: str) -> None:
    """End the process here if there is a file for it."""
    try:
        fault_at(step, os.environ[FOLDER]).unlink()
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def _strike_around_commits(store: Any) -> None:
    commit = store.commit

    def touches(batch: Sequence[CommitRecord], what: Callable[[Effects], object]) -> bool:
        return any(record.effects is not None and what(record.effects) for record in batch)

    async def wrapped(self: Any, batch: Sequence[CommitRecord]) -> Sequence[CommitOutcome]:
        settles = touches(batch, lambda effects: effects.settles)
        removes = touches(batch, lambda effects: effects.removes)
        if settles:
            strike("ran")
        if removes:
            strike("concluding")
        outcomes: Sequence[CommitOutcome] = await commit(self, batch)
        if settles:
            strike("settled")
        if removes:
            strike("concluded")
        return outcomes

    store.commit = wrapped


def _wrap() -> None:
    """Wrap the functions in which a step ends."""
    committed, start, deliver, answered = Dispatcher.committed, Deliveries._start, Node.deliver, Dispatcher._answered

    def strike_sent(self: Dispatcher, record: CommitRecord, commit_seq: int) -> None:
        if record.effects is not None and record.effects.sends:
            strike("sent")
        committed(self, record, commit_seq)

    def strike_dispatched(self: Deliveries, pair: Pair, delivery: Delivery) -> None:
        start(self, pair, delivery)
        strike("dispatched")

    def strike_arrived(self: Node, call: Call) -> None:
        if call.request.delivery is not None:
            strike("arrived")
        deliver(self, call)

    def strike_answered(self: Dispatcher, pair: Pair, delivery: Delivery, reply: Reply) -> None:
        if reply.settled:
            strike("answered")
        answered(self, pair, delivery, reply)

    Dispatcher.committed = strike_sent  # type: ignore[method-assign]
    Deliveries._start = strike_dispatched  # type: ignore[method-assign]
    Node.deliver = strike_arrived  # type: ignore[method-assign]
    Dispatcher._answered = strike_answered  # type: ignore[method-assign]
    _strike_around_commits(PostgresStore)
    _strike_around_commits(WalStore)


if FOLDER in os.environ:
    _wrap()
