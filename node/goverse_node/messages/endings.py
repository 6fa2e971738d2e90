"""The end of a call at its sender: the commit that removes it from the outbox, with its outcome.

* A call with ``then``: the outcome runs as a turn of the sender, whose record also removes the call. While that fails,
  it is repeated with the waits of the call. After the last attempt, the record removes the call without the turn, and
  keeps a dead letter for the turn alone: a call from the sender to itself. Its id is that of the call and ``.then``.
* A step or an undo of a saga: one record removes it and sends the next (``goverse_node.messages.sagas``).
* Any other call is removed together with others of its sender. A lost removal costs a repeated delivery and no effect,
  so a removal waits for further ones: up to ``REMOVAL_WAIT_MS`` if nothing of the call is kept, which is usual, and up
  to ``KEPT_WAIT_MS`` if its outcome can be read. Its room in the window of the pair and in the outbox is limited, so a
  removal does not wait if it takes up much of either.

Outcomes of a pair are committed in order (``goverse_node.messages.channel``), one commit at a time.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Callable, Collection, Sequence
from functools import partial
from itertools import takewhile
from typing import Final

from goverse.errors import GoverseError
from goverse.limits import REQUEST_ID_BYTES_MAX
from goverse.model.call_ids import THEN_SUFFIX
from goverse.model.caller import identified
from goverse.model.effects import CallState, Effects, FinishedCall
from goverse.model.frames import Operation, Problem, Reply, Request
from goverse.model.keys import ObjectKey
from goverse.model.outcomes import outcome_body
from goverse.model.receipts import WINDOW
from goverse.model.replies import encode_reply
from goverse_node.messages.alarm import Alarm
from goverse_node.messages.answers import Answer, meaning_of
from goverse_node.messages.backoff import Backoff
from goverse_node.messages.channel import Pending, Void
from goverse_node.messages.commits import Commits, MessagesHost
from goverse_node.messages.notes import Notes
from goverse_node.messages.outboxes import Entry, Outboxes, Pair
from goverse_node.messages.quarantine import Quarantine, crashed
from goverse_node.messages.sagas import belongs_to_saga, progress

REMOVAL_WAIT_MS: Final = 1_000
KEPT_WAIT_MS: Final = 20
_TRIAL_LOOK_MS: Final = 20
"""Time between two looks whether the ``then`` of a suspect may run."""

_EAGER: Final = WINDOW // 2
_PAIRS_MAX: Final = 256
"""Pairs of one sender whose removals wait. It leaves most of the outbox to calls that are not settled."""
_REMOVALS_MAX: Final = 1_000  # per record, so that it stays small
_NEVER_MS: Final = 2**62
RETRY: Final = Backoff(100, 5_000)
"""Waits after a refusal for now: the receiver is busy, moving or away, or the store does not answer."""


class _Waiting:
    """The pairs of one sender whose removals wait, and the time until which they do."""

    __slots__ = ("ends_ms", "pairs")

    def __init__(self) -> None:
        self.pairs: dict[Pair, None] = {}
        self.ends_ms = _NEVER_MS


class Endings:
    """Commits the outcomes of calls."""

    def __init__(
        self,
        host: MessagesHost,
        outboxes: Outboxes,
        alarm: Alarm,
        commits: Commits,
        quarantine: Quarantine,
        *,
        notes: Notes,
    ) -> None:
        """Nothing waits yet."""
        self._quarantine = quarantine
        self._host = host
        self._outboxes = outboxes
        self._alarm = alarm
        self._commits = commits
        self._notes = notes
        self._removals: dict[ObjectKey, _Waiting] = {}
        self._stopping = False
        self._retentions_ms = host.options.call_retention.by_state()
        self.concluding = 0

    def advance(self, pair: Pair) -> None:
        """Commit the outcomes of the first calls of a pair, if they are known."""
        if pair.closed or pair.ending:
            return
        front = pair.channel.front()
        if not front:
            return
        first = self._outboxes.entries[front[0].number]
        if first.call.then:
            pair.ending = True
            (self._go_on if belongs_to_saga(first.call) else self._conclude)(first)
            return
        waiting = self._removals.get(pair.sender)
        if waiting is None:
            waiting = self._removals[pair.sender] = _Waiting()
        waiting.pairs[pair] = None
        if len(front) >= _EAGER or len(waiting.pairs) >= _PAIRS_MAX:
            self.flush_of(pair.sender)
            return
        prompt = self._stopping or self._keeps(front)
        ends_ms = self._alarm.now_ms() + (KEPT_WAIT_MS if prompt else REMOVAL_WAIT_MS)
        if ends_ms < waiting.ends_ms:
            waiting.ends_ms = ends_ms
            self._alarm.set(ends_ms, partial(self._waited, pair.sender, waiting))

    # --- removals -----------------------------------------------------------------------------------------------------

    def stop_waiting(self) -> None:
        """Commit the removals that wait for others. Later ones wait for ``KEPT_WAIT_MS`` at most."""
        self._stopping = True
        self.flush()

    def flush(self) -> None:
        """Commit the removals that wait for others."""
        for sender in tuple(self._removals):
            self.flush_of(sender)

    def flush_of(self, sender: ObjectKey) -> None:
        """Commit the removals of one sender that wait for others."""
        waiting = self._removals.pop(sender, None)
        entries: list[Entry] = []
        for pair in waiting.pairs if waiting is not None else ():
            if not pair.closed and not pair.ending:
                front = (self._outboxes.entries[call.number] for call in pair.channel.front())
                found = tuple(takewhile(lambda entry: not entry.call.then, front))
                pair.ending = bool(found)
                entries += found
        for start in range(0, len(entries), _REMOVALS_MAX):
            self._remove(entries[start : start + _REMOVALS_MAX])

    def _waited(self, sender: ObjectKey, waiting: _Waiting) -> None:
        if self._removals.get(sender) is waiting:
            self.flush_of(sender)

    def _keeps(self, front: Sequence[Pending]) -> bool:
        """Return True if something is kept of one of these calls."""
        entries = (self._outboxes.entries[call.number] for call in front)
        return any(entry.state is not None and self._retention_ms(entry, entry.state) for entry in entries)

    def _remove(self, entries: Sequence[Entry]) -> None:
        kept = [end for entry in entries if (end := self._finished(entry)) is not None]
        effects = Effects(removes=tuple(entry.number for entry in entries), finished=tuple(kept))
        pairs = dict.fromkeys(entry.pair for entry in entries)
        self._commit(entries[0], effects, pairs, again=partial(self._go_on_with, pairs))

    def _commit(self, first: Entry, effects: Effects, pairs: Collection[Pair], *, again: Callable[[], None]) -> None:
        """Commit what ends calls of ``pairs``, then go on with these pairs. If that fails, call ``again`` later."""

        def done(error: GoverseError | None) -> None:
            if error is None:
                self._go_on_with(pairs)
                return
            first.refusals += 1
            self._alarm.set(self._alarm.now_ms() + RETRY.wait_ms(first.refusals, self._host.entropy), again)

        self._commits.commit(first.pair.sender, first.pair.shard, effects, done)

    def _go_on_with(self, pairs: Collection[Pair]) -> None:
        for pair in pairs:
            pair.ending = False
            self.advance(pair)

    def _finished(self, entry: Entry) -> FinishedCall | None:
        """Return the end of a call to keep, or None if nothing of it is kept."""
        assert entry.state is not None, "the outcome is known"
        assert entry.reply is not None, "the outcome is known"
        retention_ms = self._retention_ms(entry, entry.state)
        if not retention_ms:
            return None
        now_ms = self._host.clock.wall_ms()
        outcome = encode_reply(entry.reply)
        attempts = entry.place.attempts
        return FinishedCall(
            entry.call, entry.pair.sender, entry.state, outcome, attempts, now_ms, now_ms + retention_ms
        )

    def _retention_ms(self, entry: Entry, state: CallState) -> int:
        if state == "success":
            return entry.call.keep_ms
        if state == "dead" and entry.call.on_failure == "drop":
            return 0
        return self._retentions_ms[state]

    # --- then ---------------------------------------------------------------------------------------------------------

    def _conclude(self, entry: Entry) -> None:
        pair = entry.pair
        if pair.closed:
            return
        assert entry.state is not None, "the outcome is known"
        if entry.place.void is Void.CRASHED and entry.state in ("success", "failed"):
            self._give_up_then(entry, crashed(entry))  # the call itself took effect, so ``then`` ended the nodes
            return
        if not self._quarantine.may_conclude(entry):
            self._alarm.set(self._alarm.now_ms() + _TRIAL_LOOK_MS, partial(self._conclude, entry))
            return
        call, host = entry.call, self._host
        kept = self._finished(entry)
        request = Request(
            Operation.CALL,
            pair.sender,
            call.then,
            outcome_body(call.id, entry.state, entry.reply),
            host.now() + host.options.delivery_timeout_s,
            call.request_id or call.id[:REQUEST_ID_BYTES_MAX],
            caller=identified(call.subject).through((call.receiver,)),
            traceparent=call.traceparent,
            tracestate=call.tracestate,
        )
        effects = Effects(removes=(entry.number,), finished=() if kept is None else (kept,))
        self.concluding += 1
        host.conclude(request, effects).add_done_callback(partial(self._concluded, entry))

    def _concluded(self, entry: Entry, answer: Future[Reply]) -> None:
        self.concluding -= 1
        pair = entry.pair
        problem = None if answer.cancelled() else answer.result().problem
        if entry.number not in self._outboxes.entries:
            self._go_on_with((pair,))
            return
        if pair.closed or (problem is None and not answer.cancelled()):
            return
        meaning = Answer.REFUSED if problem is None else meaning_of(Reply(problem=problem))
        if problem is None or meaning in (Answer.REFUSED, Answer.LOST):
            entry.refusals += 1
            wait_ms = RETRY.wait_ms(entry.refusals, self._host.entropy)
        else:
            entry.trials += 1
            self._quarantine.concluded(entry)
            if entry.trials >= entry.call.attempts_max:
                self._give_up_then(entry, problem)
                return
            wait_ms = Backoff(entry.call.first_ms, entry.call.longest_ms).wait_ms(entry.trials, self._host.entropy)
        self._alarm.set(self._alarm.now_ms() + wait_ms, partial(self._conclude, entry))

    def _give_up_then(self, entry: Entry, problem: Problem) -> None:
        """Remove a call without its ``then``, and keep a dead letter for that."""
        pair, call, kept = entry.pair, entry.call, self._finished(entry)
        if pair.closed:
            return
        assert entry.state is not None, "the outcome is known"
        now_ms = self._host.clock.wall_ms()
        then = call._replace(
            id=call.id + THEN_SUFFIX,
            receiver=pair.sender,
            method=call.then,
            body=outcome_body(call.id, entry.state, entry.reply),
            then="",
            on_failure="dead_letter",
            keep_ms=0,
        )
        expires_ms = now_ms + self._retentions_ms["dead"]
        outcome = encode_reply(Reply(problem=problem))
        letter = FinishedCall(then, pair.sender, "dead", outcome, entry.trials, now_ms, expires_ms)
        effects = Effects(removes=(entry.number,), finished=(letter,) if kept is None else (kept, letter))

        self._commit(entry, effects, (pair,), again=partial(self._give_up_then, entry, problem))

    # --- sagas --------------------------------------------------------------------------------------------------------

    def _go_on(self, entry: Entry) -> None:
        """Commit what follows from the end of a saga's running call."""
        pair = entry.pair
        if pair.closed:
            return
        note = self._notes.find(pair.sender, entry.call.then)
        assert note is not None, "a saga has a note while a call of it is pending"
        effects = progress(self._host, entry, note, self._finished(entry))

        self._commit(entry, effects, (pair,), again=partial(self._go_on, entry))

    def idle(self) -> bool:
        """Return True if no outcome is being committed by a turn, and no removal waits."""
        return not self.concluding and not self._removals
