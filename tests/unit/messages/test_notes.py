"""Notes are pending calls that are never delivered."""

from __future__ import annotations

from typing import Any

import pytest

from goverse.errors import Moving, Overloaded, Unavailable
from goverse.model.effects import Effects, SentCall
from goverse.model.keys import ObjectKey
from goverse.model.notes import KEPT_RESULT, note_id
from goverse.model.receipts import SENDS_MAX
from tests.unit.messages.town import Town, key, run, sent

pytestmark = pytest.mark.requirement("DUR-7")

A, B = key("Sender", "a"), key("Receiver", "b")


def _note(owner: ObjectKey, name: str, **members: Any) -> SentCall:
    return SentCall(note_id(KEPT_RESULT, name), owner, KEPT_RESULT, b"{}", **members)


def _names(town: Town, owner: ObjectKey = A) -> list[str]:
    return [note.call.id for note in town.dispatcher.notes_of(owner)]


def test_a_note_is_not_delivered_and_delays_no_call() -> None:
    async def work() -> None:
        town = await Town().opened()
        await town.send(A, _note(A, "n"), sent("c", A), sent("d", B))
        await town.until(lambda: len(town.effects) == 2)
        town.restart()
        await town.until(lambda: not town.dispatcher.outboxes.shards[0].loading)
        await town.until(lambda: town.dispatcher.outboxes.is_read(town.host.shard_access.shard_of(A)))

        assert _names(town) == ["@once/n"]
        assert town.dispatcher.pending_of(A) == ()
        assert {request.method for request in town.deliveries} == {"work"}

    run(work)


def test_a_record_replaces_and_removes_notes() -> None:
    async def work() -> None:
        town = await Town().opened()
        await town.send(A, _note(A, "n"), _note(A, "m"))
        (old, other) = town.dispatcher.notes_of(A)
        effects = Effects(sends=(_note(A, "n", sent_ms=1),), removes=(old.number, other.number))
        assert await town.dispatcher.write(A, town.host.shards.number, effects) is None

        assert _names(town) == ["@once/n"]
        found = town.dispatcher.note(A, "@once/n")
        assert found is not None
        assert (found.call.sent_ms, len(town.dispatcher.notes)) == (1, 1)

    run(work)


def test_notes_are_known_only_while_the_shard_is_served() -> None:
    async def work() -> None:
        town = Town()
        with pytest.raises(Unavailable, match="not known yet"):
            town.dispatcher.note(A, "@once/n")
        await town.opened()
        await town.send(A, _note(A, "n"))
        assert isinstance(await town.dispatcher.write(A, 77, Effects()), Moving)
        town.dispatcher.close(range(4))
        with pytest.raises(Unavailable, match="not known yet"):
            town.dispatcher.notes_of(A)
        assert len(town.dispatcher.notes) == 0

    run(work)


def test_notes_count_as_pending_calls_of_their_object() -> None:
    async def work() -> None:
        town = await Town().opened()
        await town.send(A, _note(A, "n"))
        town.dispatcher.check_room(A, SENDS_MAX - 1)
        with pytest.raises(Overloaded, match="has 1 pending calls"):
            town.dispatcher.check_room(A, SENDS_MAX)

    run(work)
