"""Pending calls, receipts and finished calls in memory, as a part of the table (``goverse_node.stores.table``).

Everything is kept as bytes under numbers, bytes or strings, which the cyclic garbage collector does not track. Calls
are decoded when they are read.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush, merge
from itertools import islice
from typing import Final

from goverse.model.call_retention import CallRetention, limits_of
from goverse.model.effects import CallState, FinishedCall, PendingCall
from goverse.model.keys import ObjectKey
from goverse.model.receipts import NO_RECEIPT, SENDS_MAX, WINDOW, Receipt, Settlement, Verdict, number_of
from goverse.model.records import CommitRecord
from goverse.ports.outbox import CallFilter
from goverse_node.stores import outbox_encoding as entries_of
from goverse_node.stores.encoding import EFFECTS, FINISHED, MARK, OUTCOME, PENDING, RECEIPT, at_ms_of, seq_of
from goverse_node.stores.receipt_rounds import ReceiptRounds
from goverse_node.stores.sorted_ids import SortedIds

SWEEP_SPAN_MS: Final = 60_000
SCANNED_AT_A_TIME: Final = 512
"""Finished calls that a search reads before it lets other work run."""
_TIME_MAX: Final = 10**18 - 1


class Refused(Exception):
    """A store refuses the effects of a record. The text follows the words "the record of …"."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """The effects of a record in their stored form.

    Attributes:
        entries: see ``goverse_node.stores.outbox_encoding``.
        pair: names the receipt that changes; empty if there is none.
        receipt: that receipt after the record.
    """

    entries: Sequence[bytes]
    pair: bytes = b""
    receipt: Receipt = NO_RECEIPT


class OutboxTable:
    """Pending calls, receipts and finished calls.

    Attributes:
        staged: entries of the staged batch, which are not visible yet.
        latest: the time of the latest recovered finished call, in running time and by the wall clock; zeros if there
            is none.
        rounds: the removal of receipts that are not needed any more.
    """

    def __init__(self, call_retention: CallRetention | None = None) -> None:
        """Create an empty table. ``call_retention`` limits the times of finished calls."""
        self.staged: list[bytes] = []
        self.latest = (0, 0)
        self._staged_receipts: dict[bytes, Receipt] = {}
        self._pending: dict[int, bytes] = {}
        self._marks: dict[int, bytes] = {}
        self._shards: dict[int, _Numbers] = {}
        self._receipts: dict[bytes, bytes] = {}
        self._ends = _Ends(limits_of(call_retention))
        self.rounds = ReceiptRounds(self._pending, self._receipts)

    @property
    def needs_sweeping(self) -> bool:
        """True if there are finished calls or receipts."""
        return bool(self._ends.entries or self._receipts)

    # --- reads ----------------------------------------------------------------------------------------------

    def pending(self, shards: Collection[int], *, after: int, limit: int) -> list[PendingCall]:
        """Return up to ``limit`` pending calls of senders in ``shards``, sorted by number, all above ``after``."""
        found = (self._shards[shard] for shard in set(shards) if shard in self._shards)
        numbers = merge(*(each.above(after, self._pending) for each in found))
        return [entries_of.pending_call(self._pending[at], self._marks.get(at)) for at in islice(numbers, limit)]

    async def pending_where(
        self, where: CallFilter, *, shard: int | None, after: tuple[int, int] | None, limit: int
    ) -> list[PendingCall]:
        """Return up to ``limit`` selected pending calls, sorted by shard and number."""
        found: list[PendingCall] = []
        place = after or (-1, 0)
        for at in sorted(self._shards if shard is None else {shard} & self._shards.keys()):
            number = place[1] if at == place[0] else 0
            scanned = SCANNED_AT_A_TIME if at >= place[0] else 0
            while scanned == SCANNED_AT_A_TIME:
                calls = self.pending((at,), after=number, limit=SCANNED_AT_A_TIME)
                chosen = (call for call in calls if where.selects(call.sender, call.call.receiver))
                found += islice(chosen, limit - len(found))
                if len(found) >= limit:
                    return found
                scanned, number = len(calls), calls[-1].number if calls else number
                await asyncio.sleep(0)
        return found

    def receipt(self, receiver: ObjectKey, sender: ObjectKey) -> Receipt:
        """Return the receipt of a pair."""
        return self._receipt(entries_of.owner_name(receiver) + entries_of.pair_name(sender))

    def _receipt(self, pair: bytes) -> Receipt:
        stored = self._receipts.get(pair)
        if stored is None:
            return NO_RECEIPT
        return entries_of.decode_receipt(stored)

    async def finished(
        self, where: CallFilter, now_ms: int, *, after: tuple[int, str] | None, limit: int
    ) -> list[FinishedCall]:
        """Return up to ``limit`` selected finished calls, the newest first."""
        found: list[FinishedCall] = []
        place = None if after is None else _place(after[0], after[1], "\U0010ffff")
        while len(found) < limit:
            page = self._ends.order.page(prefix="", after=place, limit=SCANNED_AT_A_TIME)
            ends = (self._ends.selected(each, where, now_ms) for each in page)
            found += islice((end for end in ends if end is not None), limit - len(found))
            if len(page) < SCANNED_AT_A_TIME:
                break
            place = page[-1]
            await asyncio.sleep(0)
        return found

    async def selected(self, where: CallFilter, now_ms: int, limit: int) -> list[str]:
        """Return the places of up to ``limit`` selected finished calls, the oldest first, for :meth:`forgetting`."""
        found: list[str] = []
        before: str | None = None
        while len(found) < limit:
            page = self._ends.order.last(before=before, limit=SCANNED_AT_A_TIME)
            found += islice((each for each in page if self._ends.selected(each, where, now_ms)), limit - len(found))
            if len(page) < SCANNED_AT_A_TIME:
                break
            before = page[-1]
            await asyncio.sleep(0)
        return found

    def forgetting(self, places: Sequence[str], place: entries_of.Place) -> list[bytes]:
        """Return the entries that remove the finished calls at ``places``, as far as they still exist."""
        held = (self._ends.entries[each] for each in places if each in self._ends.entries)
        return [entries_of.forgotten_entry(*entries_of.end_name(entry), place) for entry in held]

    def finished_call(self, where: CallFilter, call_id: str, now_ms: int) -> FinishedCall | None:
        """Return the newest selected call with this id; ``where`` has a namespace."""
        places = sorted(self._ends.by_id.get((where.namespace or "", call_id), ()))
        return next((end for each in places if (end := self._ends.selected(each, where, now_ms))), None)

    # --- commits --------------------------------------------------------------------------------------------

    def encode(self, record: CommitRecord, seq: int, now_ms: int) -> Encoded:
        """Return the effects of a record at position ``seq`` in their stored form.

        Raises:
            Refused: the call that the record settles is not next.
        """
        effects, key, place = record.effects, record.key, (seq, record.at_ms)
        assert effects is not None
        if len(effects.sends) > SENDS_MAX:
            raise Refused(f"sends {len(effects.sends)} calls; {SENDS_MAX} are allowed")
        entries = [entries_of.removed_entry(key, number, place) for number in effects.removes]
        entries += [entries_of.mark_entry(key, mark, place) for mark in effects.marks]
        for part, call in enumerate(effects.sends):
            pending = PendingCall(number_of(seq, part), key, record.shard, call)
            entries.append(entries_of.pending_entry(pending, place))
        entries += [entries_of.finished_entry(end, place, now_ms) for end in effects.finished]
        if effects.settles is None:
            return Encoded(entries)
        sender = effects.settles.delivery.sender
        pair = entries_of.owner_name(key) + entries_of.pair_name(sender)
        receipt = self._after(pair, effects.settles)
        entries += entries_of.receipt_entries(key, sender, receipt, place)
        return Encoded(entries, pair, receipt)

    def _after(self, pair: bytes, settles: Settlement) -> Receipt:
        delivery = settles.delivery
        present = self._staged_receipts.get(pair) or self._receipt(pair)
        if not present.last and delivery.number <= self.rounds.floors.of(entries_of.sender_of(pair)):
            raise Refused(f"settles call {delivery.number} of {delivery.sender}, which was settled long ago")
        if present.judge(delivery) is not Verdict.NEXT:
            raise Refused(
                f"settles call {delivery.number} of {delivery.sender} after {delivery.prev}; the receipt is at "
                f"{present.last}"
            )
        if sum(number >= delivery.head for number in present.outcomes) >= WINDOW:
            raise Refused(f"settles a call of {delivery.sender} that keeps more than {WINDOW} outcomes")
        return present.settled(settles)

    def stage(self, effects: Encoded) -> None:
        """Add the effects of a record to the staged batch."""
        self.staged += effects.entries
        if effects.pair:
            self._staged_receipts[effects.pair] = effects.receipt

    def apply_staged(self) -> None:
        """Make the staged entries visible."""
        for entry in self.staged:
            self.put(entry)
        self.rounds.committed(seq_of(self.staged[-1]))
        self.discard_staged()

    def discard_staged(self) -> None:
        """Drop the staged entries."""
        self.staged.clear()
        self._staged_receipts.clear()

    # --- recovery -------------------------------------------------------------------------------------------

    def replay(self, body: bytes) -> bytes | None:
        """Apply a recovered record. Returns its COMMIT record, if it is an EFFECTS record.

        Raises:
            ValueError: the record is malformed.
        """
        if body[0] != EFFECTS:
            self.put(body)
            return None
        commit, entries = entries_of.parted(body)
        for entry in entries:
            self.put(entry)
        return commit

    def put(self, entry: bytes) -> None:
        """Apply one entry.

        Raises:
            ValueError: the entry is malformed.
        """
        what = entry[0]
        if what == PENDING:
            self._put_pending(entry)
        elif what == MARK:
            number = entries_of.number_in(entry)
            if self._owns(entry, number):
                self._marks[number] = entries_of.value_of(entry)
        elif what in (RECEIPT, OUTCOME):
            self._put_receipt(entry)
        elif what == FINISHED:
            self._put_end(entry)
        else:
            raise ValueError(f"the record has the unknown type {what}")

    def _owns(self, entry: bytes, number: int) -> bool:
        held = self._pending.get(number)
        return held is not None and entries_of.owner_of(held) == entries_of.owner_of(entry)

    def _put_pending(self, entry: bytes) -> None:
        number = entries_of.number_in(entry)
        if entries_of.is_alive(entry):
            shard = entries_of.shard_in(entry)
            self._pending[number] = entry
            self._shards.setdefault(shard, _Numbers()).add(number)
        elif self._owns(entry, number):
            shard = entries_of.shard_in(self._pending.pop(number))
            self._marks.pop(number, None)
            if self._shards[shard].removed(self._pending):
                del self._shards[shard]

    def _put_receipt(self, entry: bytes) -> None:
        sub_name, value = entries_of.sub_name_of(entry), entries_of.value_of(entry)
        pair = entries_of.owner_of(entry) + entries_of.pair_in(sub_name)
        stored = self._receipts.get(pair)
        if entry[0] == RECEIPT:
            self._receipts[pair] = entries_of.moved_receipt(stored or b"", value)
        elif stored is None:
            raise ValueError("an outcome has no receipt")
        else:
            number = entries_of.outcome_number(sub_name)
            self._receipts[pair] = stored + entries_of.kept_outcome(number, value)

    def _put_end(self, entry: bytes) -> None:
        self._ends.remove(*entries_of.end_name(entry))
        if entries_of.is_alive(entry):
            kept_ms, _ = entries_of.finished_times(entry)
            self.latest = max(self.latest, (kept_ms, at_ms_of(entry)))
            self._ends.add(entry)

    def sweep(self, now_ms: int, limit: int) -> None:
        """Drop up to ``limit`` expired finished calls, and look at as many receipts."""
        self._ends.sweep(now_ms, limit)
        self.rounds.step(now_ms, limit)


class _Numbers:
    """The numbers of the pending calls of one shard, in order. Removed ones stay until they are half of all."""

    __slots__ = ("_living", "_numbers", "_sorted")

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._living = 0
        self._sorted = True

    def add(self, number: int) -> None:
        self._sorted = self._sorted and (not self._numbers or self._numbers[-1] < number)
        self._numbers.append(number)
        self._living += 1

    def removed(self, pending: Collection[int]) -> bool:
        """Note that a number was removed from ``pending``. Returns True if none is left."""
        self._living -= 1
        if len(self._numbers) > 2 * self._living + 16:
            self._numbers = [number for number in self._numbers if number in pending]
        return not self._living

    def above(self, after: int, pending: Collection[int]) -> Iterator[int]:
        if not self._sorted:
            self._numbers.sort()
            self._sorted = True
        numbers = self._numbers
        for at in range(bisect_right(numbers, after), len(numbers)):
            if numbers[at] in pending:
                yield numbers[at]


class _Ends:
    """Finished calls, by their *places*: strings whose order is the newest first, and then by id and sender."""

    def __init__(self, most_ms: Mapping[CallState, int]) -> None:
        self._most_ms = most_ms
        self.entries: dict[str, bytes] = {}
        self.order = SortedIds()
        self.by_id: dict[tuple[str, str], tuple[str, ...]] = {}
        self._due: dict[int, list[str]] = {}
        self._spans: list[int] = []

    def add(self, entry: bytes) -> None:
        _, finished_ms = entries_of.finished_times(entry)
        key, call_id = entries_of.end_name(entry)
        place = _place(finished_ms, call_id, _owner(key))
        self.entries[place] = entry
        self.order.add(place)
        name = (key.namespace, call_id)
        self.by_id[name] = (*self.by_id.get(name, ()), place)
        span = entries_of.expiry_of(entry, self._most_ms) // SWEEP_SPAN_MS
        if span not in self._due:
            self._due[span] = []
            heappush(self._spans, span)
        self._due[span].append(place)

    def remove(self, sender: ObjectKey, call_id: str) -> None:
        """Remove the end of this call, if there is one."""
        owner, name = f"\0{_owner(sender)}", (sender.namespace, call_id)
        for place in self.by_id.get(name, ()):
            if place.endswith(owner) and len(place) == _TIME_DIGITS + len(call_id) + len(owner):
                self._drop(place, name)

    def _drop(self, place: str, name: tuple[str, str]) -> None:
        del self.entries[place]
        self.order.remove(place)
        left = tuple(each for each in self.by_id[name] if each != place)
        if left:
            self.by_id[name] = left
        else:
            del self.by_id[name]

    def selected(self, place: str, where: CallFilter, now_ms: int) -> FinishedCall | None:
        """Return the end at a place, or None if it has expired or is not selected."""
        entry = self.entries.get(place)
        if entry is None or entries_of.expiry_of(entry, self._most_ms) <= now_ms:
            return None
        end = entries_of.finished_call(entry)
        chosen = (
            where.selects(end.sender, end.call.receiver)
            and (where.states is None or end.state in where.states)
            and (where.finished_before_ms is None or end.finished_ms < where.finished_before_ms)
        )
        return end if chosen else None

    def sweep(self, now_ms: int, limit: int) -> None:
        """Drop up to ``limit`` expired ends."""
        while limit > 0 and self._spans and (self._spans[0] + 1) * SWEEP_SPAN_MS <= now_ms:
            places = self._due[self._spans[0]]
            for place in places[-limit:]:
                entry = self.entries.get(place)
                if entry is not None and entries_of.expiry_of(entry, self._most_ms) <= now_ms:
                    sender, call_id = entries_of.end_name(entry)
                    self._drop(place, (sender.namespace, call_id))
            swept = min(limit, len(places))
            del places[len(places) - swept :]
            limit -= swept
            if not places:
                del self._due[heappop(self._spans)]


_TIME_DIGITS: Final = 18


def _place(finished_ms: int, call_id: str, owner: str) -> str:
    return f"{_TIME_MAX - finished_ms:0{_TIME_DIGITS}d}{call_id}\0{owner}"


def _owner(key: ObjectKey) -> str:
    return entries_of.owner_name(key).decode("latin-1")
