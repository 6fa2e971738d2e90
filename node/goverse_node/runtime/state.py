"""The state of one object in memory, and the isolation between the turns that share it.

At any time at most one running turn has uncommitted changes (``State.dirty``). A turn that runs beside it and also
changes the state, or that ends while those changes are uncommitted, fails with ``reentrancy_conflict``. This gives
three guarantees:

* A failed turn leaves no trace.
* Undoing a turn never undoes a commit of another turn.
* No reply shows a state that may still be undone.
"""

from __future__ import annotations

import logging
from weakref import ref

from goverse.errors import GoverseError, MethodFailed, ReentrancyConflict
from goverse.model.keys import ObjectKey
from goverse.objects.value_text import shown
from goverse_node.runtime.instance import Instance, invalid
from goverse_node.runtime.memento import Memento
from goverse_node.runtime.scope import Scope
from goverse_node.runtime.strays import Strays
from goverse_node.runtime.turn import Turn

logger = logging.getLogger("goverse.node.turn")


class State:
    """The live object, the changes of its running turns, and what is needed to undo them.

    Attributes:
        instance: the live object.
        running: the turns in progress. More than one only if all are readonly, or re-entrant.
        live: the encoded state at the last comparison. It differs from ``instance.base`` while ``dirty`` is set.
        dirty: the running turn that changed the state, or None.
        mementos: snapshots of the base and of a dirty turn's state, while one turn runs beside another that waits.
        strays: the tasks and callbacks that methods left running when their turns ended, or None.
    """

    __slots__ = ("dirty", "instance", "key", "live", "mementos", "running", "strays")

    def __init__(self, key: ObjectKey, instance: Instance, running: list[Turn]) -> None:
        """Hold ``instance``. ``running`` is the activation's own list of its running turns."""
        self.key = key
        self.instance = instance
        self.running = running
        self.live = instance.base
        self.dirty: Turn | None = None
        self.mementos: list[Memento] | None = None
        self.strays: Strays | None = None

    # --- steps of turns -----------------------------------------------------------------------------------------------

    def observe(self, turn: Turn) -> None:
        """Compare the state with that of the last comparison and attribute a change to ``turn``, which ran in between.

        Raises:
            MethodFailed: a readonly turn changed the state, or it has no JSON form. The change is undone.
            ReentrancyConflict: another turn has uncommitted changes. Those are kept; the change of ``turn`` is undone.
        """
        try:
            state = self._encoded()
            if state == self.live:
                if self.mementos is not None and not turn.readonly:
                    self._drop_live_memento()
                if turn.readonly:
                    self._refuse_other_values()
                return
            if turn.readonly:
                raise self._changed_by_reader(turn, state)
            if self.dirty is not None and self.dirty is not turn:
                raise ReentrancyConflict(
                    f"{turn.full_name} changed the state while {self.dirty.name} of the same object had uncommitted "
                    "changes; try again"
                )
        except GoverseError as error:
            turn.condemned = error
            turn.log_broken_rule(error)
            self._return_to(self.live, turn, guilty=turn)
            raise
        self.dirty = turn
        self.live = state

    def _encoded(self) -> bytes | None:
        """Return the present state as JSON, or None while a new object still lacks the value of a field."""
        instance = self.instance
        return None if self.live is None and instance.missing() else instance.dump()

    def prepare(self, turn: Turn) -> GoverseError | None:
        """Prepare a step of ``turn`` if other turns wait, or if a stray may have changed the state before it.

        Returns:
            The error that ends the turn if a change by a stray cannot be undone, else None.
        """
        if self.strays is not None and turn.readonly:
            try:
                self.undo_strays(turn)
            except GoverseError as error:
                return error
        if self.strays is not None or any(other.started and other is not turn for other in self.running):
            self._remember()
        return None

    def _changed_by_reader(self, turn: Turn, state: bytes | None) -> MethodFailed:
        """Return the error for a readonly turn that changed the state.

        It names the changed fields. Their values are attached as notes, which go to the log and not to the caller.
        """
        fields = self.instance.spec.state
        before, after = fields.members(self.live), fields.members(state)
        changed = [field for field in fields.fields if before.get(field) != after.get(field)]
        failed = MethodFailed(
            f"{turn.full_name} is readonly but changed {', '.join(changed) or 'the state'}; the change was undone. "
            "Declare it without readonly=True, or change a copy."
        )
        for field in changed:
            if field not in fields.hidden:
                failed.add_note(f"{field} = {shown(after.get(field))}")
        return failed

    def _remember(self) -> None:
        """Take a memento of the live state, unless there is one. Waiting turns may hold references into the state."""
        instance, live = self.instance, self.live
        kept = self.mementos or []
        if any(memento.state is live and instance.is_of(memento) for memento in kept):
            return
        base = [memento for memento in kept if memento.state is instance.base and memento.state is not live]
        try:
            self.mementos = [*base, instance.remember(live)]
        except Exception:  # a value of a user's class cannot be inspected; without a memento an undo rebuilds the state
            self.mementos = base or None

    def _drop_live_memento(self) -> None:
        """Drop the memento of the live state after a step of a turn that may write.

        The state's bytes are equal, but the turn may have replaced containers by equal ones.
        """
        kept = [memento for memento in self.mementos or () if memento.state is not self.live]
        self.mementos = kept or None

    # --- strays -------------------------------------------------------------------------------------------------------

    def left_behind(self, turn: Turn, mark: ref[Scope]) -> None:
        """Track a task or callback that a method left running when its turn ended."""
        if self.strays is None:
            self.strays = Strays()
        self.strays.add(f"{turn.name} ({turn.request.request_id})", mark)

    def undo_strays(self, turn: Turn) -> None:
        """Undo a change that was made while no turn ran, by something that a method left running. ``turn`` is next.

        Raises:
            StateInvalid: the change cannot be undone. The object leaves memory.
        """
        strays = self.strays
        if strays is None or self.dirty is not None:
            return
        try:
            changed = self._encoded() != self.live
        except GoverseError:
            changed = True
        if changed:
            logger.warning(
                "undid a change of the state that was made while no turn ran, probably by a task that a method left "
                "running; such a task must call a method of the object instead",
                extra={"object": str(self.key), "left_behind_by": ", ".join(strays.names())},
            )
            self._return_to(self.live, turn, guilty=None)
        if not strays.checked():
            self.strays = None

    # --- end of turns -------------------------------------------------------------------------------------------------

    def conclude(self, turn: Turn, error: GoverseError | None, *, creates: bool) -> GoverseError | None:
        """Compare the state at the end of a turn, and keep or undo the turn's changes.

        With ``creates``, the turn creates the object if it does not exist, even if it set no field.

        Returns:
            The error with which the turn failed, or None if its changes were kept.
        """
        instance = self.instance
        failure = turn.condemned or error or turn.expired
        if failure is None:
            try:
                self.observe(turn)
                if self.dirty is not None and self.dirty is not turn:
                    raise ReentrancyConflict(
                        f"{turn.full_name} ran beside {self.dirty.name}, which has uncommitted changes; try again"
                    )
                if self.dirty is turn or (creates and not instance.exists):
                    self._keep(turn)
                elif turn.readonly and self.live is None:
                    self._undo(turn)  # the object does not exist; drop the fields that the readonly turn has set
                elif not turn.readonly and instance.exists:
                    self._refuse_other_values()
                return None
            except GoverseError as refused:
                failure = refused
                if refused is not turn.condemned:
                    turn.log_broken_rule(refused)
        try:
            self._undo(turn)
        except GoverseError as unfit:
            return unfit
        return failure

    def conclude_deletion(self, turn: Turn, error: GoverseError | None) -> GoverseError | None:
        """Delete the object at the end of a turn that succeeded, with the turn's changes; otherwise undo these.

        Returns:
            The error with which the turn failed, or None if the object was deleted.
        """
        failure = turn.condemned or error or turn.expired
        if failure is None:
            old = self.instance
            try:
                self.instance = Instance(old.spec, self.key, None, old.version + 1)
                self.live = self.instance.base
                return None
            except GoverseError as refused:  # a default of the object that takes its place cannot be made
                failure = refused
                turn.log_broken_rule(refused)
        try:
            self._undo(turn)
        except GoverseError as unfit:
            return unfit
        return failure

    def _refuse_other_values(self) -> None:
        """Refuse field values that encode to the same JSON as the state but differ from the values that it decodes to.

        Raises:
            StateNotStorable: a field holds such a value.
        """
        if self.live is not None and (refused := self.instance.differs_from(self.live)) is not None:
            raise refused

    def _keep(self, turn: Turn) -> None:
        """Make the live state the new base. The caller commits it."""
        instance = self.instance
        state = self.live
        if state is None:
            instance.refuse_undeclared()
            raise MethodFailed(
                f"fields of {self.key.type} have no value: {', '.join(instance.missing())}; give them defaults, or "
                "set them in on_create"
            )
        state = self.live = instance.accept(state, turn.activation.host.options.state_bytes_max)
        instance.base = state
        instance.version += 1
        if not instance.exists:
            instance.creation = turn.creation
            instance.exists = True
        self.dirty = None

    # --- undo ---------------------------------------------------------------------------------------------------------

    def _undo(self, turn: Turn) -> None:
        """Undo the changes of ``turn``.

        Raises:
            StateInvalid: the state before them no longer fits the class. The object leaves memory.
        """
        instance = self.instance
        if self.dirty is turn:
            self.dirty = None
            self.live = instance.base
        try:
            unchanged = (
                self.live is not None and instance.dump() == self.live and instance.differs_from(self.live) is None
            )
        except GoverseError:
            unchanged = False
        if not unchanged:
            self._return_to(self.live, turn, guilty=turn)

    def _return_to(self, state: bytes | None, turn: Turn, *, guilty: Turn | None) -> None:
        """Restore ``state``, which is the base or the state of the last comparison, because of ``turn``.

        It is restored in place if there is a memento of it. Otherwise it is rebuilt from its bytes, and the other
        started turns end with ``reentrancy_conflict``, because they may hold references into the old values.

        Raises:
            StateInvalid: the state no longer fits the class. The object leaves memory.
        """
        if not self._return_in_place(state):
            self._rebuild(state, turn)
            for other in tuple(self.running):
                if other is not guilty and other.started:  # it may hold references to values that left the object
                    other.expire(self._interrupted(other))

    def _return_in_place(self, state: bytes | None) -> bool:
        instance = self.instance
        memento = next((each for each in self.mementos or () if each.state is state), None)
        if memento is None:
            return False
        try:
            memento.state = self.live = instance.put_back(memento)
        except GoverseError:
            return False
        if state is instance.base:
            instance.base = self.live
        return True

    def _rebuild(self, state: bytes | None, turn: Turn) -> None:
        """Rebuild the state from its bytes, because of ``turn``."""
        instance = self.instance
        try:
            try:
                instance.restore(state)
            except GoverseError:
                # The uncommitted state of another turn breaks a constraint of the class and cannot be rebuilt.
                # End that turn and fall back to the base.
                state, interrupted, self.dirty = instance.base, self.dirty, None
                if interrupted is None:
                    raise
                instance.restore(state)
                interrupted.expire(self._interrupted(interrupted))
        except MethodFailed as error:
            unfit = invalid(self.key, error)
            turn.activation.spoil(unfit)
            raise unfit from error
        if state == instance.base:
            instance.rebase()
            self.live = instance.base
        else:
            self.live = instance.dump()

    def _interrupted(self, turn: Turn) -> ReentrancyConflict:
        return ReentrancyConflict(f"{turn.name} was interrupted by another turn of {self.key}; try again")
