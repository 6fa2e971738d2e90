"""The turns of an object: how each kind of request begins, and what its end means for the object and the caller."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from goverse.errors import (
    BusinessError,
    GoverseError,
    ObjectExists,
    ObjectNotFound,
    Timeout,
    VersionMismatch,
)
from goverse.model.frames import MUST_EXIST, Operation, Problem, Reply, Request
from goverse.objects.codec import Arguments
from goverse.objects.creation import creation_digest
from goverse.objects.spec import MethodSpec
from goverse_node import execution
from goverse_node.answers import answer, commit, refuse_when_durable
from goverse_node.call import Call
from goverse_node.instance import Instance
from goverse_node.isolation import conclude, undo
from goverse_node.phase import Phase
from goverse_node.turn import Done, Turn

if TYPE_CHECKING:
    from goverse_node.activation import Activation


def _without_parameters(self: object) -> None: ...


NO_PARAMETERS = Arguments("create", _without_parameters, {})

_HOW_TO_CREATE = {
    "anyone": "create it first with PUT",
    "internal": "only another object creates it, with self.create (create is 'internal' for this type)",
    "nobody": "and no object of this type can be created (create is 'nobody' for this type)",
}


# --- beginning -------------------------------------------------------------------------------------------------------


def begin(activation: Activation, call: Call) -> None:
    """Begin the turn of an admitted call, after the hooks that have to run before it."""
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
            _start(activation, call, call.method, call.method.arguments.decode(request.body), call_done)
        elif request.operation is Operation.CREATE:
            _begin_create(activation, call)
        else:
            _begin_delete(activation, call)
    except GoverseError as error:
        refuse_when_durable(activation, call, error)


def _runs_hook_first(activation: Activation, call: Call) -> bool:
    """Create or activate the object in a turn of its own if that is due; the call follows it."""
    instance, spec = activation.instance, activation.spec
    if not instance.exists:
        if not spec.policy.creates_on_call:
            raise _missing(activation, _HOW_TO_CREATE[spec.policy.create])
        on_create = spec.hooks.get("on_create")
        if on_create is not None:
            if on_create.arguments.required:
                needed = ", ".join(on_create.arguments.required)
                raise _missing(activation, f"create it first with PUT and {needed}")
            _start(activation, call, on_create, {}, partial(_hook_done, call, "on_create"))
            return True
    if not activation.activated:
        _start(activation, call, spec.hooks["on_activate"], {}, partial(_hook_done, call, "on_activate"))
        return True
    return False


def _begin_create(activation: Activation, call: Call) -> None:
    instance, request = activation.instance, call.request
    hook = activation.spec.hooks.get("on_create")
    arguments = (hook.arguments if hook else NO_PARAMETERS).decode(request.body)
    digest = creation_digest(hook.arguments if hook else NO_PARAMETERS, request.body)
    if instance.exists:
        if request.if_match == 0:
            raise _exists(activation, "")
        _check_version(instance, request)
        if instance.creation not in (None, digest):
            raise _exists(activation, " and was created with other arguments")
        answer(activation, call, Reply(version=instance.version))
        return
    if request.if_match != 0:
        _check_version(instance, request)
    _start(activation, call, hook, arguments, partial(_create_done, digest))


def _exists(activation: Activation, how: str) -> ObjectExists:
    key, version = activation.key, activation.instance.version
    return ObjectExists(f"{key} exists already{how}", object=str(key), version=version)


def _missing(activation: Activation, hint: str = "") -> ObjectNotFound:
    key = activation.key
    return ObjectNotFound(f"{key} does not exist{'; ' if hint else ''}{hint}", object=str(key))


def _begin_delete(activation: Activation, call: Call) -> None:
    if not activation.instance.exists:
        raise _missing(activation)
    _check_version(activation.instance, call.request)
    _start(activation, call, activation.spec.hooks.get("on_delete"), {}, _delete_done)


def _check_version(instance: Instance, request: Request) -> None:
    if request.if_match is not None:
        present = instance.version if instance.exists else 0
        if request.if_match == MUST_EXIST and not present:
            raise VersionMismatch("the object does not exist", version=0)
        if request.if_match not in (present, MUST_EXIST):
            raise VersionMismatch(f"the object is at version {present}, not {request.if_match}", version=present)


def _start(
    activation: Activation,
    call: Call | None,
    method: MethodSpec | None,
    arguments: dict[str, Any],
    done: Done,
) -> Turn:
    node = activation.node
    request = node.own_request(activation.key) if call is None else call.request
    deadline = request.deadline
    if method is not None:
        limit = method.timeout_s
        if limit is None and (call is None or done is not call_done):
            limit = node.options.hook_timeout_s
        if limit is not None:
            deadline = min(deadline, node.now() + limit)
    turn = Turn(activation, request, method, done, deadline=deadline)
    turn.call = call
    activation.running.append(turn)
    execution.run(turn, activation.instance.object, arguments)
    return turn


def deactivate(activation: Activation) -> None:
    """Run ``on_deactivate``, keep what it changed, then let the activation go."""
    _start(activation, None, activation.spec.hooks["on_deactivate"], {}, _deactivate_done)


# --- ending ----------------------------------------------------------------------------------------------------------


def _end(activation: Activation, turn: Turn) -> None:
    turn.closed = True
    activation.running.remove(turn)
    if turn.task is not None:
        activation.node.untrack(turn)
        turn.task = None  # its context holds the turn: a ring that only the cyclic collector could open


def _is_over(activation: Activation, turn: Turn) -> bool:
    """End a turn whose activation is gone; whoever called it has been told."""
    if activation.phase is not Phase.GONE:
        return False
    _end(activation, turn)
    if turn.call is not None:
        turn.call.refuse(turn.expired or Timeout("the turn ended too late"))
    return True


def call_done(turn: Turn, body: bytes, error: GoverseError | None) -> None:
    activation, call = turn.activation, turn.call
    assert call is not None
    if _is_over(activation, turn):
        return
    before = activation.instance.version
    failure = conclude(activation, turn, error, writes=not turn.readonly)
    _end(activation, turn)
    version = activation.instance.version
    if failure is None:
        answer(activation, call, Reply(body, version if activation.instance.exists else 0), expected=before)
    else:
        problem = Problem.of(failure, call.request.request_id)
        answer(activation, call, Reply(version=version, problem=problem), keep=isinstance(failure, BusinessError))
    activation.admit()


def _create_done(digest: bytes, turn: Turn, _body: bytes, error: GoverseError | None) -> None:
    activation, call = turn.activation, turn.call
    assert call is not None
    if _is_over(activation, turn):
        return
    before, instance = activation.instance.version, activation.instance
    failure = conclude(activation, turn, error, writes=True)
    _end(activation, turn)
    if failure is None:
        instance.creation = digest
        answer(activation, call, Reply(version=instance.version, created=True), expected=before)
    else:
        problem = Problem.of(failure, call.request.request_id)
        answer(activation, call, Reply(problem=problem), keep=isinstance(failure, BusinessError))
    activation.admit()


def _delete_done(turn: Turn, _body: bytes, error: GoverseError | None) -> None:
    activation, call = turn.activation, turn.call
    assert call is not None
    if _is_over(activation, turn):
        return
    old = activation.instance
    failure = error or turn.expired
    undo(activation, turn)  # what on_delete changed goes with the object, or is taken back
    _end(activation, turn)
    if failure is not None:
        activation.node.stats.turns_failed += 1
        problem = Problem.of(failure, call.request.request_id)
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
    """Go on with the call that waited for ``on_create`` or ``on_activate``, or refuse it."""
    activation = turn.activation
    if _is_over(activation, turn):
        return
    before = activation.instance.version
    failure = conclude(activation, turn, error, writes=hook == "on_create")
    _end(activation, turn)
    if failure is not None:
        problem = Problem.of(failure, waiting.request.request_id)
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


def expire_waiting(call: Call, now: float) -> bool:
    """Refuse a call whose deadline passed before its turn began; tell whether nobody waits for it any more."""
    call.stats.count_timeout("queue")
    error = Timeout(
        f"{call.request.key} was busy until the deadline; the call was not begun",
        operation=call.request.method or call.request.operation.name.lower(),
        object=str(call.request.key),
    )
    if call.make_way(error, now):
        return False
    call.refuse(error)
    return True
