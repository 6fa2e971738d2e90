"""Linearizability check: the replies of one object must be possible for a single copy that runs one call at a time.

The object is a log. A writing call appends its own number and returns all entries; a reading call returns them.
So every reply names the calls that took effect before it, and the check needs no search: replies must be prefixes of
the final log, in the order in which calls followed each other in real time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto


class Outcome(Enum):
    """The caller's knowledge of the effect of a call."""

    DONE = auto()
    FAILED = auto()  # it had no effect
    UNKNOWN = auto()  # it may have had an effect, or may have one later


@dataclass(frozen=True)
class Observation:
    """One call as its caller saw it.

    Attributes:
        entry: the number that it appends, or None for a reading call.
        called: when it began.
        returned: when its reply arrived; ignored if the outcome is unknown.
        outcome: the caller's knowledge of its effect.
        seen: the entries in the reply, or None if it had none.
    """

    entry: int | None
    called: int
    returned: int
    outcome: Outcome
    seen: tuple[int, ...] | None = None


def complaints(history: Iterable[Observation], final: Sequence[int]) -> list[str]:
    """Return the reasons why `history`, ending in `final`, is not linearizable; empty if it is."""
    found: list[str] = []
    if len(set(final)) != len(final):
        found.append(f"an entry took effect twice: {list(final)}")
    observations = list(history)
    for one in observations:
        found.extend(_alone(one, final))
    found.extend(_out_of_order([(place, one) for one in observations if (place := _place(one, final)) is not None]))
    return found


def _out_of_order(placed: Sequence[tuple[int, Observation]]) -> Iterable[str]:
    """Yield the calls that miss entries which an earlier call saw. Earlier means that it ended before they began.

    One pass in the order of time is enough: of all earlier calls, the one that saw the longest log sets the bound.
    """
    ended = sorted(
        ((place, one) for place, one in placed if one.outcome is not Outcome.UNKNOWN), key=lambda each: each[1].returned
    )
    most: tuple[int, Observation] | None = None
    passed = 0
    for place, one in sorted(placed, key=lambda each: each[1].called):
        while passed < len(ended) and ended[passed][1].returned < one.called:
            if most is None or ended[passed][0] > most[0]:
                most = ended[passed]
            passed += 1
        if most is not None and _overtakes(most[0], place, one):
            yield f"{one} does not see what {most[1]} saw before it began"


def _alone(one: Observation, final: Sequence[int]) -> Iterable[str]:
    if one.entry is not None and one.outcome is Outcome.DONE and one.entry not in final:
        yield f"{one} was acknowledged and is lost"
    if one.entry is not None and one.outcome is Outcome.FAILED and one.entry in final:
        yield f"{one} failed and took effect"
    if one.seen is not None and tuple(final[: len(one.seen)]) != one.seen:
        yield f"{one} saw entries that are not how the log begins: {list(final)}"
    if one.seen is not None and one.entry is not None and one.outcome is Outcome.DONE and one.seen[-1:] != (one.entry,):
        yield f"{one} does not see its own entry last"


def _place(one: Observation, final: Sequence[int]) -> int | None:
    """Return the number of entries in the log right after the call, or None if it is unknown."""
    if one.seen is not None:
        return len(one.seen)
    if one.entry is not None and one.entry in final:
        return final.index(one.entry) + 1
    return None


def _overtakes(early: int, late: int, second: Observation) -> bool:
    appends = second.entry is not None and (second.seen is None or second.seen[-1:] == (second.entry,))
    return late <= early if appends else late < early
