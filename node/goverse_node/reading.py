"""READ requests: the durable state of an object, in the shape of the current class, without a turn.

If the object is in memory without pending commits, and no other node can have a newer state, the reply is made from
memory. Otherwise the state is loaded from the store. A node whose shard is not open answers with ``moving``: the node
that serves the object may have changed it since.

After the node's lease has expired, the result of the store is confirmed by a commit
(``goverse_node.runtime.lease_check``).

Types with a view or hidden fields show less than the state (``goverse_node.showing``).
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Callable
from typing import Protocol

from goverse.errors import GoverseError, Moving, ObjectNotFound, VersionMismatch
from goverse.model.frames import MUST_EXIST, Problem, Reply, Request
from goverse.model.keys import ObjectKey
from goverse.model.records import StoredObject
from goverse.objects.registry import Registry
from goverse.ports.store import Store
from goverse_node.activation_cache import ActivationCache
from goverse_node.options import NodeOptions
from goverse_node.runtime.activation import Phase
from goverse_node.runtime.call import Call
from goverse_node.runtime.contexts import TurnContexts
from goverse_node.runtime.deadlines import Deadlines
from goverse_node.runtime.instance import Instance
from goverse_node.runtime.lease_check import CommitHost, EpochCheck
from goverse_node.runtime.method_errors import unexpected
from goverse_node.runtime.store_answer import outcome, refusal
from goverse_node.showing import shown


class ReaderHost(CommitHost, Protocol):
    """The part of a node that reads use."""

    contexts: TurnContexts
    deadlines: Deadlines
    options: NodeOptions
    registry: Registry
    store: Store


class Reader:
    """Answers the READ requests of a node."""

    def __init__(self, host: ReaderHost, activations: ActivationCache) -> None:
        self._host = host
        self._activations = activations

    def read(self, call: Call) -> None:
        """Answer a READ request.

        Raises:
            Moving: the object's shard is not open here.
            UnknownType: the type is not registered.
        """
        key = call.request.key
        self._host.registry.type(key.type)
        known = self._in_memory(key)
        if known is not None:
            if known.shows_base:
                _answer(call, Reply(known.base or b"", known.version, known.commit_seq))
            elif (reply := self._visible(call, _durable_form(known))) is not None:
                _answer(call, reply)
            return
        self._open_epoch(key)
        try:
            stored = self._host.store.load(key)
        except Exception as error:
            call.refuse(refusal(error))
            return
        if isinstance(stored, Future):
            self._host.deadlines.watch(call)
            stored.add_done_callback(lambda answer: self._loaded(call, answer))
        else:
            self._reply(call, stored)

    def _in_memory(self, key: ObjectKey) -> Instance | None:
        """Return the live object if its ``base`` is durable and known to be the newest state, else None."""
        activation = self._activations.get(key)
        if activation is None or activation.phase is not Phase.ACTIVE or activation.gate.tail is not None:
            return None
        instance = activation.state.instance
        if not instance.exists or instance.base is None:
            return None
        if not self._host.shard_access.may_answer(activation.shard, activation.epoch):
            return None
        return instance

    def _open_epoch(self, key: ObjectKey) -> tuple[int, int]:
        """Return the object's shard, and the epoch under which this node serves it.

        Raises:
            Moving: the shard is not open here.
        """
        shard = self._host.shard_access.shard_of(key)
        epoch = self._host.shard_access.epoch(shard)
        if epoch is None:
            raise Moving
        return shard, epoch

    def _loaded(self, call: Call, answer: Future[StoredObject | None]) -> None:
        self._host.deadlines.unwatch(call)
        stored, error = outcome(answer)
        if error is not None:
            call.refuse(error)
        else:
            self._reply(call, stored)

    def _reply(self, call: Call, stored: StoredObject | None) -> None:
        key = call.request.key
        if stored is None or stored.state is None:
            missing = ObjectNotFound(f"{key} does not exist", object=str(key))
            self._when_ours(call, lambda: call.refuse(missing))
        elif (reply := self._visible(call, stored)) is not None:
            self._when_ours(call, lambda: _answer(call, reply))

    def _visible(self, call: Call, stored: StoredObject) -> Reply | None:
        """Return the visible form of a stored object, built from an instance without hooks and calls.

        If that fails, the call is refused and None returned.
        """
        try:
            state = self._host.contexts.new().run(self._shown, call.request, stored)
        except GoverseError as error:
            call.refuse(error)
            return None
        except BaseException as error:
            where = {"object": str(call.request.key), "request_id": call.request.request_id}
            call.refuse(unexpected(error, f"{call.request.key} could not be read", where))
            return None
        return Reply(state, stored.version, stored.commit_seq)

    def _shown(self, request: Request, stored: StoredObject) -> bytes:
        instance = Instance(self._host.registry.type(request.key.type), request.key, stored)
        return shown(instance, self._host.options.result_bytes_max, request.request_id)

    def _when_ours(self, call: Call, deliver: Callable[[], None]) -> None:
        """Call ``deliver``, after a check of the epoch in the store if the node's claim of the shard is not certain."""
        host, key = self._host, call.request.key
        try:
            shard, epoch = self._open_epoch(key)
        except GoverseError as error:
            call.refuse(error)
            return
        if host.shard_access.may_answer(shard, epoch):
            deliver()
            return

        def checked(error: GoverseError | None) -> None:
            host.deadlines.unwatch(call)
            if error is None:
                deliver()
            else:
                call.refuse(error)

        host.deadlines.watch(call)
        EpochCheck(host, key, shard=shard, epoch=epoch).start(checked)


def _durable_form(instance: Instance) -> StoredObject:
    """Return the stored form of a live object."""
    state_version = instance.spec.policy.state_version
    return StoredObject(instance.version, instance.base, state_version, instance.commit_seq, 0)


def _answer(call: Call, found: Reply) -> None:
    wanted = call.request.if_match
    if wanted in (None, MUST_EXIST, found.version):
        call.answer(found)
        return
    error = VersionMismatch(f"the object is at version {found.version}, not {wanted}", version=found.version)
    call.answer(Reply(version=found.version, problem=Problem.of(error, call.request.request_id)))
