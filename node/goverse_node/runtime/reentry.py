"""Re-entrancy: a call whose chain returns to an object that waits for it.

Example: ``A.start`` calls ``B.work``, which calls ``A.status``. The third call must not wait in A's mailbox, because it
would wait for ``A.start``, which waits for it. It runs immediately, inside the waiting turn, if that turn is re-entrant
(or both methods are readonly) and the object has no uncommitted changes. Otherwise it fails with ``deadlock``.
"""

from __future__ import annotations

from collections.abc import Sequence

from goverse.errors import Deadlock, ReentrancyConflict
from goverse.model.frames import Operation
from goverse.model.keys import ObjectKey
from goverse.objects.declaration import HOOKS
from goverse.objects.spec import MethodSpec
from goverse_node.runtime.call import Call
from goverse_node.runtime.state import State
from goverse_node.runtime.turn import Turn


def waiting_turn(call: Call, key: ObjectKey, running: Sequence[Turn]) -> Turn:
    """Return the running turn of the object ``key`` that waits for ``call``.

    Raises:
        Deadlock: that turn has ended, so nothing waits for the call any more.
    """
    for turn in reversed(running):
        if turn.led_to(call):
            return turn
    raise Deadlock(f"the call chain returns to {key}, but its call there has already ended")


def method_inside(call: Call, waiting: Turn, state: State) -> MethodSpec:
    """Return the method that ``call`` may run inside the turn ``waiting``, which waits for it.

    Raises:
        Deadlock: the waiting turn does not allow the method, or has uncommitted changes.
        ReentrancyConflict: another turn has uncommitted changes.
    """
    key, method = state.key, call.method
    if method is None or call.request.operation is not Operation.CALL:
        raise Deadlock(f"{key} cannot be created or deleted by a call that it waits for; do it after that call")
    if waiting.readonly and not method.readonly:
        raise Deadlock(
            f"{key}.{waiting.name} is readonly and waits for this call, but {method.name} may change the "
            f"object; call a readonly method instead, or declare {waiting.name} without readonly=True"
        )
    if not waiting.readonly and (waiting.method is None or not waiting.method.reentrant):
        raise Deadlock(f"the call chain returns to {key}, which waits for it in {waiting.name}; {_remedy(waiting)}")
    state.observe(waiting)  # detect changes by the turn's tasks since its last step
    dirty = state.dirty
    if dirty is not None and dirty.led_to(call):
        raise Deadlock(
            f"the call chain returns to {key}, whose {dirty.name} waits for it with uncommitted changes; "
            "let that method change the state after its calls, not before"
        )
    if dirty is not None:
        raise ReentrancyConflict(
            f"the call chain returned to {key}.{method.name} while {dirty.name} of the same object had "
            "uncommitted changes; try again"
        )
    return method


def _remedy(turn: Turn) -> str:
    """Return the advice for an error text. Methods can be declared re-entrant, hooks cannot."""
    if turn.name not in HOOKS:
        return "declare that method reentrant=True if calls may return to it"
    return (
        "calls cannot return to an object while its hook runs: pass the values they need as arguments, or make the "
        "call in a method that runs after the hook"
    )
