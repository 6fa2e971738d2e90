"""Operations on reliable calls: what is pending and why it waits, cancel, retry, skip, pause and resume, redrive.

They run on the node that serves the sender's shard. Cancelling and skipping commit a mark on the call, so they survive
a restart. A pause and an early retry last as long as the node serves the shard.
"""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from goverse.errors import CallRedriven, ConflictError, GoverseError
from goverse.model.call_status import CallStatus
from goverse.model.effects import Effects, FinishedCall, Mark, SentCall
from goverse.model.frames import Problem, Reply
from goverse.model.keys import ObjectKey
from goverse.model.replies import decode_reply, encode_reply
from goverse.ports.outbox import Outbox
from goverse_node.messages.channel import Void
from goverse_node.messages.dispatcher import Dispatcher
from goverse_node.messages.outboxes import Entry, Pair

NewId = Callable[[ObjectKey], str]

_NEW_ID: Final = "redriven_as"


class Operating:
    """Operations on the calls of the senders in the shards of this node."""

    def __init__(self, dispatcher: Dispatcher, outbox: Outbox, new_id: NewId, wall_ms: Callable[[], int]) -> None:
        """``new_id`` returns ids for calls of a sender that are sent again."""
        self._dispatcher = dispatcher
        self._outbox = outbox
        self._new_id = new_id
        self._wall_ms = wall_ms
        self._redriving: dict[tuple[ObjectKey, str], Future[str | None]] = {}

    # --- status -------------------------------------------------------------------------------------------------------

    def find(self, namespace: str, call_id: str) -> Sequence[CallStatus]:
        """Return the status of the pending calls with this id; several senders can use one id."""
        return [self.status(entry) for entry in self._dispatcher.outboxes.with_id(namespace, call_id)]

    def list(
        self, *, sender: ObjectKey | None = None, receiver: ObjectKey | None = None, after: int = 0, limit: int = 100
    ) -> Sequence[CallStatus]:
        """Return up to ``limit`` pending calls with a number above ``after``, sorted by number."""
        outboxes = self._dispatcher.outboxes
        entries = outboxes.entries.values() if sender is None else outboxes.of_sender(sender)
        found = [each for each in entries if each.number > after and receiver in (None, each.call.receiver)]
        return [self.status(entry) for entry in sorted(found, key=lambda each: each.number)[:limit]]

    def status(self, entry: Entry) -> CallStatus:
        """Return the status of a call."""
        place, now_ms = entry.place, self._dispatcher.alarm.now_ms()
        due_ms = entry.due_ms if entry.pair.delayed else place.not_before_ms
        is_free = not (place.settled or place.on_its_way or place.held or entry.pair.channel.paused)
        next_ms = self._wall_ms() + max(0, due_ms - now_ms) if is_free and self._blocker(entry) is None else None
        state = "running" if place.on_its_way else "pending"
        waits_for = self._waits_for(entry, now_ms)
        return CallStatus(
            entry.call, entry.pair.sender, state, place.attempts, next_ms, waits_for, problem=entry.problem
        )

    def _waits_for(self, entry: Entry, now_ms: int) -> str:
        place, pair = entry.place, entry.pair
        if place.on_its_way:
            return ""
        if place.settled:
            return "its outcome is known and being committed" + (
                f" by {entry.call.then}, attempt {entry.trials + 1}" if entry.call.then else ""
            )
        if pair.delayed:
            return f"due in {_seconds(entry.due_ms - now_ms)}"
        if pair.channel.paused:
            return f"the calls from {pair.sender} to {pair.receiver} are paused by an operator"
        if place.held:
            return f"held by on_failure=hold after {_attempts(place.attempts)}; retry or skip it"
        blocker = self._blocker(entry)
        if blocker is not None:
            first = blocker.place
            state = "held" if first.held else f"next in {_seconds(first.not_before_ms - now_ms)}"
            state = "running" if first.on_its_way else state
            return f"held behind {blocker.call.id}, attempt {first.attempts + 1}, {state}"
        if place.suspected and place.void is None:
            return "it may have ended a node, so it runs alone, after others of this kind"
        if place.not_before_ms > now_ms:
            return f"attempt {place.attempts + 1} in {_seconds(place.not_before_ms - now_ms)}"
        return "room for further deliveries to its receiver, or of this node"

    def _blocker(self, entry: Entry) -> Entry | None:
        """Return the first unsettled call of the pair if ``entry`` waits behind it, else None."""
        if entry.pair.delayed:
            return None
        first = next((call for call in entry.pair.channel if not call.settled), None)
        if first is None or first.number >= entry.number:
            return None
        return self._dispatcher.outboxes.entries[first.number]

    # --- one call -----------------------------------------------------------------------------------------------------

    async def cancel(self, namespace: str, call_id: str) -> int:
        """Cancel the pending calls with this id, and return their number. Each may still turn out to have run.

        Raises:
            GoverseError: the store did not take the marks.
        """
        return await self._mark(self._dispatcher.outboxes.with_id(namespace, call_id), Void.CANCELLED)

    async def skip(self, namespace: str, call_id: str) -> int:
        """Give up the pending calls with this id, so that the calls behind them go on; they become dead letters.

        Raises:
            GoverseError: the store did not take the marks.
        """
        return await self._mark(self._dispatcher.outboxes.with_id(namespace, call_id), Void.SKIPPED)

    async def cancel_entry(self, entry: Entry) -> None:
        """Cancel one pending call; see ``cancel``."""
        await self._mark((entry,), Void.CANCELLED)

    async def skip_entry(self, entry: Entry) -> None:
        """Give up one pending call; see ``skip``."""
        await self._mark((entry,), Void.SKIPPED)

    async def _mark(self, entries: Sequence[Entry], reason: Void) -> int:
        marked = 0
        for entry in entries:
            if entry.place.settled or entry.place.void is not None:
                continue
            mark = Mark(entry.number, entry.crashes, reason.value)
            await self._commit(entry.pair.sender, entry.pair.shard, Effects(marks=(mark,)))
            marked += 1
        return marked

    def retry(self, namespace: str, call_id: str) -> int:
        """Deliver the calls with this id now that are held, delayed or wait for an attempt, and return their number."""
        return sum(map(self.retry_entry, self._dispatcher.outboxes.with_id(namespace, call_id)))

    def retry_entry(self, entry: Entry) -> bool:
        """Deliver one call now. Return False if it is not held or delayed and does not wait for an attempt."""
        if entry.pair.delayed:
            self._dispatcher.release(entry)
            return entry.place.void is None
        if not entry.pair.channel.retry(entry.number):
            return False
        self._dispatcher.deliveries.serve(entry.pair)
        return True

    # --- pairs --------------------------------------------------------------------------------------------------------

    def pause(self, sender: ObjectKey, receiver: ObjectKey, shard: int) -> None:
        """Start no delivery from ``sender`` to ``receiver`` until ``resume``.

        Raises:
            Unavailable: the node does not serve the shard yet, or no longer.
        """
        self._dispatcher.outboxes.pause(sender, receiver, shard)

    def resume(self, sender: ObjectKey, receiver: ObjectKey) -> bool:
        """Deliver the calls of a paused pair again. Return False if it is not paused."""
        pair = self._dispatcher.outboxes.resume(sender, receiver)
        if pair is None:
            return False
        self._dispatcher.deliveries.serve(pair)
        return True

    def paused(self) -> Iterator[Pair]:
        """Iterate over the paused pairs."""
        return self._dispatcher.outboxes.paused()

    # --- dead letters -------------------------------------------------------------------------------------------------

    async def redrive(
        self, sender: ObjectKey, call_id: str, shard: int, *, body: bytes | None = None, delay_ms: int = 0
    ) -> str | None:
        """Send the call of a dead letter of ``sender`` again, with other arguments if ``body`` is not None.

        It is a new call with a new id at the end of its pair, and keeps its ``then``. The same commit replaces the dead
        letter by a ``cancelled`` call whose outcome names the new id. So a dead letter is sent again once, and a
        repetition of the request returns the same id. The record has the epoch under which the letter was read: if the
        shard moves away and back in between, another node may have sent the letter again.

        Returns:
            The new id, or None if there is no dead letter with this id.

        Raises:
            ConflictError: a call with this id has ended, and is no dead letter.
            Moving: the shard is not served here, or moved away while the letter was read.
            GoverseError: the store does not answer, or did not take the record.
        """
        name = sender, call_id
        running = self._redriving.get(name)
        if running is None:
            running = asyncio.ensure_future(self._redrive(sender, call_id, shard, body, delay_ms))
            self._redriving[name] = running
            running.add_done_callback(lambda _: self._redriving.pop(name, None))
        return await asyncio.shield(running)

    async def _redrive(
        self, sender: ObjectKey, call_id: str, shard: int, body: bytes | None, delay_ms: int
    ) -> str | None:
        epoch = self._dispatcher.commits.epoch(shard)
        letter = await self._outbox.finished_call(sender.namespace, call_id, sender=sender)
        if letter is None:
            return None
        if letter.state != "dead":
            return _sent_again_as(letter)
        again = self._again(letter, body, delay_ms)
        self._dispatcher.check_room(sender, 1)
        note = CallRedriven(f"the call was sent again as {again.id}", **{_NEW_ID: again.id})
        spent = letter._replace(state="cancelled", outcome=encode_reply(Reply(problem=Problem.of(note))))
        await self._commit(sender, shard, Effects(sends=(again,), finished=(spent,)), epoch=epoch)
        return again.id

    def _again(self, letter: FinishedCall, body: bytes | None, delay_ms: int) -> SentCall:
        call, now_ms = letter.call, self._wall_ms()
        lifetime_ms = call.expires_ms - call.sent_ms if call.expires_ms else 0
        return call._replace(
            id=self._new_id(letter.sender),
            body=call.body if body is None else body,
            sent_ms=now_ms,
            due_ms=now_ms + delay_ms if delay_ms else 0,
            expires_ms=now_ms + delay_ms + lifetime_ms if lifetime_ms else 0,
        )

    async def _commit(self, sender: ObjectKey, shard: int, effects: Effects, *, epoch: int | None = None) -> None:
        waiting: Future[None] = asyncio.get_running_loop().create_future()

        def done(error: GoverseError | None) -> None:
            if not waiting.done():
                waiting.set_result(None) if error is None else waiting.set_exception(error)

        self._dispatcher.commits.commit(sender, shard, effects, done, epoch=epoch)
        await waiting


def _sent_again_as(end: FinishedCall) -> str:
    """Return the id under which a dead letter was sent again.

    Raises:
        ConflictError: the call was no dead letter.
    """
    problem = decode_reply(end.outcome, 0).problem if end.outcome else None
    if problem is None or problem.code != CallRedriven.code or problem.status is not None:
        raise ConflictError(f"only a dead letter can be sent again; the call {end.call.id} is {end.state}")
    return str(problem.extra[_NEW_ID])


def _seconds(milliseconds: int) -> str:
    return f"{max(0, milliseconds) / 1000:.0f} s"


def _attempts(count: int) -> str:
    return f"{count} attempt" + ("" if count == 1 else "s")
