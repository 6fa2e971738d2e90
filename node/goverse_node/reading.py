"""Reading the state of an object: what is durable, in the shape of the present class, without a turn.

An object that is in memory with nothing on its way to the store is answered from there, where nobody else can have a
newer state; else the store is asked. Types with a view or hidden fields show less than the state
(``goverse_node.showing``).
"""

from __future__ import annotations

from asyncio import Future
from typing import TYPE_CHECKING

from goverse.errors import GoverseError, ObjectNotFound, VersionMismatch
from goverse.model.frames import MUST_EXIST, Problem, Reply
from goverse.model.keys import ObjectKey
from goverse.model.records import StoredObject
from goverse_node.call import Call
from goverse_node.instance import Instance
from goverse_node.lookup import outcome, refusal
from goverse_node.phase import Phase
from goverse_node.showing import shown

if TYPE_CHECKING:
    from goverse_node.node import Node


def read(node: Node, call: Call) -> None:
    """Answer a READ.

    Raises:
        UnknownType: there is no such type.
    """
    key = call.request.key
    node.registry.type(key.type)
    known = _in_memory(node, key)
    if known is not None:
        if known.shows_base:
            _answer(call, Reply(known.base or b"", known.version, known.commit_seq))
        else:
            _show(node, call, _durable_form(known))
        return
    try:
        stored = node.store.load(key)
    except Exception as error:
        call.refuse(refusal(error))
        return
    if isinstance(stored, Future):
        node.watch(call)
        stored.add_done_callback(lambda answer: _loaded(node, call, answer))
    else:
        _tell(node, call, stored)


def _in_memory(node: Node, key: ObjectKey) -> Instance | None:
    """Return the live object if its ``base`` is durable and surely the newest state."""
    activation = node.residents.get(key)
    if activation is None or activation.phase is not Phase.ACTIVE or activation.tail is not None:
        return None
    instance = activation.instance
    if not instance.exists or instance.base is None:
        return None
    if not node.tenure.may_answer(activation.shard, activation.epoch):
        return None
    return instance


def _durable_form(instance: Instance) -> StoredObject:
    """Return what the store holds of a live object."""
    state_version = instance.spec.policy.state_version
    return StoredObject(instance.version, instance.base, state_version, instance.commit_seq, 0)


def _loaded(node: Node, call: Call, answer: Future[StoredObject | None]) -> None:
    node.unwatch(call)
    stored, error = outcome(answer)
    if error is not None:
        call.refuse(error)
    else:
        _tell(node, call, stored)


def _tell(node: Node, call: Call, stored: StoredObject | None) -> None:
    key = call.request.key
    if stored is None or stored.state is None:
        call.refuse(ObjectNotFound(f"{key} does not exist", object=str(key)))
    else:
        _show(node, call, stored)


def _show(node: Node, call: Call, stored: StoredObject) -> None:
    """Answer with what callers see of a stored object, from an instance that runs no hooks and serves no calls."""
    key = call.request.key
    try:
        state = node.contexts.new().run(_shown, node, key, stored)
    except GoverseError as error:
        call.refuse(error)
    else:
        _answer(call, Reply(state, stored.version, stored.commit_seq))


def _shown(node: Node, key: ObjectKey, stored: StoredObject) -> bytes:
    return shown(Instance(node.registry.type(key.type), key, stored), node.options.result_bytes_max)


def _answer(call: Call, found: Reply) -> None:
    wanted = call.request.if_match
    if wanted in (None, MUST_EXIST, found.version):
        call.answer(found)
        return
    error = VersionMismatch(f"the object is at version {found.version}, not {wanted}", version=found.version)
    call.answer(Reply(version=found.version, problem=Problem.of(error, call.request.request_id)))
