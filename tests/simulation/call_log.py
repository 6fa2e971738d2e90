"""The log of all reliable calls of a run: an oracle that reads the commit records of parties in the store's order.

A party says in its state what each turn did (``tests.simulation.program.Party``). The log compares that with the
effects of the record, and with what earlier records said about the call:

* A call was sent by the turn that says so, once; a turn that failed sent nothing.
* It has one end: its effect with a receipt, a refusal with a receipt, or a void receipt. Nothing comes after it.
* The calls of a pair are settled in the order of their numbers, and so are their ends at the sender.
* The end that the sender commits is the one that its receiver committed, and ``then`` receives it once.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import orjson

from goverse.model.effects import Effects, FinishedCall, SentCall
from goverse.model.keys import ObjectKey
from goverse.model.receipts import Settlement, number_of
from goverse.model.records import CommitRecord
from goverse.model.replies import decode_reply

SILENT = "silent-"
"""Names of calls that are sent by turns without another change begin like this."""

NEVER = "never-"
"""Names of calls that are sent by turns that fail begin like this."""

_VOID = ("expired", "cancelled", "dead")


@dataclass(slots=True, eq=False)
class LoggedCall:
    """A call, and what became of it.

    Attributes:
        number, sender, call: the call.
        name: the name in its arguments.
        receipt: what its receiver committed: ``effect``, ``refusal``, ``void``, or empty.
        state: how it ended for its sender, or empty.
        told: the state that its ``then`` received, or empty.
    """

    number: int
    sender: ObjectKey
    call: SentCall
    name: str
    receipt: str = ""
    state: str = ""
    told: str = ""

    @property
    def waits_for_a_time(self) -> bool:
        """True if the call waits until it is due, or can be held until it expires."""
        return bool(self.call.due_ms) or self.call.on_failure == "hold"

    def __str__(self) -> str:
        """Return a text that names the call."""
        return f"call {self.call.id} ({self.name}, from {self.sender.id} to {self.call.receiver.id})"


class CallLog:
    """The reliable calls of a run.

    Attributes:
        found: the violations.
        calls: the calls by number; a delayed call has another number once it is due.
        states: how many calls ended in each state.
        left: the calls that have not ended, by name.
    """

    def __init__(self, found: list[str]) -> None:
        """Add violations to ``found``."""
        self.found = found
        self.calls: dict[int, LoggedCall] = {}
        self.states: dict[str, int] = defaultdict(int)
        self.left: dict[str, LoggedCall] = {}
        self._by_name: dict[str, LoggedCall] = {}
        self._effected: set[str] = set()
        self._pairs: dict[tuple[ObjectKey, ObjectKey], deque[LoggedCall]] = defaultdict(deque)
        self._last_end: dict[tuple[ObjectKey, ObjectKey], int] = defaultdict(int)
        self._letters: dict[str, str] = {}
        self._told_ids: set[str] = set()

    def recorded(self, record: CommitRecord, position: int) -> None:
        """Read a durable record. Only parties say in their state what they did."""
        if record.key.type != "Party":
            return
        effects, news = record.effects or Effects(), _news(record)
        got = [words[1] for words in news if words[0] == "got"]
        if effects.settles is not None:
            self._settled(record.key, effects.settles, got)
        elif got:
            self.found.append(f"{record.key.id} got {got} without a receipt")
        for name in got:
            self._effect(record.key, name)
        told = {words[1]: words[2:] for words in news if words[0] == "ended"}
        self._ends(effects, told)
        self._sent(record, position, [words[1] for words in news if words[0] == "sent"])

    # --- the sender ---------------------------------------------------------------------------------------------------

    def _sent(self, record: CommitRecord, position: int, names: Collection[str]) -> None:
        effects = record.effects or Effects()
        removed = {self.calls[number].call.id: self.calls[number] for number in effects.removes if number in self.calls}
        again = {end.call.id for end in effects.finished if end.state == "cancelled" and _is_redriven(end)}
        new: list[str] = []
        for part, call in enumerate(effects.sends):
            logged = LoggedCall(number_of(position, part), record.key, call, orjson.loads(call.body)["name"])
            delayed = removed.get(call.id)
            known = self._by_name.get(logged.name)
            if delayed is None and not again:
                new.append(logged.name)
            if known is not None and known is not delayed and known.call.id not in again:
                self.found.append(f"{logged} was sent twice")
            if logged.name.startswith(NEVER):
                self.found.append(f"{logged} was sent by a turn that failed")
            self.calls[logged.number] = self._by_name[logged.name] = self.left[logged.name] = logged
            if not call.due_ms:
                self._pairs[record.key, call.receiver].append(logged)
        loud = [name for name in new if not name.startswith(SILENT) or name.endswith("+")]
        if loud != list(names):
            self.found.append(f"a turn of {record.key.id} sent {list(names)}, and its record sends {loud}")

    def _ends(self, effects: Effects, told: dict[str, list[str]]) -> None:
        kept = {end.call.id: end for end in effects.finished}
        again = {call.id for call in effects.sends}
        ended: dict[str, LoggedCall] = {}
        for number in effects.removes:
            call = self.calls.get(number)
            if call is None:
                self.found.append(f"call number {number} was removed and never sent")
            elif call.call.id not in again:
                ended[call.call.id] = call
                self._ended(call, kept)
        for call_id, words in told.items():
            call = ended.get(call_id)
            if call_id in self._told_ids:
                self.found.append(f"the outcome of {call_id} was received twice")
            self._told_ids.add(call_id)
            if call is None:
                self.found.append(f"the outcome {words} of {call_id} was received, and the call was not removed")
            else:
                self._told(call, words)
        for call in ended.values():
            given_up = f"{call.call.id}.then" in kept
            if call.call.then and not call.told and not given_up:
                self.found.append(f"the end of {call} was committed without its then")
        for end in effects.finished:
            if end.state == "cancelled" and _is_redriven(end):
                self._redriven(end)

    def _ended(self, call: LoggedCall, kept: dict[str, FinishedCall]) -> None:
        """Check the end that a sender commits against the receipt."""
        end = kept.get(call.call.id)
        unkept = "dead" if call.receipt == "void" and call.call.on_failure == "drop" else "success"
        state = end.state if end is not None else unkept
        if call.state:
            self.found.append(f"{call} ended twice: {call.state}, then {state}")
        call.state = state
        self.states[state] += 1
        if self.left.get(call.name) is call:
            del self.left[call.name]
        wanted = {"success": "effect", "failed": "refusal"}.get(state, "void")
        waits = bool(call.call.due_ms) and state in _VOID
        if call.receipt != wanted and not waits:
            self.found.append(f"{call} was reported as {state}, and its receiver committed {call.receipt or 'nothing'}")
        if not call.call.due_ms:
            pair = call.sender, call.call.receiver
            if call.number < self._last_end[pair]:
                self.found.append(f"the end of {call} was committed after that of a later call")
            self._last_end[pair] = max(self._last_end[pair], call.number)

    def _told(self, call: LoggedCall, words: list[str]) -> None:
        call.told = words[0]
        if words[0] != call.state:
            self.found.append(f"{call} ended as {call.state}, and its then received {words[0]}")
        if words[0] == "success" and words[1:] != [call.name]:
            self.found.append(f"then of {call} received another result: {words[1:]}")

    def _redriven(self, end: FinishedCall) -> None:
        new_id = _redriven_as(end)
        before = self._letters.setdefault(end.call.id, new_id)
        if before != new_id:
            self.found.append(f"the dead letter {end.call.id} was sent again twice, as {before} and {new_id}")

    # --- the receiver -------------------------------------------------------------------------------------------------

    def _settled(self, receiver: ObjectKey, settles: Settlement, got: Collection[str]) -> None:
        delivery = settles.delivery
        call = self.calls.get(delivery.number)
        if call is None:
            self.found.append(f"{receiver.id} settled call {delivery.id} of {delivery.sender.id}, which was never sent")
            return
        if call.receipt:
            self.found.append(f"{call} was settled twice: {call.receipt}, then again")
        call.receipt = "effect" if got else "refusal" if settles.outcome else "void"
        pair = self._pairs[call.sender, receiver]
        while pair and (pair[0].receipt or pair[0].state) and pair[0] is not call:
            pair.popleft()
        if pair and pair[0] is not call:
            self.found.append(f"{call} overtook {pair[0]}")

    def _effect(self, receiver: ObjectKey, name: str) -> None:
        call = self._by_name.get(name)
        if name in self._effected:
            self.found.append(f"{name} took effect twice")
        self._effected.add(name)
        if call is None:
            self.found.append(f"{name} took effect, and was not sent")
            return
        if call.call.receiver != receiver:
            self.found.append(f"{call} took effect in {receiver.id}")
        if call.state in (*_VOID, "failed"):
            self.found.append(f"{call} took effect after it was reported as {call.state}")

    # --- clients, and the end of a run --------------------------------------------------------------------------------

    def acknowledged(self, names: Iterable[str]) -> None:
        """Check that calls were sent, because the turn that sends them was answered with success."""
        self.found.extend(f"{name} was acknowledged and not sent" for name in names if name not in self._by_name)

    def denied(self, names: Iterable[str]) -> None:
        """Check that calls were not sent, because the turn that sends them had no effect."""
        self.found.extend(f"{name} was sent by a turn without effect" for name in names if name in self._by_name)

    def dead(self) -> list[LoggedCall]:
        """Return the calls that are dead letters."""
        return [
            call
            for call in self._by_name.values()
            if call.state == "dead" and call.call.on_failure != "drop" and call.call.id not in self._letters
        ]

    def waiting(self, *, clocks_agree: bool = True) -> list[LoggedCall]:
        """Return the calls that have not ended, unless they wait for a time and the clocks did not agree on it."""
        return [call for call in self.left.values() if clocks_agree or not call.waits_for_a_time]

    def finish(self, pending: Collection[int], *, clocks_agree: bool = True) -> None:
        """Check that each call has ended, and that the outboxes hold none. Call this after they were drained.

        If ``clocks_agree`` is false, a wall clock was wrong by up to an hour. Then a call may be left that is delayed,
        or that is held until it expires: the node that took it, or a later one, sees that time an hour ahead.
        """
        waiting = self.waiting(clocks_agree=clocks_agree)
        excused = {call.number for call in self.left.values()}.difference(call.number for call in waiting)
        self.found.extend(f"{call} never ended; receipt: {call.receipt or 'none'}" for call in waiting[:5])
        left = [number for number in pending if number not in excused]
        self.found.extend(f"call number {number} is still pending" for number in left[:5])


def _news(record: CommitRecord) -> list[list[str]]:
    if record.state is None or not record.changes_object:
        return []
    return [line.split() for line in orjson.loads(record.state)["news"]]


def _is_redriven(end: FinishedCall) -> bool:
    return bool(_redriven_as(end))


def _redriven_as(end: FinishedCall) -> str:
    problem = decode_reply(end.outcome, 0).problem if end.outcome else None
    return str(problem.extra["redriven_as"]) if problem is not None and problem.code == "call_redriven" else ""
