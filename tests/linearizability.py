"""Is what the callers of one object saw what one copy of it, asked one call at a time, could have shown them?

The object is a log: a writing call appends its own number and answers with all entries, a reading one answers them.
So every answer names the calls that came before it, and the check needs no search: answers must be prefixes of the
final log, in the order in which calls followed each other in real time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto


class Outcome(Enum):
    """What the caller knows of a call."""

    DONE = auto()
    FAILED = auto()  # it had no effect
    UNKNOWN = auto()  # it may have had its effect, or have it later


@dataclass(frozen=True)
class Observation:
    """One call as its caller saw it.

    Attributes:
        entry: the number that it appends, or None for a reading call.
        called: when it began.
        returned: when its answer came; not looked at where the outcome is unknown.
        outcome: what the caller knows.
        seen: the entries that it was answered with, or None where the answer told none.
    """

    entry: int | None
    called: int
    returned: int
    outcome: Outcome
    seen: tuple[int, ...] | None = None


def complaints(history: Iterable[Observation], final: Sequence[int]) -> list[str]:
    """Return why `history` with `final` as its outcome is not linearizable; empty when it is."""
    found: list[str] = []
    if len(set(final)) != len(final):
        found.append(f"an entry took effect twice: {list(final)}")
    observations = list(history)
    for one in observations:
        found.extend(_alone(one, final))
    found.extend(_out_of_order([(place, one) for one in observations if (place := _place(one, final)) is not None]))
    return found


def _out_of_order(placed: Sequence[tuple[int, Observation]]) -> Iterable[str]:
    """Yield the calls that do not see what a call saw that ended before they began.

    One pass in the order of time: of all calls that ended before, the one that saw most demands most.
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
    """How many entries the log had right after the call, where that can be known."""
    if one.seen is not None:
        return len(one.seen)
    if one.entry is not None and one.entry in final:
        return final.index(one.entry) + 1
    return None


def _overtakes(early: int, late: int, second: Observation) -> bool:
    appends = second.entry is not None and (second.seen is None or second.seen[-1:] == (second.entry,))
    return late <= early if appends else late < early
