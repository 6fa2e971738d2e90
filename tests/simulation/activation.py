"""A simulated activation: one object in a node's memory, one turn at a time, replies behind output gates."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tests.simulation.calls import MOVING, Answer, Kind, Reply, Request
from tests.simulation.settings import Bug
from tests.simulation.store import Record, Refused

if TYPE_CHECKING:
    from tests.simulation.node import SimulatedNode


@dataclass
class Pending:
    """A record that is being committed, and the replies that wait for it."""

    record: Record
    activation: Activation
    replies: list[Reply]
    request: Request | None = None


class Activation:
    """One object in the memory of a node, loaded under one epoch and lost when the node crashes."""

    def __init__(self, node: SimulatedNode, number: int, shard: int, epoch: int) -> None:
        self.node = node
        self.number = number
        self.shard = shard
        self.epoch = epoch
        self.entries: tuple[int, ...] = ()
        self.gone = False
        self.failed = False
        self.closing = False
        self.tail: Pending | None = None
        self._loaded = False
        self._running: Request | None = None
        self._mailbox: deque[Request] = deque()
        self._keyed: dict[str, Pending] = {}
        self._load()

    # --- coming and going ---------------------------------------------------------------------------------------------

    def _load(self) -> None:
        store = self.node.cluster.store
        number = self.number

        def loaded(entries: Any) -> None:
            if self.gone:
                return
            if entries is None:
                self._load()
                return
            self.entries, self._loaded = entries, True
            self.admit()

        store.request(self.node, lambda: store.logs.get(number, ()), loaded)

    @property
    def idle(self) -> bool:
        """True while no request runs or waits and no record is being committed."""
        return self._running is None and not self._mailbox and self.tail is None

    def close(self) -> None:
        """Start no more turns. Waiting requests get `moving`; the running one finishes."""
        self.closing = True
        waiting, self._mailbox = self._mailbox, deque()
        for request in waiting:
            request.reply(MOVING)

    def cancel(self) -> None:
        """End the running turn without an effect."""
        running, self._running = self._running, None
        if running is not None:
            running.reply(MOVING)

    def drop(self, *, again: bool = False) -> None:
        """Leave memory immediately. Turns end without an effect; requests get `moving`, or start again on this node."""
        if self.gone:
            return
        self.gone = True
        self.node.forget(self)
        left = [*([self._running] if self._running is not None else []), *self._mailbox]
        self._running, self._mailbox = None, deque()
        for request in left:
            if again:
                self.node.receive(request)
            else:
                request.reply(MOVING)

    # --- turns --------------------------------------------------------------------------------------------------------

    def deliver(self, request: Request) -> None:
        """Add a request to the mailbox."""
        self._mailbox.append(request)
        self.admit()

    def admit(self) -> None:
        """Start the next turn unless one is running."""
        if not self._loaded or self._running is not None or not self._mailbox or self.gone:
            return
        request = self._running = self._mailbox.popleft()
        if request.key is not None and request.key in self._keyed:
            self._keyed[request.key].replies.append(request.reply)
            self._end()
        elif request.looks_up:
            self._recall(request)
        else:
            self.node.after(self.node.turn_time(), lambda: self._run(request))

    def _recall(self, request: Request) -> None:
        store, at = self.node.cluster.store, (self.number, request.key or "")

        def recalled(found: Any) -> None:
            if self.gone or self._running is not request:
                return
            if found is None:
                self._recall(request)
            elif found[0] is not None:
                request.reply(Answer(Kind.DONE, found[0]))
                self._end()
            else:
                self.node.after(self.node.turn_time(), lambda: self._run(request))

        store.request(self.node, lambda: (store.replies.get(at),), recalled)

    def _run(self, request: Request) -> None:
        if self.gone or self._running is not request:
            return
        if request.entry is None:
            self._answer(request)
        else:
            record = Record(self.shard, self.epoch, self.number, len(self.entries), request.entry, request.key)
            self.entries = (*self.entries, request.entry)
            self.tail = Pending(record, self, [request.reply], request)
            if request.key is not None:
                self._keyed[request.key] = self.tail
            self.node.append(self.tail)
        self._end()

    def _end(self) -> None:
        self._running = None
        self.admit()
        self.node.look_for_emptied(self.shard)

    def _answer(self, request: Request) -> None:
        """Answer a request that committed nothing.

        The reply waits for the newest commit in progress. Without one it leaves immediately if the lease is valid;
        otherwise an empty record checks the epoch first.
        """
        entries = self.entries

        def answer(found: Answer) -> None:
            request.reply(replace(found, entries=entries) if found.kind is Kind.DONE else found)

        if self.tail is not None:
            self.tail.replies.append(answer)
        elif self.node.sure(self.shard, self.epoch) or Bug.UNCHECKED_REPLIES in self.node.cluster.settings.bugs:
            answer(Answer(Kind.DONE))
        else:
            self.node.append(Pending(Record(self.shard, self.epoch, self.number), self, [answer]))

    # --- commits ------------------------------------------------------------------------------------------------------

    def settled(self, pending: Pending, outcome: Any) -> None:
        """Handle the outcome of a record and send the replies that wait for it."""
        if self.tail is pending:
            self.tail = None
        if pending.record.key is not None and self._keyed.get(pending.record.key) is pending:
            del self._keyed[pending.record.key]
        if not isinstance(outcome, Refused):
            for reply in pending.replies:
                reply(Answer(Kind.DONE, outcome))
            self.node.look_for_emptied(self.shard)
            return
        self.failed = True
        self.drop(again=not outcome.fenced)
        if outcome.fenced:
            self.node.fenced(self.shard, self.epoch)
        first, *others = pending.replies
        if outcome.repeated and pending.request is not None:
            self.node.receive(replace(pending.request, recall=True))
        else:
            first(MOVING)
        for reply in others:
            reply(MOVING)
