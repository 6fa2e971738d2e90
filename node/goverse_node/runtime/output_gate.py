"""The output gate of one object: its commits, and the replies that wait for them.

A reply is sent after the commit of its turn. A turn without a commit waits for the newest commit that the object had
made by then (``tail``): until that is durable, the state behind the reply could still be lost. If all commits are
durable already, the reply is sent immediately, or after a check that this node still owns the shard
(``goverse_node.runtime.lease_check``).

``commit`` is the only place where the commit record of a turn is put together. Whatever a turn makes durable besides
the state and the kept reply joins that record there.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Protocol

from goverse.errors import GoverseError
from goverse.limits import ROUTER_KEY_RETENTION_S
from goverse.model.cause import encode_call
from goverse.model.effects import ANY_VERSION
from goverse.model.frames import Problem, Reply
from goverse.model.keys import ROUTER_KEY_PREFIX
from goverse.model.records import CommitRecord, StoredReply
from goverse.model.replies import encode_reply
from goverse_node.options import NodeOptions
from goverse_node.runtime.call import Call
from goverse_node.runtime.group_commit import Owner, PendingCommit
from goverse_node.runtime.lease_check import CommitHost, EpochCheck
from goverse_node.runtime.outgoing import Outgoing
from goverse_node.runtime.state import State
from goverse_node.runtime.turn_effects import TurnEffects

logger = logging.getLogger("goverse.node")


class GateHost(CommitHost, Protocol):
    """The part of a host that commits records, within the options of the node, and reports those with effects."""

    options: NodeOptions
    outgoing: Outgoing


class OutputGate:
    """The commits of one object that are not durable yet, and what waits for them.

    Attributes:
        tail: the newest commit that is not durable yet, or None.
        queued: the commits with effects that are not durable yet, in order; None until there are any.
    """

    __slots__ = ("_epoch", "_host", "_shard", "_state", "queued", "tail")

    def __init__(self, host: GateHost, state: State, *, shard: int, epoch: int) -> None:
        """Commit the changes of ``state`` under ``epoch``."""
        self._host = host
        self._state = state
        self._shard = shard
        self._epoch = epoch
        self.tail: PendingCommit | None = None
        self.queued: deque[PendingCommit] | None = None

    def answer(
        self,
        owner: Owner,
        call: Call,
        reply: Reply,
        *,
        expected: int | None = None,
        keep: bool = True,
        effects: TurnEffects | None = None,
    ) -> bool:
        """Answer after a commit: a new one if there is something to commit, else the object's last.

        That is a change of the object, the effects of the turn, and a reply that is kept. ``expected`` is the version
        before the turn, None if the turn cannot have changed the object. The reply of a readonly call is not kept. Its
        turn has no effect, so it can run again.

        Returns:
            True if a commit was made.
        """
        version = self._state.instance.version
        changed = expected is not None and expected != version
        if changed or effects or (keep and call.request.idempotency_key is not None and not call.readonly):
            self.commit(owner, call, reply, expected=version if expected is None else expected, effects=effects)
            return True
        self.answer_when_durable(owner, call, reply)
        return False

    def answer_when_durable(self, owner: Owner, call: Call, reply: Reply) -> None:
        """Answer a call without a commit of its own, once the state that it read is durable and known to be current."""
        if self.tail is None:
            reply.commit_seq = self._state.instance.commit_seq
            if self._host.shard_access.may_answer(self._shard, self._epoch):
                call.answer(reply)
            else:
                self._answer_after_check(owner, call, reply)
            return

        def settled(commit_seq: int, error: GoverseError | None) -> None:
            if error is not None:
                call.refuse(error)
            else:
                reply.commit_seq = commit_seq
                call.answer(reply)

        self.tail.wait(settled)

    def _answer_after_check(self, owner: Owner, call: Call, reply: Reply) -> None:
        def checked(error: GoverseError | None) -> None:
            if error is not None:
                call.refuse(error)
            else:
                call.answer(reply)

        check = EpochCheck(self._host, self._state.key, shard=self._shard, epoch=self._epoch, activation=owner)
        check.start(checked)

    def refuse_when_durable(self, owner: Owner, call: Call, error: GoverseError) -> None:
        """Refuse a call because of the object's state, as soon as that state is durable."""
        problem = Problem.of(error, call.request.request_id)
        self.answer_when_durable(owner, call, Reply(version=self._state.instance.version, problem=problem))

    def commit(
        self, owner: Owner, call: Call | None, reply: Reply, *, expected: int, effects: TurnEffects | None = None
    ) -> None:
        """Queue the commit record of a turn, which found the object at version ``expected``.

        ``ANY_VERSION`` stands for a record of effects that do not depend on the object.

        ``reply`` answers ``call`` when the record is durable. Later replies wait for it too.
        """
        host, instance = self._host, self._state.instance
        version = instance.version if expected != ANY_VERSION else ANY_VERSION
        at_ms, exists = host.clock.wall_ms(), instance.exists
        idempotency_key: str | None = None
        kept: StoredReply | None = None
        cause: bytes | None = None
        fresh_key = False
        if call is not None:
            request = call.request
            if request.idempotency_key is not None:
                idempotency_key, fresh_key = call.leads_as or call.scoped(request.idempotency_key), request.fresh_key
                by_router = idempotency_key.startswith(ROUTER_KEY_PREFIX)
                retention_s = ROUTER_KEY_RETENTION_S if by_router else host.options.idempotency_retention_s
                kept = StoredReply(call.fingerprint, encode_reply(reply), at_ms + round(retention_s * 1000))
            if host.options.history_cause and version != expected:
                cause = encode_call(request.method, request.caller.subject, request.request_id, request.traceparent)
        record = CommitRecord(
            self._state.key,
            expected,
            version,
            instance.base if exists else None,
            instance.spec.policy.state_version,
            at_ms,
            idempotency_key,
            kept,
            self._shard,
            self._epoch,
            fresh_key,
            instance.creation if exists else None,
            cause,
        )
        if effects:
            record.effects = effects.build()
            self.tail = pending = self._queue(PendingCommit(record, owner, call, reply), effects)
        else:
            self.tail = pending = PendingCommit(record, owner, call, reply)
        host.pipeline.append(pending)

    def _queue(self, pending: PendingCommit, effects: TurnEffects) -> PendingCommit:
        """Note a commit with effects until it is durable."""
        if effects.marks or effects.late_marks:
            pending = self._host.outgoing.addressed(pending, effects.late_marks)
        if self.queued is None:
            self.queued = deque()
        self.queued.append(pending)
        return pending

    def report(self, record: CommitRecord, commit_seq: int) -> None:
        """Report a durable record with effects to the service that delivers reliable calls."""
        assert self.queued, "records become durable in order"
        self.queued.popleft()
        try:
            self._host.outgoing.committed(record, commit_seq)
        except Exception:  # the caller still gets its reply
            where = {"object": str(self._state.key)}
            logger.exception("error while noting the reliable calls of a commit", extra=where)

    async def durable(self) -> None:
        """Wait until all commits that the object has made so far are durable.

        Raises:
            GoverseError: the newest commit failed.
        """
        if self.tail is None:
            return
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake(_commit_seq: int, error: GoverseError | None) -> None:
            if not waiting.done():
                waiting.set_result(None) if error is None else waiting.set_exception(error)

        self.tail.wait(wake)
        await waiting
