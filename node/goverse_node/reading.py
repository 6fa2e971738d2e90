"""Reading the state of an object: what is durable, in the shape of the present class, without a turn.

An object that is in memory with nothing on its way to the store is answered from there, where nobody else can have a
newer state; else the store is asked.
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
        _answer(call, known)
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


def _in_memory(node: Node, key: ObjectKey) -> Reply | None:
    activation = node.residents.get(key)
    if activation is None or activation.phase is not Phase.ACTIVE or activation.tail is not None:
        return None
    instance = activation.instance
    if not instance.exists or instance.base is None:
        return None
    if not node.tenure.may_answer(activation.shard, activation.epoch):
        return None
    return Reply(instance.base, instance.version, instance.commit_seq)


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
        call.refuse(ObjectNotFound(f"{key} does not exist"))
        return
    try:
        found = node.contexts.new().run(Instance, node.registry.type(key.type), key, stored)
        state = found.base or b""
    except GoverseError as error:
        call.refuse(error)
    else:
        _answer(call, Reply(state, stored.version, stored.commit_seq))


def _answer(call: Call, found: Reply) -> None:
    wanted = call.request.if_match
    if wanted in (None, MUST_EXIST, found.version):
        call.answer(found)
        return
    error = VersionMismatch(f"the object is at version {found.version}, not {wanted}", version=found.version)
    call.answer(Reply(version=found.version, problem=Problem.of(error, call.request.request_id)))
