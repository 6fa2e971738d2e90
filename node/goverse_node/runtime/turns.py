"""Start and end of turns, for each kind of request: call, create, delete and hooks.

The first half starts a turn: it checks the request's conditions and runs the hooks that are due before it. The second
half handles a finished turn: it keeps or undoes the change of the state, commits, and answers the caller.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from goverse.errors import (
    BusinessError,
    GoverseError,
    ObjectExists,
    ObjectNotFound,
    StateInvalid,
    Timeout,
    TryAgain,
    VersionMismatch,
)
from goverse.model.frames import MUST_EXIST, Operation, Problem, Reply, Request
from goverse.model.records import StoredObject
from goverse.objects.codec import Arguments
from goverse.objects.creation import creation_of
from goverse.objects.spec import MethodSpec
from goverse_node.runtime import execution, isolation
from goverse_node.runtime.answers import answer, commit, refuse_when_durable
from goverse_node.runtime.call import Call
from goverse_node.runtime.instance import Instance
from goverse_node.runtime.isolation import conclude, undo
from goverse_node.runtime.phase import Phase
from goverse_node.runtime.turn import Done, Turn

if TYPE_CHECKING:
    from goverse_node.runtime.activation import Activation

logger = logging.getLogger("goverse.node.turn")


def _without_parameters(self: object) -> None: ...


NO_PARAMETERS = Arguments("create", _without_parameters, {})

_HOW_TO_CREATE = {
    "anyone": "create it first with PUT",
    "internal": "only other objects can create it, with self.create (create is 'internal' for this type)",
    "nobody": "objects of this type cannot be created (create is 'nobody' for this type)",
}
_NOT_COMPARED = (
    "; the arguments {} are not shown by GET, so they are not compared with those of the creation. To retry a "
    "request, send the Idempotency-Key of the first one again"
)


# --- start -----------------------------------------------------------------------------------------------------------


def begin(activation: Activation, call: Call) -> None:
    """Start the turn of an admitted call, or the turn of a hook that has to run before it."""
    if call.request.deadline <= (now := activation.node.now()) and expire_waiting(call, now):
        return
    request = call.request
    try:
        if request.operation is Operation.CALL:
            if call.created_for is not activation.instance:
                _check_version(activation.instance, request)
            if _runs_hook_first(activation, call):
                return
            assert call.method is not None
            activation.node.contexts.new().run(_start, activation, call, call.method, None, call_done)
        elif request.operation is Operation.CREATE:
            activation.node.contexts.new().run(_begin_create, activation, call)
        else:
            _begin_delete(activation, call)
    except GoverseError as error:
        refuse_when_durable(activation, call, error)


def _runs_hook_first(activation: Activation, call: Call) -> bool:
    """Run ``on_create`` or ``on_activate`` in a turn of its own if it is due. The call starts again after it."""
    instance, spec = activation.instance, activation.spec
    if not instance.exists:
        if not spec.policy.creates_on_call:
            raise _missing(activation, _HOW_TO_CREATE[spec.policy.create])
        on_create = spec.hooks.get("on_create")
        if on_create is not None:
            if on_create.arguments.required:
                needed = ", ".join(on_create.arguments.required)
                raise _missing(activation, f"create it first with PUT and {needed}")
            _start_hook(activation, call, on_create, partial(_hook_done, call, "on_create"))
            return True
    if not activation.activated:
        if instance.unfit is not None:
            raise instance.unfit
        _start_hook(activation, call, spec.hooks["on_activate"], partial(_hook_done, call, "on_activate"))
        return True
    return False


def _begin_create(activation: Activation, call: Call) -> None:
    instance, request = activation.instance, call.request
    hook = activation.spec.hooks.get("on_create")
    arguments = (hook.arguments if hook else NO_PARAMETERS).decode(request.body)
    digest, names = creation_of(hook.arguments if hook else NO_PARAMETERS, request.body)
    if instance.exists:
        if request.if_match == 0:
            raise _exists(activation, "")
        _check_version(instance, request)
        if instance.unfit is not None:
            raise instance.unfit
        if unseen := [name for name in names if not activation.spec.shows(name)]:
            raise _exists(activation, _NOT_COMPARED.format(", ".join(unseen)))
        if instance.creation not in (None, digest):
            raise _exists(activation, " and was created with other arguments")
        answer(activation, call, Reply(version=instance.version))
        return
    if request.if_match != 0:
        _check_version(instance, request)
    _start(activation, call, hook, arguments, partial(_create_done, digest))


def _exists(activation: Activation, how: str) -> ObjectExists:
    key, version = activation.key, activation.instance.version
    return ObjectExists(f"{key} already exists{how}", object=str(key), version=version)


def _missing(activation: Activation, hint: str = "") -> ObjectNotFound:
    key = activation.key
    return ObjectNotFound(f"{key} does not exist{'; ' if hint else ''}{hint}", object=str(key))


def _begin_delete(activation: Activation, call: Call) -> None:
    if not activation.instance.exists:
        raise _missing(activation)
    _check_version(activation.instance, call.request)
    hook = activation.spec.hooks.get("on_delete")
    if activation.instance.unfit is not None:
        logger.warning(
            "deleting an object whose state does not fit its class, without on_delete",
            extra={"object": str(activation.key)},
        )
        hook = None
    _start_hook(activation, call, hook, _delete_done)


def _check_version(instance: Instance, request: Request) -> None:
    if request.if_match is not None:
        present = instance.version if instance.exists else 0
        if request.if_match == MUST_EXIST and not present:
            raise VersionMismatch("the object does not exist", version=0)
        if request.if_match not in (present, MUST_EXIST):
            raise VersionMismatch(f"the object is at version {present}, not {request.if_match}", version=present)


def _start_hook(activation: Activation, call: Call | None, hook: MethodSpec | None, done: Done) -> None:
    activation.node.contexts.new().run(_start, activation, call, hook, {}, done)


def _start(
    activation: Activation,
    call: Call | None,
    method: MethodSpec | None,
    arguments: dict[str, Any] | None,
    done: Done,
) -> None:
    """Start a turn in the current context, which is its own. Arguments default to those in the request's body."""
    node = activation.node
    request = node.own_request(activation.key) if call is None else call.request
    if arguments is None:
        assert method is not None
        arguments = method.arguments.decode(request.body)
    turn = Turn(activation, request, method, done, deadline=request.deadline)
    if method is not None:
        limit = method.timeout_s
        if limit is None and (call is None or done is not call_done):
            limit = node.options.hook_timeout_s
        if limit is not None:
            turn.limit = node.now() + limit
            turn.deadline = min(request.deadline, turn.limit)
    turn.call = call
    if activation.strays is not None:
        isolation.undo_strays(activation)
    if activation.running:
        isolation.prepare(activation, turn)
    activation.running.append(turn)
    execution.run(turn, activation.instance.object, arguments)


def deactivate(activation: Activation) -> None:
    """Run ``on_deactivate``, commit its changes, then remove the activation from memory."""
    try:
        _start_hook(activation, None, activation.spec.hooks["on_deactivate"], _deactivate_done)
    except StateInvalid:
        logger.exception("on_deactivate could not run", extra={"object": str(activation.key)})
        activation.leave()


# --- end -------------------------------------------------------------------------------------------------------------


def _end(activation: Activation, turn: Turn) -> None:
    turn.closed = True
    activation.running.remove(turn)
    if activation.mementos is not None and not activation.running:
        activation.mementos = None
    if turn.task is not None:
        activation.node.untrack(turn)
        turn.task = None  # its context refers to the turn: a reference cycle that only the garbage collector could free


def _is_over(activation: Activation, turn: Turn) -> bool:
    """End the turn and return True if its activation is gone. Its caller was refused when the turn expired."""
    if activation.phase is not Phase.GONE:
        return False
    _end(activation, turn)
    if turn.call is not None:
        turn.call.refuse(turn.expired or Timeout("the turn ended after its object left memory; it has no effect"))
    return True


def call_done(turn: Turn, body: bytes, error: GoverseError | None) -> None:
    activation, call = turn.activation, turn.call
    assert call is not None
    if _is_over(activation, turn):
        return
    instance = activation.instance
    before = instance.version if instance.exists else _version(activation)
    failure = conclude(activation, turn, error, writes=not turn.readonly)
    _end(activation, turn)
    if failure is None:
        answer(activation, call, Reply(body, instance.version if instance.exists else 0), expected=before)
    elif _runs_again(activation, turn, call, failure):
        return
    else:
        reply = Reply(version=activation.instance.version, problem=_problem(activation, call, failure))
        answer(activation, call, reply, keep=isinstance(failure, BusinessError))
    activation.admit()


def _create_done(digest: bytes, turn: Turn, _body: bytes, error: GoverseError | None) -> None:
    activation, call = turn.activation, turn.call
    assert call is not None
    if _is_over(activation, turn):
        return
    before, instance = _version(activation), activation.instance
    failure = conclude(activation, turn, error, writes=True)
    _end(activation, turn)
    if failure is not None and _runs_again(activation, turn, call, failure):
        return
    if failure is None:
        instance.creation = digest
        answer(activation, call, Reply(version=instance.version, created=True), expected=before)
    else:
        problem = _problem(activation, call, failure)
        answer(activation, call, Reply(problem=problem), keep=isinstance(failure, BusinessError))
    activation.admit()


def _delete_done(turn: Turn, _body: bytes, error: GoverseError | None) -> None:
    activation, call = turn.activation, turn.call
    assert call is not None
    if _is_over(activation, turn):
        return
    old = activation.instance
    failure = turn.condemned or error or turn.expired
    if failure is not None:  # otherwise the changes of on_delete are deleted with the object
        try:
            undo(activation, turn)
        except GoverseError as unfit:
            failure = unfit
    _end(activation, turn)
    if failure is not None and _runs_again(activation, turn, call, failure):
        return
    if failure is not None:
        activation.node.stats.turns_failed += 1
        problem = _problem(activation, call, failure)
        answer(
            activation,
            call,
            Reply(version=old.version, problem=problem),
            keep=isinstance(failure, BusinessError),
        )
    else:
        activation.instance = Instance(activation.spec, activation.key, None, old.version + 1)
        activation.live = activation.instance.base
        activation.activated = "on_activate" not in activation.spec.hooks
        answer(activation, call, Reply(version=old.version + 1), expected=old.version)
    activation.admit()


def _hook_done(waiting: Call, hook: str, turn: Turn, _body: bytes, error: GoverseError | None) -> None:
    """Start the call that waited for ``on_create`` or ``on_activate``, or refuse it if the hook failed."""
    activation = turn.activation
    if _is_over(activation, turn):
        return
    before = _version(activation)
    failure = conclude(activation, turn, error, writes=hook == "on_create")
    _end(activation, turn)
    if failure is not None and _runs_again(activation, turn, waiting, failure):
        return
    if failure is not None:
        problem = _problem(activation, waiting, failure)
        reply = Reply(version=before, problem=problem)
        answer(activation, waiting, reply, keep=isinstance(failure, BusinessError))
    else:
        activation.activated = activation.activated or hook == "on_activate"
        if activation.instance.version != before:
            commit(activation, None, Reply(version=activation.instance.version), expected=before)
        if hook == "on_create":
            waiting.created_for = activation.instance
        activation.put_back(waiting)
    activation.admit()


def _deactivate_done(turn: Turn, _body: bytes, error: GoverseError | None) -> None:
    activation = turn.activation
    if _is_over(activation, turn):
        return
    before = activation.instance.version
    conclude(activation, turn, error, writes=False)
    _end(activation, turn)
    if activation.instance.version != before:
        commit(activation, None, Reply(version=activation.instance.version), expected=before)
    activation.leave()


def _version(activation: Activation) -> int:
    """Return the version that a commit of the object builds on.

    For an object that does not exist it is read from the store again, because it rises when the store forgets
    tombstones of the type.
    """
    instance, node = activation.instance, activation.node
    if node.loads_at_once and not instance.exists:
        stored = node.store.load(activation.key)
        if isinstance(stored, StoredObject) and stored.state is None:
            instance.version = max(instance.version, stored.version)
    return instance.version


def _problem(activation: Activation, call: Call, failure: GoverseError) -> Problem:
    problem = Problem.of(failure, call.request.request_id)
    if activation.node.shows_causes:
        problem.cause = failure.__cause__
    return problem


def extend(turn: Turn, now: float) -> bool:
    """Extend a turn whose caller timed out, for a follower with a later deadline. Return False if there is none.

    The method's own time limit applies to every caller and is not extended.
    """
    call = turn.call
    if call is None or call.answered or turn.limit <= now:
        return False
    if not call.promote_follower(_timeout_of_turn(turn), now):
        return False
    call.stats.count_timeout(f"{turn.activation.key.type}.{turn.name}")
    turn.extend(min(call.request.deadline, turn.limit))
    return True


def timeout_of(turn: Turn) -> Timeout:
    """Return the error for a turn that did not end before its deadline.

    ``seconds`` is set if the method's own time limit ended it. The time that the caller was willing to wait is added by
    its gate.
    """
    own_limit: dict[str, float] = {}
    if turn.method is not None and turn.limit <= turn.deadline:
        own_limit["seconds"] = turn.method.timeout_s or turn.activation.node.options.hook_timeout_s
    return Timeout(
        f"{turn.activation.key}.{turn.name} did not end before its deadline; {turn.fate}",
        operation=turn.name,
        object=str(turn.activation.key),
        **own_limit,
    )


def _timeout_of_turn(turn: Turn) -> Timeout:
    return Timeout(
        f"{turn.activation.key}.{turn.name} did not end before the deadline of this caller; it continues for another "
        "caller with the same idempotency key and may still take effect",
        operation=turn.name,
        object=str(turn.activation.key),
    )


def _runs_again(activation: Activation, turn: Turn, call: Call, failure: GoverseError) -> bool:
    """Run a call again, for a follower, if its turn failed because of the deadline of the first caller.

    Nested calls carry the first caller's deadline and fail when it passes, even if the turn itself was extended. Nested
    calls that were completed have no second effect, because the second run derives the same idempotency keys.
    """
    now = activation.node.now()
    if call.answered or not isinstance(failure, TryAgain) or now < turn.request.deadline or turn.limit <= now:
        return False
    if call.request.deadline <= now and not call.promote_follower(failure, now):
        return False
    call.request.fresh_key = False  # nested calls may have taken effect under keys that derive from this one
    activation.put_back(call)
    activation.admit()
    return True


def expire_waiting(call: Call, now: float) -> bool:
    """Refuse a call whose deadline passed before its turn began.

    Returns:
        True if the call was refused. False if a follower with a later deadline took its place, so that the call still
        has a waiter.
    """
    call.stats.count_timeout("queue")
    error = Timeout(
        f"{call.request.key} was busy until the deadline; the call did not start",
        operation=call.request.method or call.request.operation.name.lower(),
        object=str(call.request.key),
    )
    if call.promote_follower(error, now):
        return False
    call.refuse(error)
    return True
