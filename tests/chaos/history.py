"""The history of calls to journals, and the check that one copy of each journal could have given all responses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tests.chaos.journal import digests_of
from tests.linearizability import Observation, Outcome, complaints

_NOBODYS_ENTRY: Final = -1


class Told(NamedTuple):
    """The response of a journal: its length and digest at the time of the call."""

    length: int
    digest: int


class Note(NamedTuple):
    """One call as seen by its caller. Times are from the caller's clock, in nanoseconds."""

    entry: int | None
    called: int
    returned: int
    outcome: Outcome
    told: Told | None = None


@dataclass
class Verdict:
    """Problems of a history.

    Attributes:
        lost: number of acknowledged entries that are missing.
        doubled: number of duplicate entries.
        complaints: every contradiction to a single copy of each journal, including the two above.
    """

    journals: int = 0
    calls: int = 0
    lost: int = 0
    doubled: int = 0
    complaints: list[str] = field(default_factory=list[str])


class History:
    """All calls of a run to all journals."""

    def __init__(self) -> None:
        self._notes: dict[str, list[Note]] = defaultdict(list)

    def note(self, journal: str, note: Note) -> None:
        """Record a call."""
        self._notes[journal].append(note)

    @property
    def journals(self) -> list[str]:
        """The names of the called journals."""
        return sorted(self._notes)

    def judge(self, finals: Mapping[str, Sequence[int]]) -> Verdict:
        """Check the history against the final content of each journal."""
        verdict = Verdict(journals=len(self._notes))
        for journal, notes in sorted(self._notes.items()):
            final = finals[journal]
            acknowledged = {note.entry for note in notes if note.entry is not None and note.outcome is Outcome.DONE}
            verdict.calls += len(notes)
            verdict.lost += len(acknowledged - set(final))
            verdict.doubled += len(final) - len(set(final))
            strangers = set(final) - {note.entry for note in notes}
            verdict.complaints.extend(
                f"journal {journal}: entry {entry} was never appended" for entry in sorted(strangers)
            )
            digests = digests_of(final)
            found = complaints((_observation(note, final, digests) for note in notes), final)
            verdict.complaints.extend(f"journal {journal}: {each[:400]}" for each in found)
        return verdict


def _observation(note: Note, final: Sequence[int], digests: Sequence[int]) -> Observation:
    seen: tuple[int, ...] | None = None
    if note.told is not None:
        length, digest = note.told
        agrees = length < len(digests) and digests[length] == digest
        seen = tuple(final[:length]) if agrees else (_NOBODYS_ENTRY,) * length
    return Observation(note.entry, note.called, note.returned, note.outcome, seen)
