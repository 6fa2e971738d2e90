"""READ requests: the durable state of an object, in the shape of the current class, without a turn.

If the object is in memory without pending commits, and no other node can have a newer state, the reply is made from
memory. Otherwise the state is loaded from the store.

After the node's lease has expired, the result of the store is confirmed by a commit. A database server that was cut off
from its standbys may still answer reads with old data, but cannot commit.

Types with a view or hidden fields show less than the state (``goverse_node.showing``).
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Callable
from typing import TYPE_CHECKING

from goverse.errors import GoverseError, ObjectNotFound, VersionMismatch
from goverse.model.frames import MUST_EXIST, Problem, Reply, Request
from goverse.model.keys import ObjectKey
from goverse.model.records import CommitRecord, StoredObject
from goverse_node.runtime.call import Call
from goverse_node.runtime.group_commit import PendingCommit
from goverse_node.runtime.instance import Instance
from goverse_node.runtime.phase import Phase
from goverse_node.runtime.store_answer import outcome, refusal
from goverse_node.showing import shown

if TYPE_CHECKING:
    from goverse_node.node import Node


def read(node: Node, call: Call) -> None:
    """Answer a READ request.

    Raises:
        UnknownType: the type is not registered.
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
        _reply(node, call, stored)


def _in_memory(node: Node, key: ObjectKey) -> Instance | None:
    """Return the live object if its ``base`` is durable and known to be the newest state, else None."""
    activation = node.activations.get(key)
    if activation is None or activation.phase is not Phase.ACTIVE or activation.tail is not None:
        return None
    instance = activation.instance
    if not instance.exists or instance.base is None:
        return None
    if not node.shard_access.may_answer(activation.shard, activation.epoch):
        return None
    return instance


def _durable_form(instance: Instance) -> StoredObject:
    """Return the stored form of a live object."""
    state_version = instance.spec.policy.state_version
    return StoredObject(instance.version, instance.base, state_version, instance.commit_seq, 0)


def _loaded(node: Node, call: Call, answer: Future[StoredObject | None]) -> None:
    node.unwatch(call)
    stored, error = outcome(answer)
    if error is not None:
        call.refuse(error)
    else:
        _reply(node, call, stored)


def _reply(node: Node, call: Call, stored: StoredObject | None) -> None:
    key = call.request.key
    if stored is None or stored.state is None:
        missing = ObjectNotFound(f"{key} does not exist", object=str(key))
        _when_ours(node, call, lambda: call.refuse(missing))
    else:
        _show(node, call, stored)


def _show(node: Node, call: Call, stored: StoredObject) -> None:
    """Answer with the visible form of a stored object, built from an instance without hooks and calls."""
    try:
        state = node.contexts.new().run(_shown, node, call.request, stored)
    except GoverseError as error:
        call.refuse(error)
    else:
        reply = Reply(state, stored.version, stored.commit_seq)
        _when_ours(node, call, lambda: _answer(call, reply))


def _when_ours(node: Node, call: Call, deliver: Callable[[], None]) -> None:
    """Call ``deliver``; if the node's claim of the shard is not certain, check its epoch in the store first."""
    key = call.request.key
    shard = node.shard_access.shard_of(key)
    epoch = node.shard_access.epoch(shard)
    if epoch is None or node.shard_access.may_answer(shard, epoch):
        deliver()
        return
    record = CommitRecord(key, 0, 0, None, 0, node.clock.wall_ms(), shard=shard, epoch=epoch)
    node.watch(call)
    node.pipeline.append(PendingCommit(record, _EpochCheck(node, record, deliver), call, Reply()))


class _EpochCheck:
    """Owner of the check's record."""

    def __init__(self, node: Node, record: CommitRecord, deliver: Callable[[], None]) -> None:
        self._node = node
        self._record = record
        self._deliver = deliver

    @property
    def failure(self) -> GoverseError | None:
        return None

    def fenced(self) -> None:
        self._node.shard_access.fenced(self._record.shard, self._record.epoch)

    def settled(self, pending: PendingCommit, commit_seq: int, error: GoverseError | None) -> None:
        del commit_seq  # the reply has the commit_seq of the state that was read
        call = pending.call
        assert call is not None
        self._node.unwatch(call)
        if error is None:
            self._deliver()
        else:
            call.refuse(error)


def _shown(node: Node, request: Request, stored: StoredObject) -> bytes:
    instance = Instance(node.registry.type(request.key.type), request.key, stored)
    return shown(instance, node.options.result_bytes_max, request.request_id)


def _answer(call: Call, found: Reply) -> None:
    wanted = call.request.if_match
    if wanted in (None, MUST_EXIST, found.version):
        call.answer(found)
        return
    error = VersionMismatch(f"the object is at version {found.version}, not {wanted}", version=found.version)
    call.answer(Reply(version=found.version, problem=Problem.of(error, call.request.request_id)))
