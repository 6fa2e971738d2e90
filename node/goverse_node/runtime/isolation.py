"""Isolation between the turns of one object.

At any time at most one running turn has uncommitted changes (``activation.dirty``). A turn that runs beside it and also
changes the state, or that ends while those changes are uncommitted, fails with ``reentrancy_conflict``. This gives
three guarantees:

* A failed turn leaves no trace.
* Undoing a turn never undoes a commit of another turn.
* No reply shows a state that may still be undone.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from goverse.errors import GoverseError, MethodFailed, ReentrancyConflict, StateInvalid, TooLarge
from goverse.objects.creation import NO_ARGUMENTS
from goverse.objects.value_text import shown
from goverse_node.runtime.instance import invalid
from goverse_node.runtime.turn import Turn

if TYPE_CHECKING:
    from goverse_node.runtime.activation import Activation

logger = logging.getLogger("goverse.node.turn")


def observe(activation: Activation, turn: Turn) -> None:
    """Compare the state with that of the last comparison and attribute a change to ``turn``, which ran in between.

    Raises:
        MethodFailed: a readonly turn changed the state, or it has no JSON form. The change is undone.
        ReentrancyConflict: another turn has uncommitted changes. Those are kept; the change of ``turn`` is undone.
    """
    try:
        state = _current_state(activation)
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
                f"{activation.key.type}.{turn.name} changed the state while {_name(activation.dirty)} of the same "
                "object had uncommitted changes; try again"
            )
    except GoverseError as error:
        turn.condemned = error
        log_broken_rule(turn, error)
        _put_back(activation, activation.live, turn)
        raise
    activation.dirty = turn
    activation.live = state


def _readonly(activation: Activation, turn: Turn, state: bytes | None) -> MethodFailed:
    """Return the error for a readonly turn that changed the state.

    It names the changed fields. Their values are attached as notes, which go to the log and not to the caller.
    """
    name, fields = f"{activation.key.type}.{turn.name}", activation.instance.spec.state
    before, after = fields.members(activation.live), fields.members(state)
    changed = [field for field in fields.fields if before.get(field) != after.get(field)]
    failed = MethodFailed(
        f"{name} is readonly but changed {', '.join(changed) or 'the state'}; the change was undone. Declare it "
        "without readonly=True, or change a copy."
    )
    for field in changed:
        if field not in fields.hidden:
            failed.add_note(f"{field} = {shown(after.get(field))}")
    return failed


def log_broken_rule(turn: Turn, error: GoverseError) -> None:
    """Log that a method broke a rule of the object model, and add the method's name to the error."""
    if not isinstance(error, MethodFailed | TooLarge) or isinstance(error, StateInvalid):
        return
    name = f"{turn.activation.key.type}.{turn.name}"
    if not error.detail.startswith(name):
        error.detail = f"{name}: {error.detail}"
        error.args = (error.detail,)
    extra = {**turn.log_fields(), "reason": error.detail}
    if values := getattr(error, "__notes__", None):
        extra["values"] = "; ".join(values)
    logger.error("method broke a rule", extra=extra)


def _current_state(activation: Activation) -> bytes | None:
    """Return the encoded state, or None while a new object still lacks the value of a field."""
    instance = activation.instance
    if activation.live is None and instance.missing():
        return None
    return instance.dump()


def prepare(activation: Activation, turn: Turn) -> GoverseError | None:
    """Prepare a step of ``turn`` if other turns wait, or if a stray may have changed the state before it.

    Returns:
        The error that ends the turn if a change by a stray cannot be undone, else None.
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
    """Take a memento of the live state, unless there is one. Waiting turns may hold references into the state."""
    instance, live = activation.instance, activation.live
    kept = activation.mementos or []
    if any(memento.state is live and instance.is_of(memento) for memento in kept):
        return
    base = [memento for memento in kept if memento.state is instance.base and memento.state is not live]
    try:
        activation.mementos = [*base, instance.remember(live)]
    except Exception:  # a value of a user's class cannot be inspected; without a memento an undo rebuilds the state
        activation.mementos = base or None


def _outdated(activation: Activation) -> None:
    """Drop the memento of the live state after a step of a turn that may write.

    The state's bytes are equal, but the turn may have replaced containers by equal ones.
    """
    kept = [memento for memento in activation.mementos or () if memento.state is not activation.live]
    activation.mementos = kept or None


def undo_strays(activation: Activation) -> None:
    """Undo a change of the state that was made while no turn ran, by something that a method left running.

    Raises:
        StateInvalid: the change cannot be undone. The object leaves memory.
    """
    strays = activation.strays
    if strays is None or activation.dirty is not None:
        return
    try:
        changed = _current_state(activation) != activation.live
    except GoverseError:
        changed = True
    if changed:
        logger.warning(
            "undid a change of the state that was made while no turn ran, probably by a task that a method left "
            "running; such a task must call a method of the object instead",
            extra={"object": str(activation.key), "left_behind_by": ", ".join(strays.names())},
        )
        _put_back(activation, activation.live, None)
    if not strays.checked():
        activation.strays = None


def _put_back(activation: Activation, state: bytes | None, guilty: Turn | None) -> None:
    """Restore ``state``, which is the base or the state of the last comparison.

    It is restored in place if there is a memento of it. Otherwise it is rebuilt from its bytes, and the other started
    turns end with ``reentrancy_conflict``, because they may hold references into the old values.

    Raises:
        StateInvalid: the state no longer fits the class. The object leaves memory.
    """
    if not _put_back_in_place(activation, state):
        _rebuild(activation, state)
        for other in tuple(activation.running):
            if other is not guilty and other.started:  # it may hold references to values that left the object
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
    """Rebuild the state from its bytes."""
    instance = activation.instance
    try:
        try:
            instance.restore(state)
        except GoverseError:
            # The uncommitted state of another turn breaks a constraint of the class and cannot be rebuilt.
            # End that turn and fall back to the base.
            state, interrupted, activation.dirty = instance.base, activation.dirty, None
            if interrupted is None:
                raise
            instance.restore(state)
            interrupted.expire(
                ReentrancyConflict(
                    f"{_name(interrupted)} was interrupted by another turn of {activation.key}; try again"
                )
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
    """Undo the changes of ``turn``.

    Raises:
        StateInvalid: the state before them no longer fits the class. The object leaves memory.
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
    """Compare the state at the end of a turn, and keep or undo the turn's changes.

    With ``writes``, the turn creates the object if it does not exist, even if it set no field.

    Returns:
        The error with which the turn failed, or None if its changes were kept.
    """
    instance = activation.instance
    failure = turn.condemned or error or turn.expired
    if failure is None:
        try:
            observe(activation, turn)
            if activation.dirty not in (None, turn):
                raise ReentrancyConflict(
                    f"{activation.key.type}.{turn.name} ran beside {_name(activation.dirty)}, which has uncommitted "
                    "changes; try again"
                )
            if activation.dirty is turn or (writes and not instance.exists):
                _keep(activation)
            elif turn.readonly and activation.live is None:
                undo(activation, turn)  # the object does not exist; drop the fields that the readonly turn has set
            elif not turn.readonly and instance.exists:
                _refuse_other_values(activation)
            return None
        except GoverseError as refused:
            failure = refused
            if refused is not turn.condemned:
                log_broken_rule(turn, refused)
    activation.node.stats.turns_failed += 1
    try:
        undo(activation, turn)
    except GoverseError as unfit:
        return unfit
    return failure


def _refuse_other_values(activation: Activation) -> None:
    """Refuse field values that encode to the same JSON as the state but differ from the values that it decodes to.

    Raises:
        StateNotStorable: a field holds such a value.
    """
    if activation.live is not None and (refused := activation.instance.differs_from(activation.live)) is not None:
        raise refused


def _keep(activation: Activation) -> None:
    """Make the live state the new base. The caller commits it."""
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
        instance.creation = NO_ARGUMENTS  # a create with arguments replaces this by its own digest
        instance.exists = True
    activation.dirty = None
