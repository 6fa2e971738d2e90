"""Notes: pending calls from an object to itself that are never delivered.

A note is sent, stored, loaded, moved with its shard, dumped and restored as every pending call is, so no store has to
know of it. Its method begins with ``@``, as no exported method can, and so does its id. Its body is a JSON document.
"""

from __future__ import annotations

from typing import Final

from goverse.model.effects import SentCall

NOTE_PREFIX: Final = "@"
"""First character of the methods and ids of notes; an id that a sender chooses must not have it."""

KEPT_RESULT: Final = "@once"
"""Method of the notes that keep results (``Object.once``)."""


SAGA: Final = "@saga"
"""Method of the notes that hold sagas (``Object.saga``)."""


def is_note(call: SentCall) -> bool:
    """True if a pending call is a note."""
    return call.method.startswith(NOTE_PREFIX)


def note_id(method: str, name: str) -> str:
    """Return the id of the note of an object with this method and name."""
    return f"{method}/{name}"


def checked_name(name: object, what: str, bytes_max: int) -> str:
    """Return the name of ``what``, which becomes a part of the id of a note.

    Raises:
        TypeError: it is not a string.
        ValueError: it is empty, or has more than ``bytes_max`` bytes.
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of {what} is {name!r}; use a string")
    size = len(name.encode(errors="replace"))
    if not 1 <= size <= bytes_max:
        raise ValueError(f"the name of {what} has {size} bytes; use 1 to {bytes_max}")
    return name
