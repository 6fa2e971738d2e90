"""An activation: one object in memory, as one state machine. Events come in, effects go to its ``Host``.

Phases:

    LOADING ──▶ ACTIVE ──▶ CLOSING ──▶ GONE
       └───────────┴──────────────────▶

======== ===============================================================================================================
LOADING  The object is being loaded from the store. Calls wait in the mailbox.
ACTIVE   Calls are admitted.
CLOSING  The last commits settle and ``on_deactivate`` runs. New calls wait in the mailbox.
GONE     The activation was removed from its host. Waiting calls move to a new activation; turns that still run have no
         effect.
======== ===============================================================================================================

Events:

================================ =======================================================================================
``load``                         the host created it; ``_loaded`` follows with the stored object or an error
``deliver``                      a call arrived: it is answered from a kept reply, starts a turn, waits, or is refused
``finished``                     a method ended: the change is committed, the call answered, the next call starts
``settled``, ``fenced``          the store made a commit durable, or refused it
``close``, ``vacate``, ``leave`` the object is idle, its shard moves, or its state is unusable: it leaves in order
``reset``                        the object leaves immediately: running turns have no effect
================================ =======================================================================================

Effects are method calls on the host and its parts: start a turn, commit, answer, watch a deadline, leave memory.

Calls are admitted in the order in which they arrive. A turn that may change the object runs alone; readonly turns run
concurrently. A call whose chain already contains this object must not wait in the mailbox, because its chain would
wait for itself. It runs immediately if re-entrancy allows it, and fails with ``deadlock`` otherwise. What starts and
ends a turn of each kind is a table (``goverse_node.runtime.turn_kinds``).
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Sequence
from enum import Enum
from typing import Any, Final

from goverse.errors import (
    BusinessError,
    Deadlock,
    Executed,
    GoverseError,
    Moving,
    Overloaded,
    StateInvalid,
    Timeout,
    Unavailable,
    known,
)
from goverse.model.call_status import accepted
from goverse.model.effects import Effects
from goverse.model.frames import Operation, Problem, Reply, Request
from goverse.model.keys import ObjectKey
from goverse.model.records import StoredObject
from goverse.objects.spec import MethodSpec, TypeSpec
from goverse_node.runtime.call import Call
from goverse_node.runtime.deadlocks import closes_cycle
from goverse_node.runtime.group_commit import UNCHANGED, PendingCommit
from goverse_node.runtime.host import Host
from goverse_node.runtime.idempotency import Leaders
from goverse_node.runtime.instance import Instance
from goverse_node.runtime.method_errors import unexpected
from goverse_node.runtime.output_gate import OutputGate
from goverse_node.runtime.pair import Pair
from goverse_node.runtime.receiving import Receipts, answer_delivery, receive
from goverse_node.runtime.reentry import method_inside, waiting_turn
from goverse_node.runtime.shard_counters import ShardCounters
from goverse_node.runtime.state import State
from goverse_node.runtime.store_answer import outcome, refusal
from goverse_node.runtime.turn import Turn
from goverse_node.runtime.turn_effects import Outbox, TurnEffects, effects_of
from goverse_node.runtime.turn_kinds import (
    CALL,
    CREATE,
    DELETE,
    ON_CREATE,
    ON_DEACTIVATE,
    TurnKind,
    creation_by,
    hook_before_call,
    hook_of_delete,
)

turn_logger = logging.getLogger("goverse.node.turn")


class Phase(Enum):
    """Phase of an activation."""

    LOADING = 1
    ACTIVE = 2
    CLOSING = 3
    GONE = 4


_MOVES: Final = {
    Phase.LOADING: (Phase.ACTIVE, Phase.GONE),
    Phase.ACTIVE: (Phase.CLOSING, Phase.GONE),
    Phase.CLOSING: (Phase.GONE,),
    Phase.GONE: (),
}


class Activation:
    """One object in memory.

    Attributes:
        host: the node that holds it.
        state: the live object and the changes of its turns; set from phase ACTIVE on.
        gate: its commits and the replies that wait for them; set from phase ACTIVE on.
        running: the turns in progress. More than one only if all are readonly, or re-entrant.
        leaders: the leading calls in progress, by idempotency key, or None.
        last_used: time of the last call, on the loop's clock.
        queue: the queue of the cache that it is in, or None if it is leaving.
        receipts: the receipts of the senders of reliable calls, or None if it has received none.
        failure: the error with which its commits fail from now on, or None.
        shard, epoch: the object's shard, and the epoch under which its commits are made.
        counters: the counters of the shard, shared with its other objects.
        vacating: True once it refuses new calls and leaves memory when the running turns have ended.
    """

    __slots__ = (
        "_admitting",
        "_mailbox",
        "counted_bytes",
        "counters",
        "epoch",
        "failure",
        "gate",
        "host",
        "key",
        "last_used",
        "leaders",
        "phase",
        "queue",
        "receipts",
        "running",
        "shard",
        "spec",
        "state",
        "vacating",
    )

    state: State
    gate: OutputGate
    counters: ShardCounters

    def __init__(
        self, host: Host[Activation], key: ObjectKey, spec: TypeSpec, *, shard: int = 0, epoch: int = 0
    ) -> None:
        """Create an activation in phase LOADING; ``load`` loads the object."""
        self.host = host
        self.key = key
        self.spec = spec
        self.phase = Phase.LOADING
        self.running: list[Turn] = []
        self.leaders: Leaders | None = None
        self.receipts: Receipts | None = None
        self.failure: GoverseError | None = None
        self.last_used = 0.0
        self.queue: OrderedDict[ObjectKey, Activation] | None = None
        self.counted_bytes = 0
        self._admitting = False
        self._mailbox: deque[Call] | None = None
        self.shard = shard
        self.epoch = epoch
        self.vacating = False

    # --- life cycle ---------------------------------------------------------------------------------------------------

    def _enter(self, phase: Phase) -> None:
        assert phase in _MOVES[self.phase], f"{self.key} cannot go from {self.phase} to {phase}"
        self.phase = phase
        if phase is Phase.CLOSING:
            self.host.release(self)
        elif phase is Phase.GONE:
            self.host.forget(self)

    def load(self) -> None:
        """Load the object from the store, then admit calls."""
        try:
            stored = self.host.store.load(self.key)
        except Exception as error:
            self.reset(refusal(error), refuse=True)
            return
        if isinstance(stored, asyncio.Future):
            self.host.loads_at_once = False
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
            instance = self.host.contexts.new().run(Instance.load, self.spec, self.key, stored)
        except GoverseError as error:
            self.reset(error, refuse=True)
            return
        except BaseException as error:
            where = {"object": str(self.key)}
            self.reset(unexpected(error, f"{self.key} could not be loaded", where), refuse=True)
            return
        self.state = State(self.key, instance, self.running)
        self.gate = OutputGate(self.host, self.state, shard=self.shard, epoch=self.epoch)
        self._enter(Phase.ACTIVE)
        self.host.resized(self)
        self.admit()
        if instance.unfit is not None:
            self.leave()  # the next call loads the stored state again

    @property
    def idle(self) -> bool:
        """True while no turn runs, no call waits and no commit is in progress."""
        return self.phase is Phase.ACTIVE and not self.running and not self._mailbox and self.gate.tail is None

    def close(self) -> None:
        """Passivate the object: run ``on_deactivate``, wait until all commits are durable, then leave memory."""
        if self.phase is Phase.LOADING:
            self.reset(None)
        if self.phase is not Phase.ACTIVE:
            return
        self._enter(Phase.CLOSING)
        hook = self.spec.hooks.get("on_deactivate")
        instance = self.state.instance
        if hook is None or not instance.activated or not instance.exists or self.running:
            self.leave()
            return
        try:
            self.host.contexts.new().run(self._start_hook, ON_DEACTIVATE, hook, None)
        except StateInvalid:
            turn_logger.exception("on_deactivate could not run", extra={"object": str(self.key)})
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
            self.host.deadlines.unwatch(call)
            call.refuse(Moving())
        if self.phase is Phase.LOADING:
            self.reset(Moving(), refuse=True)
        elif not self.running:
            self.close()

    def leave(self) -> None:
        """Leave memory as soon as all commits are durable. Calls in the mailbox move to a new activation."""
        if self.phase is Phase.GONE:
            return
        if self.phase is not Phase.CLOSING:
            self._enter(Phase.CLOSING)
        if self.gate.tail is None:
            self.reset(None)
        else:
            self.gate.tail.wait(lambda _seq, _error: self.leave())

    def reset(self, error: GoverseError | None, *, refuse: bool = False) -> None:
        """Leave memory immediately.

        Running turns fail with ``error`` and have no effect. Calls in the mailbox fail with it if ``refuse`` is set;
        otherwise they move to a new activation. Without ``error``, turns fail with ``unavailable``.
        """
        if self.phase is Phase.GONE:
            return
        self._enter(Phase.GONE)
        lost = error or known(Unavailable(f"{self.key} was reloaded while the call ran; {UNCHANGED}"), Executed.UNKNOWN)
        self.failure = error
        for turn in tuple(self.running):
            turn.expire(lost)
        waiting, self._mailbox = self._mailbox, None
        for call in waiting or ():
            self.host.deadlines.unwatch(call)
            if call.pointless:
                call.answer(Reply())
            elif refuse:
                call.refuse(lost)
            else:
                call.request.fresh_key = False  # a hook may have run for this call, and nested calls taken effect
                self.host.deliver(call)

    def spoil(self, error: GoverseError) -> None:
        """Discard a live object whose state cannot be restored: fail its turns with ``error`` and reload it."""
        if self.phase is not Phase.ACTIVE:
            return
        self._enter(Phase.CLOSING)
        for turn in tuple(self.running):
            turn.expire(error)
        asyncio.get_running_loop().call_soon(self.leave)  # later: the turn that found the problem is answered first

    # --- mailbox ------------------------------------------------------------------------------------------------------

    def deliver(self, call: Call) -> None:
        """Answer a repeated call from its kept reply, run the call, or queue it."""
        request = call.request
        idempotency_key = request.idempotency_key
        if request.delivery is not None:
            if receive(self, call, request.delivery, active=self.phase is Phase.ACTIVE):
                return
        elif idempotency_key is not None and not call.readonly:
            leaders = self.leaders
            if leaders is None:
                leaders = self.leaders = Leaders(self.host, self.key)
            key = call.scoped(idempotency_key)
            if call.leads is not leaders and leaders.deduplicate(call, key, self.deliver_again):
                return
        if request.chain and self.key in request.chain:
            self._reenter(call)
        elif self.vacating:
            call.refuse(Moving())
        elif self.phase is Phase.ACTIVE and not self.running and not self._mailbox:
            self._begin(call)
        else:
            self._wait(call)

    def _wait(self, call: Call) -> None:
        """Queue a call, or refuse it. A SEND changes nothing, so it waits for no turn, only for the object's load."""
        request = call.request
        submits = request.operation is Operation.SEND
        if submits and self.phase is Phase.ACTIVE:
            self._begin(call)
        elif self._mailbox is not None and len(self._mailbox) >= self.host.options.mailbox_calls_max:
            call.refuse(
                Overloaded(f"{self.key} already has {len(self._mailbox)} waiting calls; try again", retry_after_s=1)
            )
        elif request.chain and closes_cycle(self.key, request.chain, self.host.turns_of):
            call.refuse(Deadlock(f"{self.key} waits for the call chain that this call belongs to; try again"))
        else:
            if self._mailbox is None:
                self._mailbox = deque()
            if submits:
                self._mailbox.insert(sum(each.request.operation is Operation.SEND for each in self._mailbox), call)
            else:
                self._mailbox.append(call)
            self.host.deadlines.watch(call, self)
            self.admit()

    def deliver_again(self, call: Call) -> None:
        """Deliver a call that waited for an answer of the store."""
        if self.phase is Phase.GONE:
            self.host.deliver(call)
        else:
            self.deliver(call)

    def _put_back(self, call: Call) -> None:
        """Put a call at the head of the mailbox."""
        if self._mailbox is None:
            self._mailbox = deque()
        self._mailbox.appendleft(call)
        self.host.deadlines.watch(call, self)

    def forget_answered(self) -> None:
        """Drop the calls that were answered while they waited; the next one may be able to start."""
        if self._mailbox:
            self._mailbox = deque(call for call in self._mailbox if not call.answered) or None
            self.admit()

    def admit(self) -> None:
        """Start waiting calls in order, until one has to wait for a running turn. An empty vacating object closes."""
        if self._mailbox and not self._admitting:
            self._admit_waiting()
        if self.vacating and not self.running and not self._mailbox:
            self.close()

    def _admit_waiting(self) -> None:
        self._admitting = True
        try:
            while self._mailbox and self.phase is Phase.ACTIVE:
                call = self._mailbox[0]
                if not call.pointless and not self._may_run(call):
                    break
                self._mailbox.popleft()
                self.host.deadlines.unwatch(call)
                if call.pointless:
                    call.answer(Reply())
                else:
                    self._begin(call)
        finally:
            self._admitting = False
        if not self._mailbox:
            self._mailbox = None

    def _may_run(self, call: Call) -> bool:
        if not self.running or call.request.operation is Operation.SEND:
            return True
        return call.readonly and all(turn.readonly for turn in self.running)

    # --- start of turns -----------------------------------------------------------------------------------------------

    def _begin(self, call: Call) -> None:
        """Start the turn of an admitted call, or the turn of a hook that has to run before it."""
        host, request, instance = self.host, call.request, self.state.instance
        if request.deadline <= (now := host.now()):
            if call.expire(now):
                return
            request = call.request  # a follower with its own condition took the place of the caller
        if request.delivery is not None and answer_delivery(self, call):
            return
        try:
            if request.operation is Operation.CALL:
                if request.if_match is not None and call.created_for is not instance:
                    instance.check_version(request)
                if not (instance.exists and instance.activated):
                    first = hook_before_call(instance)
                    if first is not None:  # the call starts again after it
                        host.contexts.new().run(self._start_hook, *first, call)
                        return
                host.contexts.new().run(self._start, CALL, call.method, call, None)
            elif request.operation is Operation.CREATE:
                host.contexts.new().run(self._begin_create, call)
            elif request.operation is Operation.SEND:
                self._submit(call)
            else:
                hook = hook_of_delete(instance, request)
                host.contexts.new().run(self._start_hook, DELETE, hook, call)
        except GoverseError as error:
            self.gate.refuse_when_durable(self, call, error)
        except BaseException as error:
            self.gate.refuse_when_durable(self, call, self._not_started(request, error))

    def _submit(self, call: Call) -> None:
        """Commit a call that a client sends the object, and answer with its status. No code of the object runs."""
        assert isinstance(call.reliable, Effects)
        effects = TurnEffects()
        Outbox(self, self.host.outgoing, effects).check_room()
        effects.join(call.reliable)
        [sent] = call.reliable.sends
        instance = self.state.instance
        version = instance.version if instance.exists else self._version_in_store()
        reply = Reply(accepted(self.key, sent).encode())
        self.gate.commit(self, call, reply, expected=version, effects=effects)

    def _begin_create(self, call: Call) -> None:
        """Start the turn that creates the object; a create that describes the existing object is only answered."""
        creation = creation_by(self.state.instance, call.request)
        if creation is None:
            self.gate.answer(self, call, Reply(version=self.state.instance.version))
        else:
            self._start(CREATE, self.spec.hooks.get("on_create"), call, creation.arguments, creation.digest)

    def _start_hook(self, kind: TurnKind, hook: MethodSpec | None, call: Call | None) -> None:
        """Start a hook without arguments. Its parameters get their defaults as in a PUT with an empty body."""
        self._start(kind, hook, call, {} if hook is None else hook.arguments.decode(b""))

    def _start(
        self,
        kind: TurnKind,
        method: MethodSpec | None,
        call: Call | None,
        arguments: dict[str, Any] | None,
        creation: bytes | None = None,
    ) -> None:
        """Start a turn in the current context, which is its own. Arguments default to those in the request's body."""
        host, state = self.host, self.state
        request = host.own_request(self.key) if call is None else call.request
        if arguments is None:
            assert method is not None
            arguments = method.arguments.decode(request.body)
        turn = Turn(self, kind, request, method, call)
        if method is not None:
            limit = method.timeout_s
            if limit is None and kind is not CALL:
                limit = host.options.hook_timeout_s
            if limit is not None:
                turn.limit_to(host.now() + limit)
        if creation is not None:
            turn.creation = creation
        if state.strays is not None:
            state.undo_strays(turn)
        if self.running:
            state.prepare(turn)
        self.running.append(turn)
        turn.run(state.instance.object, arguments)
        if turn.task is not None:
            host.deadlines.track(turn)

    def _reenter(self, call: Call) -> None:
        """Run a call whose chain returns to the object inside the turn that waits for it, or refuse it."""
        if call.request.deadline <= (now := self.host.now()) and call.expire(now):
            return
        self.host.contexts.new().run(self._start_inside, call)

    def _start_inside(self, call: Call) -> None:
        try:
            waiting = waiting_turn(call, self.key, self.running)
            method = method_inside(call, waiting, self.state)
            arguments = method.arguments.decode(call.request.body)
        except GoverseError as error:
            call.refuse(error)
            return
        except BaseException as error:
            call.refuse(self._not_started(call.request, error))
            return
        turn = Turn(self, CALL, call.request, method, call)
        turn.limit_to(self.host.now() + (method.timeout_s or self.host.options.call_timeout_s))
        turn.stepped = True
        self.state.prepare(turn)
        self.running.append(turn)
        turn.run(self.state.instance.object, arguments)
        if turn.task is not None:
            self.host.deadlines.track(turn)

    def _not_started(self, request: Request, error: BaseException) -> GoverseError:
        """Log what was raised before the turn of a request began, and return the error for the caller."""
        where = {"object": str(self.key), "method": request.method, "request_id": request.request_id}
        return unexpected(error, "the call could not start", where)

    # --- end of turns -------------------------------------------------------------------------------------------------

    def finished(self, turn: Turn, body: bytes, error: GoverseError | None) -> None:
        """Keep or undo the changes of a turn, commit and answer as its kind says, then start the next call."""
        call, kind, state = turn.call, turn.kind, self.state
        if self.phase is Phase.GONE:
            self._end(turn)
            if call is not None:
                call.refuse(turn.expired or Timeout("the turn ended after its object left memory; it has no effect"))
            return
        before = state.instance.version if state.instance.exists else self._version_in_store()
        if kind.deletes:
            failure = state.conclude_deletion(turn, error or self._forget_results(turn))
        else:
            failure = state.conclude(turn, error, creates=kind.creates and not turn.readonly)
        self._end(turn)
        if failure is not None:
            self._failed(turn, failure)
        elif kind.reply is not None:
            assert call is not None
            reply, effects = kind.reply(body, state.instance), turn.effects
            if call.reliable is not None:
                effects = effects_of(call, reply, effects)
            if self.gate.answer(self, call, reply, expected=before, effects=effects):
                self.host.resized(self)
        else:
            self._go_on(turn, before)
        self.admit()

    def _forget_results(self, turn: Turn) -> GoverseError | None:
        """Let the deletion remove the kept results. Return the error if they are not known."""
        try:
            kept = self.host.kept_results.all_of(self.key)
        except Unavailable as error:
            return known(error, Executed.UNKNOWN)
        if kept:
            turn.effects = turn.effects or TurnEffects()
            turn.effects.removes = (*turn.effects.removes, *(note.number for note in kept))
        return None

    def _go_on(self, turn: Turn, before: int) -> None:
        """Commit the changes and effects of a hook, then start the call that waited for it, or leave memory."""
        call, instance = turn.call, self.state.instance
        if instance.version != before or turn.effects:
            self.gate.commit(self, None, Reply(version=instance.version), expected=before, effects=turn.effects)
            self.host.resized(self)
        if call is None:
            self.leave()
            return
        if turn.kind is ON_CREATE:
            if call.request.if_match == turn.request.if_match:  # otherwise a follower took the caller's place
                call.created_for = instance
        else:
            instance.activated = True
        self._put_back(call)

    def _failed(self, turn: Turn, failure: GoverseError) -> None:
        """Refuse the call of a turn, or run it again for a follower. A business error is kept, as a result is."""
        call = turn.call
        self.host.stats.turns_failed += 1
        if call is None:
            self.leave()
        elif turn.runs_again(failure, self.host.now()):
            self._put_back(call)
        else:
            problem = Problem.of(failure, call.request.request_id)
            if self.host.shows_causes:
                problem.cause = failure.__cause__
            version = self.state.instance.version if turn.kind.shows_version else 0
            reply, effects = Reply(version=version, problem=problem), None
            is_outcome = isinstance(failure, BusinessError)
            if is_outcome and isinstance(call.reliable, Pair):
                effects = effects_of(call, reply, None)
            if self.gate.answer(self, call, reply, keep=is_outcome, effects=effects):
                self.host.resized(self)

    def _end(self, turn: Turn) -> None:
        turn.closed = True
        self.running.remove(turn)
        if self.state.mementos is not None and not self.running:
            self.state.mementos = None
        if turn.task is not None:
            self.host.deadlines.untrack(turn)
            turn.task = None  # its context refers to the turn: a reference cycle for the garbage collector

    def failed_to_finish(self, turn: Turn) -> None:
        """Refuse the call of a turn whose end raised an exception, and reload the object."""
        self.host.deadlines.untrack(turn)
        self.leave()
        if turn.call is not None:
            turn.call.refuse(Unavailable("the node failed to complete the call; it may or may not have taken effect"))

    def _version_in_store(self) -> int:
        """Return the version that a commit builds on, for an object that does not exist.

        It is read from the store again, because it rises when the store forgets tombstones of the type.
        """
        instance = self.state.instance
        if self.host.loads_at_once:
            stored = self.host.store.load(self.key)
            if isinstance(stored, StoredObject) and stored.state is None:
                instance.version = max(instance.version, stored.version)
        return instance.version

    # --- commits ------------------------------------------------------------------------------------------------------

    def settled(self, pending: PendingCommit, commit_seq: int, error: GoverseError | None) -> None:
        """Answer the call if its commit is durable. If it failed, refuse the call and reset the activation."""
        if self.gate.tail is pending:
            self.gate.tail = None
        if error is None:
            if pending.record.effects is not None:
                self.gate.report(pending.record, commit_seq)
            self.counters.committed_bytes += pending.size
            if self.phase is Phase.ACTIVE:  # before the answer, which may deliver the next call immediately
                self.state.instance.commit_seq = commit_seq
            if pending.call is not None:
                pending.reply.commit_seq = commit_seq
                pending.call.answer(pending.reply)
            return
        self.reset(error)
        if pending.call is not None:
            pending.call.refuse(error)  # after the reset: this may deliver the next call immediately

    @property
    def queued(self) -> Sequence[PendingCommit]:
        """The commits with effects that are not durable yet, in order."""
        return self.gate.queued or ()

    def fenced(self) -> None:
        """Handle a commit that the store refused because another node has claimed the shard."""
        self.vacating = True
        self.host.shard_access.fenced(self.shard, self.epoch)

    async def durable(self) -> None:
        """Wait until all commits that the object has made so far are durable; see ``OutputGate.durable``."""
        await self.gate.durable()
