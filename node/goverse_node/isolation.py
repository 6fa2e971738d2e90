"""Isolation: which turn changed the state, and what becomes of the change.

At any time at most one of the turns that run has changes that are not committed (``activation.dirty``); the others see
the state of before or are refused. That keeps three promises at once: a failed turn leaves no trace, what another turn
committed is never undone with it, and no reply speaks of a state that may still vanish.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from goverse.errors import GoverseError, MethodFailed, ReentrancyConflict
from goverse.objects.creation import NO_ARGUMENTS
from goverse_node.turn import Turn

if TYPE_CHECKING:
    from goverse_node.activation import Activation


def observe(activation: Activation, turn: Turn) -> None:
    """Charge a change of the state since the last look to ``turn``, which ran in between.

    Raises:
        MethodFailed: a readonly turn changed the state, or it has no JSON form; the state is put back.
        ReentrancyConflict: another turn has changes that are not committed; the state is put back to those.
    """
    try:
        state = _look(activation)
        if state == activation.live:
            return
        if turn.readonly:
            raise MethodFailed(
                f"{activation.key.type}.{turn.name} is readonly but changed the state; nothing was changed"
            )
        if activation.dirty not in (None, turn):
            raise ReentrancyConflict(
                f"{activation.key.type}.{turn.name} changed the state while {_name(activation.dirty)} of "
                f"the same object had "
                "changes that are not committed; try again"
            )
    except GoverseError:
        _put_back(activation, activation.live)
        raise
    activation.dirty = turn
    activation.live = state


def _look(activation: Activation) -> bytes | None:
    """Return the state as it is now; None while an object that was never stored still lacks a field."""
    instance = activation.instance
    if activation.live is None and instance.missing():
        return None
    return instance.dump()


def _put_back(activation: Activation, state: bytes | None) -> None:
    """Make ``state``, which is the base or the last seen one, the live state again."""
    instance = activation.instance
    try:
        instance.restore(state)
    except GoverseError:
        # What another turn left half way breaks a constraint of the class: nobody can rebuild it, so that turn ends.
        state, loser, activation.dirty = instance.base, activation.dirty, None
        instance.restore(state)
        if loser is not None:
            loser.expire(
                ReentrancyConflict(f"{_name(loser)} was interrupted by another turn of {activation.key}; try again")
            )
    if state == instance.base:
        instance.rebase()
        activation.live = instance.base
    else:
        activation.live = instance.dump()


def undo(activation: Activation, turn: Turn) -> None:
    """Take back what ``turn`` changed."""
    instance = activation.instance
    if activation.dirty is turn:
        activation.dirty = None
        activation.live = instance.base
    try:
        unchanged = activation.live is not None and instance.dump() == activation.live
    except GoverseError:
        unchanged = False
    if not unchanged:
        _put_back(activation, activation.live)


def _name(turn: Turn | None) -> str:
    return "another turn" if turn is None else turn.name


def conclude(activation: Activation, turn: Turn, error: GoverseError | None, *, writes: bool) -> GoverseError | None:
    """Look at the state a last time; keep it if it may be kept, undo it if not. Return what went wrong."""
    instance = activation.instance
    failure = error or turn.expired
    if failure is None:
        try:
            observe(activation, turn)
            if activation.dirty not in (None, turn):
                raise ReentrancyConflict(
                    f"{activation.key.type}.{turn.name} ran beside {_name(activation.dirty)}, which has "
                    f"changes that are not "
                    "committed; try again"
                )
            if activation.dirty is turn or (writes and not instance.exists):
                _keep(activation)
            elif turn.readonly and activation.live is None:
                undo(activation, turn)  # fields of an object that is not there yet
            return None
        except GoverseError as refused:
            failure = refused
    activation.node.stats.turns_failed += 1
    undo(activation, turn)
    return failure


def _keep(activation: Activation) -> None:
    """Make the live state the committed one (its record follows)."""
    instance = activation.instance
    state = activation.live
    if state is None:
        raise MethodFailed(f"fields of {activation.key.type} have no value: {', '.join(instance.missing())}")
    instance.accept(state, activation.node.options.state_bytes_max)
    instance.base = state
    instance.version += 1
    if not instance.exists:
        instance.creation = NO_ARGUMENTS  # a create with arguments puts its own digest here
        instance.exists = True
    activation.dirty = None
