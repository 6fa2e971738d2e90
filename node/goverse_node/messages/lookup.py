"""Look-ups of calls by id: among the pending calls of this node, and among the ends that the store keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from goverse.errors import CallNotFound, Executed, GoverseError, Moving, Unavailable, known
from goverse.model.call_ids import placement_of_call
from goverse.model.call_status import CallStatus
from goverse.model.effects import FinishedCall
from goverse.model.frames import Request
from goverse.model.keys import ObjectKey
from goverse.model.replies import decode_reply
from goverse.objects.registry import Registry
from goverse.ports.store import Store
from goverse_node.messages.dispatcher import Dispatcher
from goverse_node.messages.outboxes import Entry
from goverse_node.runtime.lease_check import CommitHost, EpochCheck


class LookupHost(CommitHost, Protocol):
    """The part of a node that finds calls."""

    dispatcher: Dispatcher
    registry: Registry

    @property
    def store(self) -> Store: ...


class Lookup:
    """Finds the calls that requests name."""

    def __init__(self, host: LookupHost) -> None:
        self._host = host

    def shard_of(self, key: ObjectKey) -> int:
        """Return the shard of a sender or a place, whose pending calls are known here.

        Raises:
            Moving: the shard is not open here.
            Unavailable: its outbox is still being read.
        """
        host = self._host
        shard = host.shard_access.shard_of(key)
        if host.shard_access.epoch(shard) is None:
            raise Moving
        if not host.dispatcher.outboxes.is_read(shard):
            raise known(Unavailable("the pending calls of the shard are not known yet; try again"), Executed.NO)
        return shard

    def pending(self, request: Request, call_id: str) -> Entry | None:
        """Return the pending call that a request is about, or None."""
        outboxes = self._host.dispatcher.outboxes
        if request.key.type:
            return outboxes.named(request.key, call_id)
        if placement_of_call(call_id) is None:
            return None
        return next(iter(outboxes.with_id(request.key.namespace, call_id)), None)

    async def end(self, request: Request, call_id: str) -> FinishedCall:
        """Return the kept end of the call that a request is about.

        Raises:
            CallNotFound: there is none.
            GoverseError: the store does not answer.
        """
        key = request.key
        sender = key if key.type else None
        if sender is None and placement_of_call(call_id) is None:
            raise not_found(call_id, hint="; its sender chose the id, so the request has to name the sender")
        end = await self._host.store.finished_call(key.namespace, call_id, sender=sender)
        if end is None:
            raise not_found(call_id)
        return end

    def when_ours(self, key: ObjectKey, then: Callable[[GoverseError | None], None]) -> None:
        """Call ``then``, after a check of the epoch in the store if the node's claim of the shard is not certain."""
        host = self._host
        shard = host.shard_access.shard_of(key)
        epoch = host.shard_access.epoch(shard)
        if epoch is None:
            then(Moving())
        elif host.shard_access.may_answer(shard, epoch):
            then(None)
        else:
            name = key if key.type else ObjectKey(key.namespace, next(iter(host.registry.types), "-"), key.id)
            EpochCheck(host, name, shard=shard, epoch=epoch).start(then)


def not_found(call_id: str, hint: str = "") -> CallNotFound:
    """Return the error for an id under which nothing is pending or kept."""
    return CallNotFound(f"no call {call_id!r} is pending, and no outcome of one is kept{hint}")


def status_of(end: FinishedCall) -> CallStatus:
    """Return the status of a call whose end is kept."""
    problem = decode_reply(end.outcome, 0).problem if end.outcome else None
    return CallStatus(end.call, end.sender, end.state, end.attempts, finished_ms=end.finished_ms, problem=problem)
