"""A simulated node: the real rules of ownership, lease, election and leadership on virtual time."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from goverse.cluster.election import Election
from goverse.cluster.keys import KeyLayout
from goverse.cluster.lease import Lease, LeaseStep
from goverse.cluster.member import Member
from goverse.cluster.table import ShardTable
from goverse.cluster.view import ClusterView
from goverse.limits import LEASE_TTL_S
from goverse_node.ownership.actions import Action, Check, Claim, Close, Drop, Leave, Publish, Register
from goverse_node.ownership.leader import Leader, LeaderLimits, WriteTargets
from goverse_node.ownership.ownership import Ownership
from goverse_node.ownership.shutdown import Shutdown
from goverse_node.ownership.situation import PlanLimits
from tests.simulation.activation import Activation, Pending
from tests.simulation.calls import MOVING, Request
from tests.simulation.settings import CLUSTER, SHARDS, Bug
from tests.simulation.store import Refused
from tests.simulation.world import Process

if TYPE_CHECKING:
    from tests.simulation.cluster import SimulatedCluster

TICK_S = 0.1
BATCH_MAX = 16
PLAN_LIMITS = LeaderLimits(plan=PlanLimits(moves_per_round=3, moves_in_flight=4))


class SimulatedNode(Process):
    """One node, across its restarts."""

    def __init__(self, cluster: SimulatedCluster, name: str) -> None:
        super().__init__(cluster.world, name)
        self.cluster = cluster
        self.slow_turn = 0.0

    # --- life ---------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the process with empty memory."""
        self.life += 1
        self.alive = True
        self.paused_until = 0.0
        self.incarnation = f"{self.name}.{self.life}"
        self.view = ClusterView(KeyLayout(CLUSTER))
        self.table = ShardTable(SHARDS)
        self.lease = Lease(LEASE_TTL_S)
        member = Member(self.name, self.name, self.incarnation)
        self.ownership = Ownership(member, self.view, self.lease)
        self.election = Election(self.name, self.incarnation)
        hasty = Bug.HASTY_HISTORY in self.cluster.settings.bugs
        limits = replace(PLAN_LIMITS, history_pause_s=0.0) if hasty else PLAN_LIMITS
        self.leader = Leader(self.view, self.table, limits=limits)
        self.activations: dict[int, Activation] = {}
        self._queue: deque[Pending] = deque()
        self._committing = False
        self._closing: dict[int, float] = {}
        self._batches = 0
        self._histories = 0
        self.world.note(f"{self.incarnation} starts")
        self.cluster.etcd.watch(self, self.view, self._seen)
        self._tick()

    def crash(self) -> None:
        """Crash, without leaving the cluster in order."""
        self.world.note(f"{self.name} crashes")
        self.alive = False

    def shut_down(self, how: Shutdown) -> None:
        """Begin to leave the cluster."""
        self.world.note(f"{self.name} shuts down: {how.name}")
        self.ownership.shut_down(how)
        self.step()

    def _tick(self) -> None:
        self.after(TICK_S * self.world.random.uniform(0.8, 1.2), self._tick)
        now = self.clock()
        for shard, cancel_at in list(self._closing.items()):
            if now >= cancel_at:
                for activation in self._of(shard):
                    activation.cancel()
                self.look_for_emptied(shard)
        self.step()

    def _seen(self) -> None:
        if self.view.histories != self._histories:
            self._histories = self.view.histories
            self.lease.lost()
        if self.view.shard_count is None:
            self._write_shard_count()
        self.table.update(self.view)
        leader = self.view.leader
        self.election.seen(*((leader.value, leader.create_revision) if leader is not None else (None, 0)))
        self.step()

    def _write_shard_count(self) -> None:
        etcd, key = self.cluster.etcd, self.view.layout.shards

        def again() -> None:
            if self.view.shard_count is None:
                self._write_shard_count()

        value, guards = str(SHARDS).encode(), {key: ("create", 0)}
        etcd.request(self, lambda: etcd.write(key, value, guards=guards), lambda _revision: self.after(0.5, again))

    # --- actions of the state machines --------------------------------------------------------------------------------

    def step(self) -> None:
        """Ask all state machines for their next actions, and run these."""
        now = self.clock()
        self._keep_lease(now)
        for action in self.ownership.step(now):
            self._act(action)
        if Bug.HASTY_HISTORY in self.cluster.settings.bugs:
            self.ownership._claims_from = now
        if not self.alive:
            return
        eligible = self.lease.alive(now) and self.ownership.shutdown is None
        if self.election.campaigns(now, eligible=eligible):
            self._campaign()
        write = self.leader.step(self.election.leads, now)
        if write is not None:
            self._write_targets(write)

    def _keep_lease(self, now: float) -> None:
        etcd, lease = self.cluster.etcd, self.lease
        step = lease.step(now)
        if step is LeaseStep.WAIT:
            return
        lease.asked(now)

        def done(answer: Any) -> None:
            if answer is None:
                lease.unanswered(self.clock())
            elif step is LeaseStep.GRANT:
                lease.granted(answer, LEASE_TTL_S)
            elif answer:
                lease.refreshed(answer)
            else:
                lease.lost()
            self.step()

        lease_id = lease.id
        if lease_id is None:
            etcd.request(self, lambda: etcd.grant(LEASE_TTL_S), done)
        else:
            etcd.request(self, lambda: etcd.refresh(lease_id), done)

    def _campaign(self) -> None:
        etcd, election, lease = self.cluster.etcd, self.election, self.lease.id
        key = self.view.layout.leader

        def done(_answer: Any) -> None:
            election.answered(self.clock())

        etcd.request(self, lambda: etcd.write(key, election.value, lease=lease, guards={key: ("mod", 0)}), done)

    def _write_targets(self, write: WriteTargets) -> None:
        etcd, layout, value = self.cluster.etcd, self.view.layout, write.targets.encode()
        guards = {
            layout.leader: ("create", write.leader_revision),
            layout.targets: ("mod", write.targets_revision),
        }

        def done(revision: Any) -> None:
            self.leader.written(revision or None, self.clock())
            self.step()

        etcd.request(self, lambda: etcd.write(layout.targets, value, guards=guards), done)

    def _act(self, action: Action) -> None:
        if isinstance(action, Register):
            self._register(action)
        elif isinstance(action, Claim):
            self._claim(action)
        elif isinstance(action, Publish):
            self._publish(action)
        elif isinstance(action, Check):
            self._check()
        elif isinstance(action, Close):
            self._close(action)
        elif isinstance(action, Drop):
            self._drop(action)
        else:
            self._leave(action)

    def _register(self, action: Register) -> None:
        etcd, key = self.cluster.etcd, self.view.layout.node(self.name)
        value, guards = action.member.encode(), {key: ("mod", action.own_revision)}

        def done(revision: Any) -> None:
            self.ownership.registered(action.lease_id if revision else None, self.clock())

        etcd.request(self, lambda: etcd.write(key, value, lease=action.lease_id, guards=guards), done)

    def _claim(self, action: Claim) -> None:
        store = self.cluster.store

        def done(epochs: Any) -> None:
            if epochs is None:
                self.ownership.denied(action.shards, self.clock())
            else:
                self.ownership.claimed(epochs)
            self.step()

        incarnation = self.incarnation
        store.request(self, lambda: store.claim(action.shards, incarnation), done)

    def _publish(self, action: Publish) -> None:
        etcd, layout, value = self.cluster.etcd, self.view.layout, action.claims.encode()
        key = layout.claims(self.name)
        guards = {key: ("mod", action.own_revision)}
        if Bug.UNGUARDED_CLAIMS not in self.cluster.settings.bugs:
            guards[layout.targets] = ("mod", action.targets_revision)

        def done(revision: Any) -> None:
            self.ownership.published(revision or None, self.clock())
            self.step()

        etcd.request(self, lambda: etcd.write(key, value, lease=action.lease_id, guards=guards), done)

    def _check(self) -> None:
        store, incarnation = self.cluster.store, self.incarnation

        def done(epochs: Any) -> None:
            if epochs is None:
                self.ownership.unchecked(self.clock())
            else:
                self.ownership.checked(epochs)
            self.step()

        store.request(self, lambda: store.held_by(incarnation), done)

    def _close(self, action: Close) -> None:
        for shard in action.shards:
            self._closing[shard] = action.cancel_at
            for activation in self._of(shard):
                activation.close()
        for shard in action.shards:
            self.look_for_emptied(shard)

    def _drop(self, action: Drop) -> None:
        for shard in action.shards:
            self._closing.pop(shard, None)
            for activation in self._of(shard):
                activation.drop()

    def _leave(self, _action: Leave) -> None:
        self.world.note(f"{self.name} leaves")
        etcd, lease_id = self.cluster.etcd, self.lease.id
        if lease_id is not None:
            etcd.request(self, lambda: etcd.revoke(lease_id), lambda _answer: None)
        self.alive = False

    # --- for activations ----------------------------------------------------------------------------------------------

    def _of(self, shard: int) -> list[Activation]:
        return [one for one in self.activations.values() if one.shard == shard]

    def receive(self, request: Request) -> None:
        """Handle a request from a gate."""
        epoch = self.ownership.epoch(request.shard)
        activation = self.activations.get(request.object)
        if epoch is None:
            request.reply(MOVING)
            return
        if activation is None or activation.epoch != epoch:
            if activation is not None:
                activation.drop()
            activation = self.activations[request.object] = Activation(self, request.object, request.shard, epoch)
        activation.deliver(request)

    def forget(self, activation: Activation) -> None:
        """Take an activation out of memory."""
        if self.activations.get(activation.number) is activation:
            del self.activations[activation.number]

    def look_for_emptied(self, shard: int) -> None:
        """Release a closing shard once its activations are idle."""
        if shard not in self._closing:
            return
        early = Bug.EARLY_RELEASE in self.cluster.settings.bugs
        if early or all(one.idle for one in self._of(shard)):
            del self._closing[shard]
            for activation in self._of(shard):
                activation.drop()
            held = self.ownership.shards.get(shard)
            if held is not None:
                self.cluster.watchers.released(shard, held.epoch)
            self.ownership.emptied([shard])
            self.step()

    def fenced(self, shard: int, epoch: int) -> None:
        """Handle a record that was refused because of its epoch."""
        self.ownership.fenced(shard, epoch, self.clock())
        self.step()

    def sure(self, shard: int, epoch: int) -> bool:
        """True if a reply that committed nothing may be sent without a check of the epoch."""
        return self.ownership.may_answer(shard, epoch, self.clock())

    def turn_time(self) -> float:
        """Return the random duration of a turn."""
        return self.world.random.uniform(0, 0.004) + self.slow_turn * self.world.random.random()

    # --- group commit -------------------------------------------------------------------------------------------------

    def append(self, pending: Pending) -> None:
        """Queue a record for the next batch."""
        self._queue.append(pending)
        self._commit()

    def _commit(self) -> None:
        if self._committing or not self._queue:
            return
        self._committing = True
        batch = [self._queue.popleft() for _ in range(min(BATCH_MAX, len(self._queue)))]
        self._batches += 1
        name = f"{self.incarnation}/{self._batches}"
        store, incarnation, records = self.cluster.store, self.incarnation, [one.record for one in batch]

        def done(outcomes: Any) -> None:
            if outcomes is None:
                store.request(self, lambda: store.resolve(name), resolved)
            else:
                self._settle(batch, outcomes)

        def resolved(answer: Any) -> None:
            if answer is None:
                store.request(self, lambda: store.resolve(name), resolved)
            elif answer[0]:
                self._settle(batch, answer[1])
            else:
                self._queue.extendleft(reversed(batch))
                self._committing = False
                self._commit()

        store.request(self, lambda: store.commit(name, incarnation, records), done)

    def _settle(self, batch: list[Pending], outcomes: Any) -> None:
        self._committing = False
        for pending, outcome in zip(batch, outcomes, strict=True):
            pending.activation.settled(pending, outcome)
        self._queue = deque(one for one in self._queue if not self._spoilt(one))
        self._commit()

    def _spoilt(self, pending: Pending) -> bool:
        """Fail a queued record that depends on a failed one; return whether it did."""
        if not pending.activation.failed:
            return False
        pending.activation.settled(pending, Refused(fenced=False))
        return True
