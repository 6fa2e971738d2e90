"""Kept results: an effect outside of GoVerse is carried out again only if its result was not kept (``Object.once``).

A result is a note of the object, made durable in a record of its own before the method gets it. So a turn that fails
afterwards keeps the result. Until its record is decided, no other turn looks for the result or carries out the effect:
a repetition that came too early would miss it. That holds also if the turn was cancelled meanwhile.
"""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import NamedTuple, Protocol

from goverse.errors import Deadlock, GoverseError
from goverse.model.effects import Effects, PendingCall, SentCall
from goverse.model.keys import ObjectKey
from goverse.model.notes import KEPT_RESULT


class NoteService(Protocol):
    """The notes of all objects of the node; ``goverse_node.messages.dispatcher`` implements it."""

    def note(self, key: ObjectKey, note_id: str) -> PendingCall | None:
        """Return the durable note of an object with this id, or None.

        Raises:
            Unavailable: the notes of the object are still being read, or its shard is leaving this node.
        """
        ...

    def notes_of(self, key: ObjectKey) -> Sequence[PendingCall]:
        """Return the durable notes of an object. Raises what ``note`` does."""
        ...

    def write(self, key: ObjectKey, epoch: int, effects: Effects) -> Future[GoverseError | None]:
        """Commit effects of an object in a record of their own, under ``epoch``. The result is None or the error."""
        ...


class KeepingObject(Protocol):
    """The object whose results are kept."""

    @property
    def key(self) -> ObjectKey: ...
    @property
    def epoch(self) -> int: ...


class _Making(NamedTuple):
    task: asyncio.Task[object] | None
    ended: Future[None]


class KeptResults:
    """The kept results of all objects of a node, and those that are being made."""

    def __init__(self, notes: NoteService) -> None:
        self._notes = notes
        self._making: dict[tuple[ObjectKey, str], _Making] = {}

    def all_of(self, key: ObjectKey) -> Sequence[PendingCall]:
        """Return the kept results of an object. Raises what ``NoteService.note`` does."""
        return [note for note in self._notes.notes_of(key) if note.call.method == KEPT_RESULT]

    def find(self, key: ObjectKey, note_id: str) -> PendingCall | None:
        """Return a kept result. Raises what ``NoteService.note`` does."""
        return self._notes.note(key, note_id)

    async def get(
        self,
        owner: KeepingObject,
        note_id: str,
        find: Callable[[], PendingCall | None],
        make: Callable[[], Awaitable[tuple[SentCall, tuple[int, ...]]]],
        context: Context,
    ) -> bytes:
        """Return the body of a kept result, after making it if there is none.

        ``find`` looks for it. ``make`` carries out the effect, and returns the note and the numbers of older ones that
        it replaces. ``context`` is for callbacks that may outlive the turn.

        Raises:
            Deadlock: the effect asks for its own result.
            GoverseError: the result could not be made durable.
        """
        place, task = (owner.key, note_id), asyncio.current_task()
        while (making := self._making.get(place)) is not None:
            if making.task is task:
                raise Deadlock(f"{owner.key} waits for itself: the function of self.once uses the name of that once")
            await asyncio.wait((making.ended,))
        found = find()
        if found is not None:
            return found.call.body
        making = self._making[place] = _Making(task, asyncio.get_running_loop().create_future())

        def ended(_committed: object = None) -> None:
            del self._making[place]
            making.ended.set_result(None)

        try:
            note, replaced = await make()
            committed = self._notes.write(owner.key, owner.epoch, Effects(sends=(note,), removes=replaced))
        except BaseException:
            ended()
            raise
        committed.add_done_callback(ended, context=context)
        error = await asyncio.shield(committed)
        if error is not None:
            raise error
        return note.body
