"""Re-entrancy: a call whose chain returns to an object that waits for it.

Example: ``A.start`` calls ``B.work``, which calls ``A.status``. The third call must not wait in A's mailbox, because it
would wait for ``A.start``, which waits for it. It runs immediately, inside the waiting turn, if that turn is re-entrant
(or both methods are readonly) and the object has no uncommitted changes. Otherwise it fails with ``deadlock``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from goverse.errors import Deadlock, GoverseError, ReentrancyConflict
from goverse.model.frames import Operation
from goverse.objects.declaration import HOOKS
from goverse.objects.spec import MethodSpec
from goverse_node.runtime import execution, isolation
from goverse_node.runtime.call import Call
from goverse_node.runtime.turn import Turn
from goverse_node.runtime.turns import call_done, expire_waiting

if TYPE_CHECKING:
    from goverse_node.runtime.activation import Activation


def reenter(activation: Activation, call: Call) -> None:
    """Run a call whose chain returns to the object, or refuse it."""
    if call.request.deadline <= (now := activation.node.now()) and expire_waiting(call, now):
        return
    activation.node.contexts.new().run(_begin, activation, call)


def _begin(activation: Activation, call: Call) -> None:
    try:
        method = _admit(activation, call)
        arguments = method.arguments.decode(call.request.body)
    except GoverseError as error:
        call.refuse(error)
        return
    limit = activation.node.now() + (method.timeout_s or activation.node.options.call_timeout_s)
    nested = Turn(activation, call.request, method, call_done, deadline=min(call.request.deadline, limit))
    nested.limit = limit
    nested.call = call
    nested.stepped = True
    isolation.prepare(activation, nested)
    activation.running.append(nested)
    execution.run(nested, activation.instance.object, arguments)


def _admit(activation: Activation, call: Call) -> MethodSpec:
    turn, method = _waiting_turn(activation, call), call.method
    if method is None or call.request.operation is not Operation.CALL:
        raise Deadlock(
            f"{activation.key} cannot be created or deleted by a call that it waits for; do it after that call"
        )
    if turn.readonly and not method.readonly:
        raise Deadlock(
            f"{activation.key}.{turn.name} is readonly and waits for this call, but {method.name} may change the "
            f"object; call a readonly method instead, or declare {turn.name} without readonly=True"
        )
    if not turn.readonly and (turn.method is None or not turn.method.reentrant):
        raise Deadlock(
            f"the call chain returns to {activation.key}, which waits for it in {turn.name}; {_remedy(turn)}"
        )
    isolation.observe(activation, turn)  # detect changes by the turn's tasks since its last step
    dirty = activation.dirty
    if dirty is not None and _led_to(dirty, call):
        raise Deadlock(
            f"the call chain returns to {activation.key}, whose {dirty.name} waits for it with uncommitted changes; "
            "let that method change the state after its calls, not before"
        )
    if dirty is not None:
        raise ReentrancyConflict(
            f"the call chain returned to {activation.key}.{method.name} while {dirty.name} of the same object had "
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


def _waiting_turn(activation: Activation, call: Call) -> Turn:
    """Return the turn of this object that waits for ``call``.

    Raises:
        Deadlock: that turn has ended, so nothing waits for the call any more.
    """
    for turn in reversed(activation.running):
        if _led_to(turn, call):
            return turn
    raise Deadlock(f"the call chain returns to {activation.key}, but its call there has already ended")


def _led_to(turn: Turn, call: Call) -> bool:
    """Return True if ``call`` was made on behalf of ``turn``: it extends the turn's chain and has its request id."""
    before, chain = turn.request.chain, call.request.chain
    depth = len(before)
    return (
        depth < len(chain)
        and chain[depth] == turn.activation.key
        and chain[:depth] == before
        and turn.request.request_id == call.request.request_id
    )
