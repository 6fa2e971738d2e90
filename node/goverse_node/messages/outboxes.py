"""The pending calls of a node in memory: by number, by sender, and by pair, for the shards that it serves.

A shard is *loading* while its outboxes are being read. Records of its objects that become durable in the meantime wait
in ``late``, so that the calls of each pair are added in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from goverse.errors import Unavailable
from goverse.model.effects import CallState, PendingCall, SentCall
from goverse.model.frames import Problem, Reply
from goverse.model.keys import ObjectKey
from goverse.model.records import CommitRecord
from goverse_node.messages.channel import Channel, Pending, Void
from goverse_node.runtime.group_commit import PendingCommit


@dataclass(slots=True, eq=False)
class Pair:
    """The calls from one object to another.

    A call with a due time is alone in a pair of its own until it is due. Only then does it join the order of the pair.

    Attributes:
        sender, receiver: the objects.
        shard: the sender's shard.
        channel: the calls, in order.
        delayed: True for the pair of a call that is not due yet.
        closed: True once this node no longer serves the sender's shard.
        queued: True while it is in the queue of pairs to serve.
        waiting: True while it waits for room at its receiver.
        wakes_ms: the earliest time at which it will be served without a further event, or None.
        ending: True while a commit about its first calls is in progress, or waits to be repeated.
        suspected: True once one of its calls was suspected of having ended a node.
    """

    sender: ObjectKey
    receiver: ObjectKey
    shard: int
    channel: Channel
    delayed: bool = False
    closed: bool = False
    queued: bool = False
    waiting: bool = False
    wakes_ms: int | None = None
    ending: bool = False
    suspected: bool = False


@dataclass(slots=True, eq=False)
class Entry:
    """A pending call.

    Attributes:
        call: the call, as it was committed.
        number: its number.
        pair: its pair.
        place: its place there.
        due_ms: the running time at which a delayed call is due.
        problem: the error of its latest attempt, or None.
        reply, state: its outcome, once it is known.
        trials: failed attempts of its ``then``.
        refusals: times that its ``then`` or a commit about it could not run for now.
        marks: queued records with a mark on it.
        again: the queued record that removes it and sends it again, or None.
        former: the number that it had before it was sent again, or 0.
        crashes: the attempts of its latest mark (``goverse_node.messages.quarantine``).
        on_trial: True while it runs alone, or did when its delivery was lost.
    """

    call: SentCall
    number: int
    pair: Pair
    place: Pending
    due_ms: int = 0
    problem: Problem | None = None
    reply: Reply | None = None
    state: CallState | None = None
    trials: int = 0
    refusals: int = 0
    marks: int = 0
    again: PendingCommit | None = None
    former: int = 0
    crashes: int = 0
    on_trial: bool = False

    @property
    def pending(self) -> PendingCall:
        """The call as it is in the outbox."""
        void = "" if self.place.void is None else self.place.void.value
        pair = self.pair
        return PendingCall(self.number, pair.sender, pair.shard, self.call, self.crashes, void)


@dataclass(slots=True, eq=False)
class Shard:
    """The outboxes of one shard.

    Attributes:
        epoch: the epoch under which the node serves the shard.
        loading: True until they have been read.
        interrupted: True unless the last process that served the shard is known to have released it.
        late: durable records of its objects that wait until then, with their positions.
        entries: its pending calls, by number.
        paused: the pairs of its objects that are paused.
    """

    epoch: int | None = 0
    loading: bool = True
    interrupted: bool = False
    late: deque[tuple[CommitRecord, int]] = field(default_factory=deque[tuple[CommitRecord, int]])
    entries: dict[int, Entry] = field(default_factory=dict[int, Entry])
    paused: dict[Pair, None] = field(default_factory=dict[Pair, None])


class Outboxes:
    """The pending calls of the shards that the node serves.

    Attributes:
        shards: these shards.
        entries: all pending calls, by number.
        pairs: the pairs, by sender and receiver, without those of delayed calls.
        delayed: the number of delayed calls.
    """

    def __init__(self) -> None:
        self.shards: dict[int, Shard] = {}
        self.entries: dict[int, Entry] = {}
        self.pairs: dict[tuple[ObjectKey, ObjectKey], Pair] = {}
        self.delayed = 0
        self._by_sender: dict[ObjectKey, dict[int, Entry]] = {}
        self._by_id: dict[str, list[Entry]] = {}
        self._former: dict[int, Entry] = {}

    def is_read(self, shard: int) -> bool:
        """True if the pending calls of a shard are known: the node serves it and has read them."""
        found = self.shards.get(shard)
        return found is not None and not found.loading

    def of_sender(self, sender: ObjectKey) -> Sequence[Entry]:
        """Return the pending calls of an object, in order."""
        return tuple(self._by_sender.get(sender, {}).values())

    def count(self, sender: ObjectKey) -> int:
        """Return the number of pending calls of an object."""
        return len(self._by_sender.get(sender, ()))

    def named(self, sender: ObjectKey, call_id: str) -> Entry | None:
        """Return the call of an object with this id, or None."""
        return next((entry for entry in self._by_id.get(call_id, ()) if entry.pair.sender == sender), None)

    def with_id(self, namespace: str, call_id: str) -> Sequence[Entry]:
        """Return the calls with this id; several senders can use one id."""
        return [entry for entry in self._by_id.get(call_id, ()) if entry.pair.sender.namespace == namespace]

    def present(self, number: int) -> Entry | None:
        """Return the call that has this number, or had it before it was sent again; None if it is not pending."""
        return self.entries.get(number) or self._former.get(number)

    def succeeds(self, entry: Entry, former: int) -> None:
        """Note that a call had the number ``former`` before it was sent again."""
        entry.former = former
        self._former[former] = entry

    def add(self, found: PendingCall, *, expires_ms: int, due_ms: int) -> Entry:
        """Add a call. Both times are running time; the call is delayed if ``due_ms`` is not 0."""
        number, sender, shard, call = found[:4]
        place = Pending(number, expires_ms, call.attempts_max, id=call.id, holds=call.on_failure == "hold")
        place.void = Void(found.void) if found.void else None
        pair = self._pair(sender, call.receiver, shard, delayed=bool(due_ms))
        pair.channel.append(place)
        entry = Entry(call, number, pair, place, due_ms, crashes=found.attempts)
        self.entries[number] = entry
        self.shards[shard].entries[number] = entry
        self._by_sender.setdefault(sender, {})[number] = entry
        self._by_id.setdefault(call.id, []).append(entry)
        return entry

    def remove(self, entry: Entry) -> None:
        """Remove a call whose outcome was committed, or a delayed one that joins its pair under a new number."""
        number, pair = entry.number, entry.pair
        del self.entries[number], self.shards[pair.shard].entries[number]
        calls = self._by_sender[pair.sender]
        del calls[number]
        if not calls:
            del self._by_sender[pair.sender]
        self._forget_names(entry)
        if pair.delayed:
            self.delayed -= 1
            pair.closed = True
            return
        pair.channel.remove(number)
        self._drop_if_empty(pair)

    def pause(self, sender: ObjectKey, receiver: ObjectKey, shard: int) -> None:
        """Pause a pair, until ``resume`` or ``close``.

        Raises:
            Unavailable: the node has not begun to read the outboxes of the shard, or closed it.
        """
        found = self.shards.get(shard)
        if found is None:
            raise Unavailable(f"the pending calls of {sender} are not known yet; try again")
        pair = self._pair(sender, receiver, shard, delayed=False)
        pair.channel.paused = True
        found.paused[pair] = None

    def resume(self, sender: ObjectKey, receiver: ObjectKey) -> Pair | None:
        """End the pause of a pair, and return the pair; None if it is not paused."""
        pair = self.pairs.get((sender, receiver))
        if pair is None or not pair.channel.paused:
            return None
        pair.channel.paused = False
        del self.shards[pair.shard].paused[pair]
        self._drop_if_empty(pair)
        return pair

    def paused(self) -> Iterator[Pair]:
        """Iterate over the paused pairs."""
        return (pair for shard in self.shards.values() for pair in shard.paused)

    def _drop_if_empty(self, pair: Pair) -> None:
        """Forget a pair without calls, unless it is paused."""
        if not len(pair.channel) and not pair.channel.paused:
            self.pairs.pop((pair.sender, pair.receiver), None)
            pair.closed = True

    def close(self, shard: int) -> None:
        """Forget the calls of a shard."""
        found = self.shards.pop(shard, None)
        if found is None:
            return
        for number, entry in found.entries.items():
            del self.entries[number]
            self._by_sender.pop(entry.pair.sender, None)
            self._forget_names(entry)
            if entry.pair.delayed:
                self.delayed -= not entry.pair.closed
            else:
                self.pairs.pop((entry.pair.sender, entry.pair.receiver), None)
            entry.pair.closed = True
        for pair in found.paused:
            self.pairs.pop((pair.sender, pair.receiver), None)
            pair.closed = True

    def _forget_names(self, entry: Entry) -> None:
        self._former.pop(entry.former, None)
        named = self._by_id[entry.call.id]
        named.remove(entry)
        if not named:
            del self._by_id[entry.call.id]

    def _pair(self, sender: ObjectKey, receiver: ObjectKey, shard: int, *, delayed: bool) -> Pair:
        if delayed:
            self.delayed += 1
            return Pair(sender, receiver, shard, Channel(sender), delayed=True)
        found = self.pairs.get((sender, receiver))
        if found is None:
            found = self.pairs[sender, receiver] = Pair(sender, receiver, shard, Channel(sender))
        return found
