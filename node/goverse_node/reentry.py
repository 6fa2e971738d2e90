"""Re-entrancy: a call whose chain comes back to an object that waits for it.

It must not wait in the mailbox, for its chain would wait for itself. It runs at once, inside the turn that waits, where
that turn allows it and nothing uncommitted could be read or overwritten; otherwise it fails with ``deadlock``.
"""

from __future__ import annotations

from contextvars import Context as ContextVars
from typing import TYPE_CHECKING

from goverse.errors import Deadlock, GoverseError, ReentrancyConflict
from goverse.model.frames import Operation
from goverse.objects.declaration import HOOKS
from goverse.objects.spec import MethodSpec
from goverse_node import execution, isolation
from goverse_node.call import Call
from goverse_node.turn import Turn
from goverse_node.turns import call_done, expire_waiting

if TYPE_CHECKING:
    from goverse_node.activation import Activation


def reenter(activation: Activation, call: Call) -> None:
    """Run a call whose chain came back to the object, or refuse it."""
    if call.request.deadline <= (now := activation.node.now()) and expire_waiting(call, now):
        return
    context = activation.node.contexts.new()
    context.run(_begin, activation, call, context)


def _begin(activation: Activation, call: Call, context: ContextVars) -> None:
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
    execution.run(nested, activation.instance.object, arguments, context)


def _admit(activation: Activation, call: Call) -> MethodSpec:
    turn, method = _waiting_turn(activation, call), call.method
    if method is None or call.request.operation is not Operation.CALL:
        raise Deadlock(
            f"{activation.key} cannot be created or deleted by a call that it waits for; do it after that call"
        )
    if turn.readonly and not method.readonly:
        raise Deadlock(
            f"{activation.key}.{turn.name} is readonly and waits; {method.name} would change the object meanwhile; let "
            f"the call chain come back to a readonly method, or declare {turn.name} without readonly=True"
        )
    if not turn.readonly and (turn.method is None or not turn.method.reentrant):
        raise Deadlock(
            f"the call chain returns to {activation.key}, which waits for it in {turn.name}; {_remedy(turn)}"
        )
    isolation.observe(activation, turn)  # what tasks of the turn did between two steps of it
    dirty = activation.dirty
    if dirty is not None and _led_to(dirty, call):
        raise Deadlock(
            f"the call chain returns to {activation.key}, whose {dirty.name} waits for it with changes that are not "
            "committed; let that method change the state after its calls, not before"
        )
    if dirty is not None:
        raise ReentrancyConflict(
            f"{activation.key}.{method.name} came back while {dirty.name} of the same object had changes that are "
            "not committed; try again"
        )
    return method


def _remedy(turn: Turn) -> str:
    """Return how the chain could run: a hook cannot be re-entrant, every other method can."""
    if turn.name not in HOOKS:
        return "declare that method reentrant=True if calls may come back"
    return (
        "calls cannot come back while a hook runs: pass what they ask for as an argument, or make the call in a method "
        "that runs after the hook"
    )


def _waiting_turn(activation: Activation, call: Call) -> Turn:
    """Return the turn of this object that waits for ``call``.

    Raises:
        Deadlock: that turn is over; nobody waits for the call any more.
    """
    for turn in reversed(activation.running):
        if _led_to(turn, call):
            return turn
    raise Deadlock(f"the call that led back to {activation.key} is over already")


def _led_to(turn: Turn, call: Call) -> bool:
    """Whether ``call`` was made on behalf of ``turn``: the chains agree, and it is the same request all along."""
    before, chain = turn.request.chain, call.request.chain
    depth = len(before)
    return (
        depth < len(chain)
        and chain[depth] == turn.activation.key
        and chain[:depth] == before
        and turn.request.request_id == call.request.request_id
    )
