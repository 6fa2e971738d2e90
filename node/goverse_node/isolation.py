"""Isolation: which turn changed the state, and what becomes of the change.

At any time at most one of the turns that run has changes that are not committed (``activation.dirty``); the others see
the state of before or are refused. That keeps three promises at once: a failed turn leaves no trace, what another turn
committed is never undone with it, and no reply speaks of a state that may still vanish.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from goverse.errors import GoverseError, MethodFailed, ReentrancyConflict, StateInvalid, TooLarge
from goverse.objects.creation import NO_ARGUMENTS
from goverse.objects.value_text import shown
from goverse_node.instance import invalid
from goverse_node.turn import Turn

if TYPE_CHECKING:
    from goverse_node.activation import Activation

logger = logging.getLogger("goverse.node.turn")


def observe(activation: Activation, turn: Turn) -> None:
    """Charge a change of the state since the last look to ``turn``, which ran in between.

    Raises:
        MethodFailed: a readonly turn changed the state, or it has no JSON form; the state is put back.
        ReentrancyConflict: another turn has changes that are not committed; the state is put back to those.
    """
    try:
        state = _look(activation)
        if state == activation.live:
            if activation.mementos is not None and not turn.readonly:
                _outdated(activation)
            if turn.readonly:
                _refuse_other_values(activation)
            return
        if turn.readonly:
            raise _readonly(activation, turn, state)
        if activation.dirty not in (None, turn):
            raise ReentrancyConflict(
                f"{activation.key.type}.{turn.name} changed the state while {_name(activation.dirty)} of "
                f"the same object had "
                "changes that are not committed; try again"
            )
    except GoverseError as error:
        turn.condemned = error
        tell_developer(turn, error)
        _put_back(activation, activation.live, turn)
        raise
    activation.dirty = turn
    activation.live = state


def _readonly(activation: Activation, turn: Turn, state: bytes | None) -> MethodFailed:
    """Return the error for a readonly turn that changed the state, with the fields; their values are notes."""
    name, fields = f"{activation.key.type}.{turn.name}", activation.instance.spec.state
    before, after = fields.members(activation.live), fields.members(state)
    changed = [field for field in fields.fields if before.get(field) != after.get(field)]
    failed = MethodFailed(
        f"{name} is readonly but changed {', '.join(changed) or 'the state'}; nothing was changed. Declare it without "
        "readonly=True, or change a copy."
    )
    for field in changed:
        if field not in fields.hidden:
            failed.add_note(f"{field} = {shown(after.get(field))}")
    return failed


def tell_developer(turn: Turn, error: GoverseError) -> None:
    """Log a rule of the object model that a method broke, and name the method in the error."""
    if not isinstance(error, MethodFailed | TooLarge) or isinstance(error, StateInvalid):
        return
    name = f"{turn.activation.key.type}.{turn.name}"
    if not error.detail.startswith(name):
        error.detail = f"{name}: {error.detail}"
        error.args = (error.detail,)
    extra = {**turn.place(), "reason": error.detail}
    if values := getattr(error, "__notes__", None):
        extra["values"] = "; ".join(values)
    logger.error("method broke a rule", extra=extra)


def _look(activation: Activation) -> bytes | None:
    """Return the state as it is now; None while an object that was never stored still lacks a field."""
    instance = activation.instance
    if activation.live is None and instance.missing():
        return None
    return instance.dump()


def prepare(activation: Activation, turn: Turn) -> GoverseError | None:
    """Get ready for a step of ``turn`` beside which others wait, or that strays may have changed the state for.

    Returns:
        The error that ends the turn, if the state cannot be put back.
    """
    if activation.strays is not None and turn.readonly:
        try:
            undo_strays(activation)
        except GoverseError as error:
            return error
    if activation.strays is not None or any(other.started and other is not turn for other in activation.running):
        remember(activation)
    return None


def remember(activation: Activation) -> None:
    """Have a memento of the live state, for turns that hold references into it."""
    instance, live = activation.instance, activation.live
    kept = activation.mementos or []
    if any(memento.state is live and instance.is_of(memento) for memento in kept):
        return
    base = [memento for memento in kept if memento.state is instance.base and memento.state is not live]
    try:
        activation.mementos = [*base, instance.remember(live)]
    except Exception:  # a value of a user's class refuses to be looked at; the state is rebuilt if need be
        activation.mementos = base or None


def _outdated(activation: Activation) -> None:
    """Drop the memento of the live state: a turn that may write had a step, and may have moved what is equal."""
    kept = [memento for memento in activation.mementos or () if memento.state is not activation.live]
    activation.mementos = kept or None


def undo_strays(activation: Activation) -> None:
    """Undo what something that a method left behind did to the state while no turn ran.

    Raises:
        StateInvalid: the state cannot be put back; the object leaves memory.
    """
    strays = activation.strays
    if strays is None or activation.dirty is not None:
        return
    try:
        changed = _look(activation) != activation.live
    except GoverseError:
        changed = True
    if changed:
        logger.warning(
            "the state changed while no turn ran and was put back; a task that a method left behind may have done it, "
            "and should call a method of the object instead",
            extra={"object": str(activation.key), "left_behind_by": ", ".join(strays.names())},
        )
        _put_back(activation, activation.live, None)
    if not strays.looked():
        activation.strays = None


def _put_back(activation: Activation, state: bytes | None, guilty: Turn | None) -> None:
    """Make ``state``, which is the base or the last seen one, the live state again.

    Raises:
        StateInvalid: it does not fit the class any more; the object leaves memory.
    """
    if not _put_back_in_place(activation, state):
        _rebuild(activation, state)
        for other in tuple(activation.running):
            if other is not guilty and other.started:  # it may hold references to what is no part of the object now
                other.expire(
                    ReentrancyConflict(f"{_name(other)} was interrupted by another turn of {activation.key}; try again")
                )


def _put_back_in_place(activation: Activation, state: bytes | None) -> bool:
    instance = activation.instance
    memento = next((each for each in activation.mementos or () if each.state is state), None)
    if memento is None:
        return False
    try:
        memento.state = activation.live = instance.put_back(memento)
    except GoverseError:
        return False
    if state is instance.base:
        instance.base = activation.live
    return True


def _rebuild(activation: Activation, state: bytes | None) -> None:
    """Build the state anew from its bytes."""
    instance = activation.instance
    try:
        try:
            instance.restore(state)
        except GoverseError:
            # What another turn left half way breaks a constraint of the class and cannot be rebuilt: that turn ends.
            state, loser, activation.dirty = instance.base, activation.dirty, None
            if loser is None:
                raise
            instance.restore(state)
            loser.expire(
                ReentrancyConflict(f"{_name(loser)} was interrupted by another turn of {activation.key}; try again")
            )
    except MethodFailed as error:
        unfit = invalid(activation.key, error)
        activation.spoil(unfit)
        raise unfit from error
    if state == instance.base:
        instance.rebase()
        activation.live = instance.base
    else:
        activation.live = instance.dump()


def undo(activation: Activation, turn: Turn) -> None:
    """Take back what ``turn`` changed.

    Raises:
        StateInvalid: the state of before does not fit the class any more; the object leaves memory.
    """
    instance = activation.instance
    if activation.dirty is turn:
        activation.dirty = None
        activation.live = instance.base
    try:
        unchanged = (
            activation.live is not None
            and instance.dump() == activation.live
            and instance.differs_from(activation.live) is None
        )
    except GoverseError:
        unchanged = False
    if not unchanged:
        _put_back(activation, activation.live, turn)


def _name(turn: Turn | None) -> str:
    return "another turn" if turn is None else turn.name


def conclude(activation: Activation, turn: Turn, error: GoverseError | None, *, writes: bool) -> GoverseError | None:
    """Look at the state a last time; keep it if it may be kept, undo it if not. Return what went wrong."""
    instance = activation.instance
    failure = turn.condemned or error or turn.expired
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
            elif not turn.readonly and instance.exists:
                _refuse_other_values(activation)
            return None
        except GoverseError as refused:
            failure = refused
            if refused is not turn.condemned:
                tell_developer(turn, refused)
    activation.node.stats.turns_failed += 1
    try:
        undo(activation, turn)
    except GoverseError as unfit:
        return unfit
    return failure


def _refuse_other_values(activation: Activation) -> None:
    """Refuse values that have the JSON of the state and are not what it is loaded as.

    Raises:
        StateNotStorable: there are such values.
    """
    if activation.live is not None and (refused := activation.instance.differs_from(activation.live)) is not None:
        raise refused


def _keep(activation: Activation) -> None:
    """Make the live state the committed one (its record follows)."""
    instance = activation.instance
    state = activation.live
    if state is None:
        instance.refuse_undeclared()
        raise MethodFailed(
            f"fields of {activation.key.type} have no value: {', '.join(instance.missing())}; give them defaults, or "
            "set them in on_create"
        )
    state = activation.live = instance.accept(state, activation.node.options.state_bytes_max)
    instance.base = state
    instance.version += 1
    if not instance.exists:
        instance.creation = NO_ARGUMENTS  # a create with arguments puts its own digest here
        instance.exists = True
    activation.dirty = None
