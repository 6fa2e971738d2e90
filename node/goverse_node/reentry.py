"""Re-entrancy: a call whose chain comes back to an object that waits for it.

It must not wait in the mailbox, for its chain would wait for itself. It runs at once, inside the turn that waits, where
that turn allows it and nothing uncommitted could be read or overwritten; otherwise it fails with ``deadlock``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from goverse.errors import Deadlock, GoverseError
from goverse.model.frames import Operation
from goverse_node import execution
from goverse_node.call import Call
from goverse_node.turn import Turn
from goverse_node.turns import call_done

if TYPE_CHECKING:
    from goverse_node.activation import Activation


def reenter(activation: Activation, call: Call) -> None:
    """Run a call whose chain came back to the object, or refuse it: it must not wait for itself."""
    try:
        turn = _returning(call, activation)
        method = call.method
        if method is None or call.request.operation is not Operation.CALL:
            raise Deadlock(f"{activation.key} cannot be created or deleted by a call that it waits for")
        if turn.readonly and not method.readonly:
            raise Deadlock(
                f"{activation.key}.{turn.name} is readonly and waits; {method.name} would change the object meanwhile"
            )
        if not turn.readonly and (turn.method is None or not turn.method.reentrant):
            raise Deadlock(
                f"the call chain returns to {activation.key}, which waits for it in {turn.name}; declare that method "
                "reentrant=True if calls may come back"
            )
        if activation.dirty is not None:
            raise Deadlock(
                f"the call chain returns to {activation.key}, whose {activation.dirty.name} waits for it "
                f"with changes that are "
                "not committed; let that method change the state after its calls, not before"
            )
        arguments = method.arguments.decode(call.request.body)
        limit = activation.node.now() + (method.timeout_s or activation.node.options.call_timeout_s)
        nested = Turn(activation, call.request, method, call_done, deadline=min(call.request.deadline, limit))
        nested.call = call
        nested.stepped = method.is_async
        activation.running.append(nested)
        execution.run(nested, activation.instance.object, arguments)
    except GoverseError as error:
        call.refuse(error)


def _returning(call: Call, activation: Activation) -> Turn:
    """Return the turn of this object that waits for ``call``.

    Raises:
        Deadlock: that turn is over; nobody waits for the call any more.
    """
    chain = call.request.chain
    for turn in reversed(activation.running):
        depth = len(turn.request.chain)
        if depth < len(chain) and chain[depth] == activation.key and chain[:depth] == turn.request.chain:
            return turn
    raise Deadlock(f"the call that led back to {activation.key} is over already")
