"""An activation: one object in memory, its mailbox, and the order in which its turns run.

Calls are admitted in the order in which they arrive. A turn that may change the object runs alone; readonly turns run
concurrently. A call whose chain already contains this object must not wait in the mailbox, because its chain would
wait for itself. It runs immediately if re-entrancy allows it, and fails with ``deadlock`` otherwise.

Output gate: a reply is sent when the newest commit that the object had made by then (``tail``) is durable. Until then
the state behind the reply could still be lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING
from weakref import ref

from goverse.errors import (
    Deadlock,
    Executed,
    GoverseError,
    Moving,
    Overloaded,
    StateInvalid,
    Unavailable,
    known,
)
from goverse.model.frames import Reply
from goverse.model.keys import ObjectKey
from goverse.model.records import StoredObject
from goverse.objects.spec import TypeSpec
from goverse_node.runtime import idempotency, isolation, reentry, turns
from goverse_node.runtime.call import Call
from goverse_node.runtime.deadlocks import closes_cycle
from goverse_node.runtime.group_commit import UNCHANGED, PendingCommit
from goverse_node.runtime.instance import Instance
from goverse_node.runtime.memento import Memento
from goverse_node.runtime.phase import Phase
from goverse_node.runtime.store_answer import outcome, refusal
from goverse_node.runtime.strays import Strays
from goverse_node.runtime.turn import Scope, Turn

if TYPE_CHECKING:
    from goverse_node.node import Node

logger = logging.getLogger("goverse.node")


class Activation:
    """One object in memory.

    Attributes:
        instance: the live object; set from phase ACTIVE on.
        running: the turns in progress. More than one only if all are readonly, or re-entrant.
        tail: the newest commit that is not durable yet, or None.
        live: the encoded state at the last comparison. It differs from ``instance.base`` while ``dirty`` is set.
        dirty: the running turn that changed the state, or None.
        activated: True once ``on_activate`` has run, or if the type has none.
        mementos: snapshots of the base and of a dirty turn's state, while one turn runs beside another that waits.
        strays: the tasks and callbacks that methods left running when their turns ended, or None.
        last_used: time of the last call, on the loop's clock.
        failure: the error with which its commits fail from now on, or None.
        keyed: the leading calls in progress, by idempotency key.
        shard, epoch: the object's shard, and the epoch under which its commits are made.
        vacating: True once it refuses new calls and leaves memory when the running turns have ended.
    """

    __slots__ = (
        "_admitting",
        "_mailbox",
        "activated",
        "counted_bytes",
        "dirty",
        "epoch",
        "failure",
        "instance",
        "key",
        "keyed",
        "last_used",
        "live",
        "mementos",
        "node",
        "phase",
        "running",
        "shard",
        "spec",
        "strays",
        "tail",
        "vacating",
    )

    instance: Instance

    def __init__(self, node: Node, key: ObjectKey, spec: TypeSpec, *, shard: int = 0, epoch: int = 0) -> None:
        """Create an activation in phase LOADING; ``load`` loads the object."""
        self.node = node
        self.key = key
        self.spec = spec
        self.phase = Phase.LOADING
        self.running: list[Turn] = []
        self.tail: PendingCommit | None = None
        self.live: bytes | None = None
        self.dirty: Turn | None = None
        self.mementos: list[Memento] | None = None
        self.strays: Strays | None = None
        self.activated = "on_activate" not in spec.hooks
        self.failure: GoverseError | None = None
        self.last_used = 0.0
        self.counted_bytes = 0
        self._admitting = False
        self._mailbox: deque[Call] | None = None
        self.keyed: dict[str, Call] | None = None
        self.shard = shard
        self.epoch = epoch
        self.vacating = False

    # --- life cycle --------------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Load the object from the store, then admit calls."""
        try:
            stored = self.node.store.load(self.key)
        except Exception as error:
            self.reset(refusal(error), refuse=True)
            return
        if isinstance(stored, asyncio.Future):
            self.node.loads_at_once = False
            stored.add_done_callback(self._loaded)
        else:
            self._become_active(stored)

    def _loaded(self, answer: asyncio.Future[StoredObject | None]) -> None:
        stored, error = outcome(answer)
        if error is not None:
            self.reset(error, refuse=True)
        else:
            self._become_active(stored)

    def _become_active(self, stored: StoredObject | None) -> None:
        if self.phase is not Phase.LOADING:
            return  # the activation was reset during the load, and another node may serve the object by now
        try:
            self.instance = self.node.contexts.new().run(Instance, self.spec, self.key, stored)
        except StateInvalid as error:
            assert stored is not None
            extra = {"object": str(self.key), "reason": error.detail}
            logger.error("a stored state does not fit its class", exc_info=error, extra=extra)
            self.instance = Instance.of_unfit(self.spec, self.key, stored, error)
            self.activated = False
        except GoverseError as error:
            self.reset(error, refuse=True)
            return
        self.live = self.instance.base
        self.phase = Phase.ACTIVE
        self.node.resized(self)
        self.admit()
        if self.instance.unfit is not None:
            self.leave()  # the next call loads the stored state again

    @property
    def idle(self) -> bool:
        """True while no turn runs, no call waits and no commit is in progress."""
        return self.phase is Phase.ACTIVE and not self.running and not self._mailbox and self.tail is None

    def close(self) -> None:
        """Passivate the object: run ``on_deactivate``, wait until all commits are durable, then leave memory."""
        if self.phase is Phase.LOADING:
            self.reset(None)
        if self.phase is not Phase.ACTIVE:
            return
        self.phase = Phase.CLOSING
        self.node.activations.release(self)
        if "on_deactivate" in self.spec.hooks and self.activated and self.instance.exists and not self.running:
            turns.deactivate(self)
        else:
            self.leave()

    def vacate(self) -> None:
        """Refuse new and waiting calls with ``moving`` and passivate when the running turns have ended.

        Used when another node is about to serve the object.
        """
        if self.vacating:
            return
        self.vacating = True
        waiting, self._mailbox = self._mailbox, None
        for call in waiting or ():
            self.node.unwatch(call)
            call.refuse(Moving())
        if self.phase is Phase.LOADING:
            self.reset(Moving(), refuse=True)
        elif not self.running:
            self.close()

    def leave(self) -> None:
        """Leave memory as soon as all commits are durable. Calls in the mailbox move to a new activation."""
        if self.phase is Phase.GONE:
            return
        self.phase = Phase.CLOSING
        self.node.activations.release(self)
        if self.tail is None:
            self.reset(None)
        else:
            self.tail.wait(lambda _seq, _error: self.leave())

    def reset(self, error: GoverseError | None, *, refuse: bool = False) -> None:
        """Leave memory immediately.

        Running turns fail with ``error`` and have no effect. Calls in the mailbox fail with it if ``refuse`` is set;
        otherwise they move to a new activation. Without ``error``, turns fail with ``unavailable``.
        """
        if self.phase is Phase.GONE:
            return
        self.phase = Phase.GONE
        self.node.forget(self)
        lost = error or known(Unavailable(f"{self.key} was reloaded while the call ran; {UNCHANGED}"), Executed.UNKNOWN)
        self.failure = error
        for turn in tuple(self.running):
            turn.expire(lost)
        waiting, self._mailbox = self._mailbox, None
        for call in waiting or ():
            self.node.unwatch(call)
            if call.pointless:
                call.answer(Reply())
            elif refuse:
                call.refuse(lost)
            else:
                call.request.fresh_key = False  # a hook may have run for this call, and nested calls taken effect
                self.node.deliver(call)

    def spoil(self, error: GoverseError) -> None:
        """Discard a live object whose state cannot be restored: fail its turns with ``error`` and reload it."""
        if self.phase is not Phase.ACTIVE:
            return
        self.phase = Phase.CLOSING
        self.node.activations.release(self)
        for turn in tuple(self.running):
            turn.expire(error)
        asyncio.get_running_loop().call_soon(self.leave)  # later: the turn that found the problem is answered first

    # --- calls -------------------------------------------------------------------------------------------------------

    def deliver(self, call: Call) -> None:
        """Answer a repeated call from its kept reply, run the call, or queue it."""
        request = call.request
        idempotency_key = request.idempotency_key
        if (
            idempotency_key is not None
            and not call.readonly
            and (call.leads is None or call.leads is not self.keyed)
            and idempotency.deduplicate(self, call, idempotency_key)
        ):
            return
        if request.chain and self.key in request.chain:
            reentry.reenter(self, call)
        elif self.vacating:
            call.refuse(Moving())
        elif self.phase is Phase.ACTIVE and not self.running and not self._mailbox:
            turns.begin(self, call)
        elif self._mailbox is not None and len(self._mailbox) >= self.node.options.mailbox_calls_max:
            call.refuse(
                Overloaded(f"{self.key} already has {len(self._mailbox)} waiting calls; try again", retry_after_s=1)
            )
        elif request.chain and closes_cycle(self, request.chain):
            call.refuse(Deadlock(f"{self.key} waits for the call chain that this call belongs to; try again"))
        else:
            if self._mailbox is None:
                self._mailbox = deque()
            self._mailbox.append(call)
            self.node.watch(call)
            self.admit()

    def put_back(self, call: Call) -> None:
        """Put a call at the head of the mailbox."""
        if self._mailbox is None:
            self._mailbox = deque()
        self._mailbox.appendleft(call)
        self.node.watch(call)

    def admit(self) -> None:
        """Start waiting calls in order, until one has to wait for a running turn."""
        if self.vacating and not self.running and not self._mailbox:
            self.close()
        if self._admitting or not self._mailbox:
            return
        self._admitting = True
        try:
            while self._mailbox and self.phase is Phase.ACTIVE:
                call = self._mailbox[0]
                if not call.pointless and not self._may_run(call):
                    break
                self._mailbox.popleft()
                self.node.unwatch(call)
                if call.pointless:
                    call.answer(Reply())
                else:
                    turns.begin(self, call)
        finally:
            self._admitting = False
        if not self._mailbox:
            self._mailbox = None

    def _may_run(self, call: Call) -> bool:
        return not self.running or (call.readonly and all(turn.readonly for turn in self.running))

    # --- state and commits -------------------------------------------------------------------------------------------

    def observe(self, turn: Turn) -> None:
        """Compare the state after a step of ``turn``; see ``isolation.observe``."""
        isolation.observe(self, turn)

    def prepare(self, turn: Turn) -> GoverseError | None:
        """Prepare a step of ``turn``; see ``isolation.prepare``."""
        return isolation.prepare(self, turn)

    def left_behind(self, turn: Turn, mark: ref[Scope]) -> None:
        """Track a task or callback that a method left running when its turn ended."""
        if self.strays is None:
            self.strays = Strays()
        self.strays.add(turn, mark)

    def commit(self, pending: PendingCommit) -> None:
        """Queue a record in the commit pipeline. Later replies wait until it is durable."""
        self.tail = pending
        self.node.pipeline.append(pending)

    def settled(self, pending: PendingCommit, commit_seq: int, error: GoverseError | None) -> None:
        """Answer the call if its commit is durable. If it failed, refuse the call and reset the activation."""
        if error is None:
            if self.tail is pending:
                self.tail = None
            if self.phase is Phase.ACTIVE:
                self.instance.commit_seq = commit_seq  # before the answer, which may deliver the next call immediately
            if pending.call is not None:
                pending.reply.commit_seq = commit_seq
                pending.call.answer(pending.reply)
            return
        self.tail = None if self.tail is pending else self.tail
        self.reset(error)
        if pending.call is not None:
            pending.call.refuse(error)  # after the reset: this may deliver the next call immediately

    def fenced(self) -> None:
        """Handle a commit that the store refused because another node has claimed the shard."""
        self.vacating = True
        self.node.shard_access.fenced(self.shard, self.epoch)

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
