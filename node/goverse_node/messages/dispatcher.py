"""The dispatcher: delivers the reliable calls whose senders are in the shards of this node. One per node.

It receives every durable record with effects (``committed``), and reads the outboxes of a shard once, when the node
begins to serve it (``open``). So it knows all pending calls, and nothing is polled. Its parts:

| part | job |
| --- | --- |
| ``outboxes`` | the pending calls in memory |
| ``channel``  | the rules of one pair |
| ``deliveries`` | requests that are on their way: budget, fairness, deadline |
| ``answers`` | the meaning of an answer |
| ``endings`` | the commit of an outcome |
| ``marking`` | marks on calls that are sent again |
| ``notes`` | pending calls that are never delivered |
| ``sagas`` | what follows from the end of a saga's call |
| ``loading`` | the outboxes of a shard, from the store |
| ``quarantine`` | calls that may have ended a node |
| ``alarm`` | one timer for everything that waits |

A delayed call is in no channel, because calls behind it would have to wait for it. When it is due, a record of its
sender removes it and sends the same call, with the same id, without a due time. It gets a new number by that.
"""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

from goverse.errors import GoverseError, Moving, Overloaded, Unavailable
from goverse.model.effects import Effects, Mark, PendingCall
from goverse.model.frames import Reply
from goverse.model.keys import ObjectKey
from goverse.model.notes import is_note
from goverse.model.receipts import LOST_WITH, SENDS_MAX, Delivery, number_of
from goverse.model.records import CommitRecord
from goverse.ports.outbox import Outbox
from goverse_node.messages.alarm import Alarm
from goverse_node.messages.answers import Answer, meaning_of, state_of, void_outcome
from goverse_node.messages.backoff import Backoff
from goverse_node.messages.channel import Pending, Void
from goverse_node.messages.commits import Commits, MessagesHost
from goverse_node.messages.deliveries import Deliveries
from goverse_node.messages.endings import RETRY, Endings
from goverse_node.messages.loading import Loading
from goverse_node.messages.marking import Marking
from goverse_node.messages.notes import Notes
from goverse_node.messages.outboxes import Entry, Outboxes, Pair, Shard
from goverse_node.messages.quarantine import Quarantine
from goverse_node.runtime.group_commit import LateMark, PendingCommit

_EARLY: Final = Backoff(10, 1_000)
"""Waits of a call that arrived before its predecessor."""

_NEVER_MS: Final = 2**62


@dataclass(slots=True)
class MessageCounts:
    """Totals since the start.

    Attributes:
        ended: calls that left the outbox, by state.
        attempts_failed: attempts that failed.
        duplicates: deliveries that were answered with the kept outcome of an earlier one.
    """

    ended: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("success", "failed", "expired", "cancelled", "dead"), 0)
    )
    attempts_failed: int = 0
    duplicates: int = 0


class Follower(Protocol):
    """Follows the ends of calls, for requests that wait for them."""

    def ended(self, entry: Entry, /) -> None:
        """Take note that the outcome of a call was committed."""
        ...

    def closed(self, shards: Collection[int], /) -> None:
        """Take note that the calls of these shards are not known here any more."""
        ...


class Dispatcher:
    """Delivers reliable calls; see ``goverse_node.runtime.outgoing.Outgoing``.

    Attributes:
        follower: receives the ends of calls, or None.
        outboxes: the pending calls, without notes.
        notes: the notes.
        deliveries: the deliveries that are on their way.
        commits: makes records about the calls of a sender.
        quarantine: the calls that may have ended a node.
        counts: totals for metrics.
    """

    def __init__(self, host: MessagesHost, outbox: Outbox) -> None:
        """Deliver for ``host``, without shards."""
        self._host = host
        self.follower: Follower | None = None
        self.outboxes = Outboxes()
        self.notes = Notes()
        self.counts = MessageCounts()
        self.alarm = Alarm(host.clock)
        self._marking = Marking(self.outboxes, self._join_if_due)
        self.commits = Commits(host, self.committed, self._marking)
        self.quarantine = Quarantine(host, self.outboxes, self.alarm, self.commits)
        self._endings = Endings(host, self.outboxes, self.alarm, self.commits, self.quarantine, notes=self.notes)
        self.deliveries = Deliveries(host, self.outboxes, self.alarm, self._answered, self.quarantine.ready)
        self.quarantine.deliveries = self.deliveries
        self._loading = Loading(outbox, host.entropy, found=self._add, loaded=self._loaded)

    # --- life ---------------------------------------------------------------------------------------------------------

    def open(self, shards: Collection[int], interrupted: Collection[int] = ()) -> None:
        """Read the outboxes of ``shards``, which the node has begun to serve, and deliver their calls.

        The last process that served those in ``interrupted`` may have ended without releasing them.
        """
        opened: dict[int, Shard] = {}
        self.close(shards)
        for shard in shards:
            opened[shard] = self.outboxes.shards[shard] = Shard(
                self._host.shard_access.epoch(shard), interrupted=shard in interrupted
            )
        self._loading.start(opened, self.outboxes.shards)

    async def loaded(self) -> None:
        """Wait until all outboxes that are being read have been read."""
        await self._loading.finished()

    def close(self, shards: Collection[int]) -> None:
        """Start no further delivery from ``shards``, and forget their calls: another node will deliver them."""
        for shard in shards:
            self.outboxes.close(shard)
            self.notes.close(shard)
        if self.follower is not None:
            self.follower.closed(shards)
        self.quarantine.closed()

    def stop_delivering(self) -> None:
        """Start no further delivery, and commit the removals that wait for others."""
        self.deliveries.stop()
        self._endings.stop_waiting()

    def hurry(self) -> None:
        """Commit the removals that wait for others."""
        self._endings.flush()

    @property
    def at_rest(self) -> bool:
        """True if no delivery is on its way, and no outcome is being committed."""
        return not self.deliveries.on_their_way and self._endings.idle()

    def stop(self) -> None:
        """Stop all timers and tasks. What an answer or a commit still reports has no further consequence."""
        self.deliveries.stop()
        self.alarm.stop()
        self._loading.stop()

    # --- Outgoing -----------------------------------------------------------------------------------------------------

    def committed(self, record: CommitRecord, commit_seq: int) -> None:
        """Take note of a durable record with effects.

        A record of an earlier epoch was durable before the shard was opened, so it has been read from the store. It is
        reported late if its answer was: the shard may have moved away and back meanwhile, and its calls have ended.
        """
        shard = self.outboxes.shards.get(record.shard)
        effects = record.effects
        if shard is None or effects is None or record.epoch != shard.epoch:
            return
        if shard.loading:
            shard.late.append((record, commit_seq))
        else:
            self._apply(record.key, record.shard, effects, commit_seq)

    def addressed(self, pending: PendingCommit, late_marks: Sequence[LateMark]) -> PendingCommit:
        """Return the record to queue instead of ``pending``, whose marks name the present numbers of their calls."""
        return self._marking.addressed(pending, late_marks)

    def check_room(self, sender: ObjectKey, count: int) -> None:
        """Check that ``sender`` may have ``count`` further calls pending.

        Raises:
            Overloaded: it would have more than ``SENDS_MAX``.
        """
        pending = self.outboxes.count(sender) + self.notes.count(sender)
        if pending + count > SENDS_MAX:
            self._endings.flush_of(sender)
            raise Overloaded(
                f"{sender} has {pending} pending calls, and {count} more would exceed the limit of {SENDS_MAX}; "
                "try again when some have been delivered"
            )

    def pending_of(self, sender: ObjectKey) -> Sequence[PendingCall]:
        """Return the calls of ``sender`` whose outcome is not known, in order.

        Raises:
            Unavailable: its outbox is still being read, or its shard is leaving this node.
        """
        self._check_loaded(sender)
        return tuple(entry.pending for entry in self.outboxes.of_sender(sender) if not entry.place.settled)

    def find(self, sender: ObjectKey, call_id: str) -> PendingCall | None:
        """Return the pending call of ``sender`` with this id, or None.

        Raises:
            Unavailable: its outbox is still being read, or its shard is leaving this node.
        """
        self._check_loaded(sender)
        found = self.outboxes.named(sender, call_id)
        return None if found is None or found.place.settled else found.pending

    # --- notes --------------------------------------------------------------------------------------------------------

    def note(self, key: ObjectKey, note_id: str) -> PendingCall | None:
        """Return a note; see ``goverse_node.runtime.kept_results.NoteService``."""
        self._check_loaded(key)
        return self.notes.find(key, note_id)

    def notes_of(self, key: ObjectKey) -> Sequence[PendingCall]:
        """Return the notes of an object."""
        self._check_loaded(key)
        return self.notes.of_object(key)

    def write(self, key: ObjectKey, epoch: int, effects: Effects) -> Future[GoverseError | None]:
        """Commit effects of an object in a record of their own."""
        committed: Future[GoverseError | None] = asyncio.get_running_loop().create_future()
        shard = self._host.shard_access.shard_of(key)
        if self._host.shard_access.epoch(shard) == epoch:
            self.commits.commit(key, shard, effects, committed.set_result)
        else:
            committed.set_result(Moving())
        return committed

    def _check_loaded(self, sender: ObjectKey) -> None:
        if not self.outboxes.is_read(self._host.shard_access.shard_of(sender)):
            raise Unavailable(f"the pending calls of {sender} are not known yet; try again")

    # --- commits ------------------------------------------------------------------------------------------------------

    def _apply(self, sender: ObjectKey, shard: int, effects: Effects, commit_seq: int) -> None:
        former: dict[str, int] = {}
        for number in effects.removes:
            entry = self.outboxes.entries.get(number)
            if entry is not None:
                if entry.again is not None:
                    former[entry.call.id] = number
                self._removed(entry)
            else:
                self.notes.remove(shard, number)
        for part, call in enumerate(effects.sends):
            number = number_of(commit_seq, part)
            self._add(PendingCall(number, sender, shard, call))
            if call.id in former:
                self.outboxes.succeeds(self.outboxes.entries[number], former[call.id])
        for mark in effects.marks:
            self._mark(mark)

    def _removed(self, entry: Entry) -> None:
        if entry.state is not None:
            self.counts.ended[entry.state] += 1
            if self.follower is not None:
                self.follower.ended(entry)
        self.outboxes.remove(entry)
        self.quarantine.removed(entry)
        self.deliveries.serve(entry.pair)

    def _add(self, found: PendingCall) -> None:
        if is_note(found.call):
            self.notes.add(found)
            return
        if found.number in self.outboxes.entries:
            return  # read from the store, and then again from a record that became durable meanwhile
        call, alarm = found.call, self.alarm
        expires_ms = alarm.running_ms(call.expires_ms) if call.expires_ms else _NEVER_MS
        due_ms = max(1, alarm.running_ms(call.due_ms)) if call.due_ms else 0
        entry = self.outboxes.add(found, expires_ms=expires_ms, due_ms=due_ms)
        shard = self.outboxes.shards[found.shard]
        if not shard.loading:
            self._begin(entry)
        elif shard.interrupted or found.attempts:
            self.quarantine.read(entry, interrupted=shard.interrupted)

    def _begin(self, entry: Entry) -> None:
        """Begin to deliver a call, or to wait until it is due."""
        if not entry.pair.delayed:
            self.deliveries.serve(entry.pair)
        elif entry.place.void is not None:
            self._end_delayed(entry, entry.place.void)
        else:
            self.alarm.set(min(entry.due_ms, entry.place.expires_ms), partial(self._due, entry))

    def _mark(self, mark: Mark) -> None:
        entry = self.outboxes.entries.get(mark.number)
        if entry is None or not mark.void:
            return
        reason = Void(mark.void)
        if reason is Void.CRASHED:
            self.quarantine.sentence(entry)
        elif entry.pair.delayed:
            self._end_delayed(entry, reason)
        elif entry.pair.channel.give_up(mark.number, reason):
            self.deliveries.serve(entry.pair)

    # --- loading ------------------------------------------------------------------------------------------------------

    def _loaded(self, opened: dict[int, Shard]) -> None:
        """Take note that outboxes were read: apply what became durable meanwhile, and begin to deliver."""
        for number, shard in opened.items():
            if self.outboxes.shards.get(number) is not shard:
                continue
            shard.loading = False
            for entry in tuple(shard.entries.values()):
                self._begin(entry)
            while shard.late:
                record, commit_seq = shard.late.popleft()
                assert record.effects is not None, "only records with effects wait"
                self._apply(record.key, number, record.effects, commit_seq)

    # --- delayed calls ------------------------------------------------------------------------------------------------

    def _due(self, entry: Entry) -> None:
        """Let a delayed call join the order of its pair, or end it if it has expired before.

        While a mark on it is queued, it waits for that (``goverse_node.messages.marking``).
        """
        if entry.pair.closed or entry.place.void is not None or entry.marks or entry.again is not None:
            return
        if entry.place.expires_ms <= self.alarm.now_ms():
            self._end_delayed(entry, Void.EXPIRED)
            return
        sent = entry.call._replace(due_ms=0)
        effects = Effects(sends=(sent,), removes=(entry.number,))

        def done(error: GoverseError | None) -> None:
            entry.again = None
            if error is not None:
                entry.refusals += 1
                self.alarm.set(
                    self.alarm.now_ms() + RETRY.wait_ms(entry.refusals, self._host.entropy), partial(self._due, entry)
                )

        entry.again = self.commits.commit(entry.pair.sender, entry.pair.shard, effects, done)

    def release(self, entry: Entry) -> None:
        """Let a delayed call join the order of its pair now, unless it is ending."""
        entry.due_ms = min(entry.due_ms, self.alarm.now_ms())
        self._due(entry)

    def _join_if_due(self, entry: Entry) -> None:
        if entry.pair.delayed and min(entry.due_ms, entry.place.expires_ms) <= self.alarm.now_ms():
            self._due(entry)

    def _end_delayed(self, entry: Entry, reason: Void) -> None:
        """End a call that was never delivered, so its receiver need not be asked."""
        entry.place.void = reason
        if entry.pair.channel.settle(entry.number) is not None:
            self._settled(entry, void_outcome(state_of(_VOID, reason, expired=False), None))

    # --- answers ------------------------------------------------------------------------------------------------------

    def _answered(self, pair: Pair, delivery: Delivery, reply: Reply) -> None:
        meaning = meaning_of(reply)
        entry = self.outboxes.entries.get(delivery.number)
        if delivery.alone and entry is not None and self.quarantine.answered(entry, delivery, reply, meaning):
            return
        if meaning is Answer.SETTLED:
            self.counts.duplicates += reply.replayed
            if entry is not None and pair.channel.settle(delivery.number) is not None:
                self._settled(entry, reply)
        else:
            self._unsettled(pair, delivery, reply, meaning)
        self.deliveries.serve(pair)

    def _settled(self, entry: Entry, reply: Reply) -> None:
        place = entry.place
        expired = place.expires_ms <= self.alarm.now_ms()
        entry.state = state_of(reply, place.void, expired=expired)
        void = entry.state not in ("success", "failed")
        entry.reply = void_outcome(entry.state, entry.problem) if void else reply
        self._endings.advance(entry.pair)

    def _unsettled(self, pair: Pair, delivery: Delivery, reply: Reply, meaning: Answer) -> None:
        entry = self.outboxes.entries.get(delivery.number)
        if entry is None:
            return
        channel, now_ms = pair.channel, self.alarm.now_ms()
        if meaning in (Answer.LOST, Answer.ENDED):
            noted = self._lost(entry, delivery, reply)
        elif meaning is Answer.REJECTED:
            noted = channel.rejected(delivery)
        elif meaning is Answer.FAILED:
            self.counts.attempts_failed += 1
            backoff = Backoff(entry.call.first_ms, entry.call.longest_ms)
            failures = entry.place.attempts + 1 if entry.place.void is None else entry.place.deliveries
            noted = channel.failed(delivery, now_ms + backoff.wait_ms(failures, self._host.entropy))
        else:
            early = reply.problem is not None and reply.problem.code == "out_of_order"
            backoff = _EARLY if early else RETRY
            noted = channel.refused(delivery, now_ms + backoff.wait_ms(entry.place.refusals + 1, self._host.entropy))
        if noted is not None and (noted.void is None or entry.problem is None):
            entry.problem = reply.problem

    def _lost(self, entry: Entry, delivery: Delivery, reply: Reply) -> Pending | None:
        """Take note that the receiver's process was lost: its connection broke, or it has ended since."""
        channel, place, now_ms = entry.pair.channel, entry.place, self.alarm.now_ms()
        assert reply.problem is not None, "a lost delivery has a problem"
        if delivery.lost_with and meaning_of(reply) is Answer.ENDED:
            place.lost_with = ""
            self.quarantine.suspect(entry)
            return channel.refused(delivery, now_ms)
        lost_with = str(reply.problem.extra.get(LOST_WITH, ""))
        return channel.was_lost(delivery, lost_with, now_ms + RETRY.wait_ms(place.refusals + 1, self._host.entropy))


_VOID: Final = void_outcome("dead", None)
