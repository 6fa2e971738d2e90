"""The turns of an object: how each kind of request begins, and what its end means for the object and the caller."""

from __future__ import annotations

import logging
from contextvars import Context as ContextVars
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
from goverse_node import execution, isolation
from goverse_node.answers import answer, commit, refuse_when_durable
from goverse_node.call import Call
from goverse_node.instance import Instance
from goverse_node.isolation import conclude, undo
from goverse_node.phase import Phase
from goverse_node.turn import Done, Turn

if TYPE_CHECKING:
    from goverse_node.activation import Activation

logger = logging.getLogger("goverse.node.turn")


def _without_parameters(self: object) -> None: ...


NO_PARAMETERS = Arguments("create", _without_parameters, {})

_HOW_TO_CREATE = {
    "anyone": "create it first with PUT",
    "internal": "only another object creates it, with self.create (create is 'internal' for this type)",
    "nobody": "and no object of this type can be created (create is 'nobody' for this type)",
}
_NOT_COMPARED = (
    "; GET does not show the arguments {}, so it is not told whether it was created with the same ones. To repeat a "
    "request, send the Idempotency-Key of the first one again"
)


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
            context = activation.node.contexts.new()
            context.run(_start, activation, call, call.method, None, call_done, context=context)
        elif request.operation is Operation.CREATE:
            context = activation.node.contexts.new()
            context.run(_begin_create, activation, call, context)
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
            _start_hook(activation, call, on_create, partial(_hook_done, call, "on_create"))
            return True
    if not activation.activated:
        if instance.unfit is not None:
            raise instance.unfit
        _start_hook(activation, call, spec.hooks["on_activate"], partial(_hook_done, call, "on_activate"))
        return True
    return False


def _begin_create(activation: Activation, call: Call, context: ContextVars) -> None:
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
    _start(activation, call, hook, arguments, partial(_create_done, digest), context=context)


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
    hook = activation.spec.hooks.get("on_delete")
    if activation.instance.unfit is not None:
        logger.warning(
            "an object whose state does not fit its class is deleted, without on_delete",
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
    context = activation.node.contexts.new()
    context.run(_start, activation, call, hook, {}, done, context=context)


def _start(
    activation: Activation,
    call: Call | None,
    method: MethodSpec | None,
    arguments: dict[str, Any] | None,
    done: Done,
    *,
    context: ContextVars,
) -> None:
    """Start a turn in its ``context``, the current one; without ``arguments`` they are in the request's body."""
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
    execution.run(turn, activation.instance.object, arguments, context)


def deactivate(activation: Activation) -> None:
    """Run ``on_deactivate``, keep what it changed, then let the activation go."""
    try:
        _start_hook(activation, None, activation.spec.hooks["on_deactivate"], _deactivate_done)
    except StateInvalid:
        logger.exception("on_deactivate cannot run", extra={"object": str(activation.key)})
        activation.leave()


# --- ending ----------------------------------------------------------------------------------------------------------


def _end(activation: Activation, turn: Turn) -> None:
    turn.closed = True
    activation.running.remove(turn)
    if activation.mementos is not None and not activation.running:
        activation.mementos = None
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
    before = activation.instance.version if activation.instance.exists else _version(activation)
    failure = conclude(activation, turn, error, writes=not turn.readonly)
    _end(activation, turn)
    if failure is not None and _runs_again(activation, turn, call, failure):
        return
    version = activation.instance.version
    if failure is None:
        answer(activation, call, Reply(body, version if activation.instance.exists else 0), expected=before)
    else:
        problem = _problem(activation, call, failure)
        answer(activation, call, Reply(version=version, problem=problem), keep=isinstance(failure, BusinessError))
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
    if failure is not None:  # else what on_delete changed goes with the object
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
    """Go on with the call that waited for ``on_create`` or ``on_activate``, or refuse it."""
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

    The version of an object that does not exist follows the store: it rises where tombstones of its type are forgotten.
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
    """Let a turn whose caller's time is over go on for a follower that may wait longer; return False if it must end.

    A limit of the method's own holds for every caller, so it is not extended.
    """
    call = turn.call
    if call is None or call.answered or turn.limit <= now:
        return False
    if not call.make_way(_timeout_of_turn(turn), now):
        return False
    call.stats.count_timeout(f"{turn.activation.key.type}.{turn.name}")
    turn.extend(min(call.request.deadline, turn.limit))
    return True


def timeout_of(turn: Turn) -> Timeout:
    """Return the error for a turn that did not end in time; ``seconds`` is the method's own limit, if that was it.

    How long a caller wanted to wait is added by its gate.
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
        f"{turn.activation.key}.{turn.name} did not end before the deadline of this caller; it goes on for another one "
        "with the same idempotency key and may still take effect",
        operation=turn.name,
        object=str(turn.activation.key),
    )


def _runs_again(activation: Activation, turn: Turn, call: Call, failure: GoverseError) -> bool:
    """Begin a call again whose turn failed because of its first caller's deadline, for a follower that may wait longer.

    The deadline went with the calls to other objects, so these fail when it passes even if the turn itself was
    extended. Calls that they completed are not repeated: they have the same idempotency keys the second time.
    """
    now = activation.node.now()
    if call.answered or not isinstance(failure, TryAgain) or now < turn.request.deadline or turn.limit <= now:
        return False
    if call.request.deadline <= now and not call.make_way(failure, now):
        return False
    call.request.fresh_key = False  # calls to other objects may have taken effect under keys that derive from it
    activation.put_back(call)
    activation.admit()
    return True


def expire_waiting(call: Call, now: float) -> bool:
    """Refuse a call whose deadline passed before its turn began; return whether no caller waits for it any more."""
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
