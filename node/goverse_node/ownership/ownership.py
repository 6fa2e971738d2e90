"""A node's ownership of shards, without IO. Inputs are the view of etcd, results of requests, and the time; outputs are
actions.

Rules, in addition to the state machine in ``phases``:

1. A claim starts only while the lease is alive. It is published only if the targets in etcd have not changed since the
   node read them. So either it is published before another node learns that the shard is assigned to it, or the write
   fails.
2. A reply may be sent without a check in the store (``may_answer``) only while the lease is alive under which the claim
   was published, and only if no other node can have claimed the shard since. The latter is certain if the shard was
   claimed and published under the same targets, or if the store was checked after the publication.
3. One request of each kind is in progress at a time. After its result the state is examined again, and anything that is
   still missing is requested again.
4. After etcd was emptied, replaced or restored (``ClusterView.histories``), the node keeps the shards that it serves,
   and registers and publishes them again under a new lease. Its claims are not certain until the store was checked. It
   claims no further shard for one lease time, because a node that cannot reach the new etcd may still answer without
   a check under its old lease.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from goverse.cluster.claims import Claims
from goverse.cluster.lease import Lease
from goverse.cluster.member import Member, MemberState
from goverse.cluster.view import ClusterView
from goverse_node.ownership.actions import Action, Check, Claim, Close, Drop, Open, Publish, Register
from goverse_node.ownership.phases import OwnershipLimits, ShardEvent, ShardPhase
from goverse_node.ownership.shards import Shards
from goverse_node.ownership.shutdown import Shutdown, closes_all

_EARLIER_HISTORY: Final = -1  # a revision of targets that no etcd has


class Ownership:
    """Ownership of one node. Call ``step`` after every input, and at ``wake_at``.

    Attributes:
        shards: the shards that the node holds.
        shutdown: the kind of shutdown in progress, or None.
        left: True once the node holds no shard any more, so that its lease can be revoked.
    """

    def __init__(
        self, member: Member, view: ClusterView, lease: Lease, *, limits: OwnershipLimits | None = None
    ) -> None:
        """Start without shards. The caller keeps ``view`` and ``lease`` up to date."""
        self.shards = Shards()
        self.shutdown: Shutdown | None = None
        self.left = False
        self._member = member
        self._view = view
        self._lease = lease
        self._limits = limits or OwnershipLimits()
        self._key = view.layout.node(member.id)
        self._claims_key = view.layout.claims(member.id)
        self._wanted: set[int] = set()
        self._wanted_at = 0
        self._registering = self._publishing = self._checking = False
        self._known: Mapping[int, int] = {}  # our claims in etcd, as far as we know
        self._known_at = 0
        self._reloads = self._histories = 0
        self._registered_under: int | None = None
        self._claims_from = float("-inf")
        self._claim_at = self._publish_at = self._register_at = self._check_at = float("-inf")
        self._fenced_at: dict[int, float] = {}
        self._sent: Publish | None = None
        self._looked_at: tuple[int, int, int, int, bool] | None = None

    # --- queries ------------------------------------------------------------------------------------------------------

    def epoch(self, shard: int) -> int | None:
        """Return the epoch for a new turn of ``shard``, or None if calls must be answered with ``moving``."""
        held = self.shards.get(shard)
        return held.epoch if held is not None and held.phase is ShardPhase.OPEN else None

    def may_answer(self, shard: int, epoch: int, now: float) -> bool:
        """Return True if a state that was read under ``epoch`` may be returned without a check in the store."""
        held = self.shards.get(shard)
        if held is None or held.epoch != epoch or held.sure_under is None:
            return False
        return held.sure_under == self._lease.id and self._lease.alive(now)

    def progress(self) -> tuple[int, int]:
        """Return the number of open shards, and the number of shards that are assigned to this node."""
        return self.shards.count(ShardPhase.OPEN), len(self._wanted)

    def waits_for_id(self) -> bool:
        """Return True if another process is registered under this node's id. Its lease has to end first."""
        other = self._view.nodes.get(self._member.id)
        return other is not None and other.incarnation != self._member.incarnation

    # --- inputs -------------------------------------------------------------------------------------------------------

    def shut_down(self, how: Shutdown) -> None:
        """Start to leave the cluster. A later call replaces the kind of shutdown."""
        self.shutdown = how
        state = MemberState.RESTARTING if how is Shutdown.FAST else MemberState.DRAINING
        self._member = replace(self._member, state=state)
        self._register_at = float("-inf")

    def registered(self, lease_id: int | None, now: float) -> None:
        """Handle the end of a registration: the lease under which it was written, or None if that is not certain."""
        self._registering = False
        self._registered_under = lease_id
        self._register_at = now + self._limits.claim_retry_s

    def claimed(self, epochs: Mapping[int, int]) -> None:
        """Handle the epochs that the store granted."""
        for shard, epoch in epochs.items():
            self.shards.granted(shard, epoch)

    def denied(self, shards: Iterable[int], now: float) -> None:
        """Handle a failed claim. The store may have raised the epochs nevertheless."""
        for shard in shards:
            self.shards.apply(shard, ShardEvent.DENIED)
        self._claim_at = now + self._limits.claim_retry_s

    def published(self, revision: int | None, now: float) -> None:
        """Handle the end of a publication: its revision, or None if it failed or its outcome is unknown."""
        sent, self._sent, self._publishing = self._sent, None, False
        if revision is None or sent is None or revision < self._known_at:
            self._publish_at = now + self._limits.claim_retry_s
            return
        self._learn(sent.claims.epochs, revision)
        self._entered(sent)

    def checked(self, epochs: Mapping[int, int]) -> None:
        """Handle the result of a check. Shards whose newest epoch is not ours belong to another node."""
        self._checking = False
        for shard in list(self.shards.unsure(self._lease.id)):
            held = self.shards[shard]
            if epochs.get(shard, 0) != held.epoch:
                self.shards.apply(shard, ShardEvent.FENCED)
            elif held.checking_under == self._lease.id:
                held.sure_under = held.checking_under
        self.shards.touch()

    def unchecked(self, now: float) -> None:
        """Handle a check that failed."""
        self._checking = False
        self._check_at = now + self._limits.claim_retry_s

    def emptied(self, shards: Iterable[int]) -> None:
        """Handle closing shards that have no activation left. All their commits are durable."""
        for shard in shards:
            self.shards.apply(shard, ShardEvent.EMPTIED)

    def fenced(self, shard: int, epoch: int, now: float) -> None:
        """Handle a record of ``epoch`` that the store refused because of a newer epoch."""
        held = self.shards.get(shard)
        if held is not None and held.epoch == epoch and self.shards.apply(shard, ShardEvent.FENCED):
            self._fenced_at[shard] = now

    # --- outputs ------------------------------------------------------------------------------------------------------

    def step(self, now: float) -> list[Action]:
        """Return the actions that are due now."""
        if self.left:
            return []
        actions: list[Action] = []
        self._follow_view(now)
        self._let_go(now)
        self._overdue(now)
        closing, dropped, opened = self.shards.take_news()
        if closing:
            actions.append(Close(tuple(sorted(closing)), now + self._limits.close_budget_s))
        if dropped:
            actions.append(Drop(tuple(sorted(dropped))))
        if opened:
            actions.append(Open(tuple(sorted(opened))))
        if self._departs(now):
            self.left = True
            return actions
        for action in (self._register(now), self._claim(now), self._publish(now), self._check(now)):
            if action is not None:
                actions.append(action)
        return actions

    def wake_at(self, now: float) -> float | None:
        """Return the time at which ``step`` may act without a further input, or None."""
        times = [self._claim_at, self._claims_from, self._publish_at, self._register_at, self._check_at]
        times += [at + 4 * self._limits.claim_retry_s for at in self._fenced_at.values()]
        if (since := self.shards.closing_since()) is not None:
            times.append(since + self._limits.stuck_after_s)
        return min((at for at in times if at > now), default=None)

    def _follow_view(self, now: float) -> None:
        view = self._view
        reloaded = view.reloads != self._reloads
        self._reloads = view.reloads
        if view.histories != self._histories:
            self._histories = view.histories
            self._begin_history(now)
        if reloaded or view.targets_revision != self._wanted_at:
            self._wanted_at = view.targets_revision
            self._wanted = view.targets.shards_of(self._member.id) if view.targets is not None else set()
        claims, at = view.claims.get(self._member.id), view.revision_of(self._claims_key)
        if reloaded or at > self._known_at:
            ours = claims is not None and claims.incarnation == self._member.incarnation
            self._learn(claims.epochs if claims is not None and ours else {}, at or view.revision)
        elif at == 0 and self._known and self._known_at <= view.revision:
            self._learn({}, view.revision)

    def _begin_history(self, now: float) -> None:
        """Forget everything that was proved by revisions and leases of the previous etcd (rule 4)."""
        self._sent = self._registered_under = None
        self._register_at = self._publish_at = self._check_at = float("-inf")
        self._claims_from = now + self._lease.ttl_s
        for held in self.shards.values():
            held.claimed_at = _EARLIER_HISTORY
            held.published_under = held.sure_under = held.checking_under = None
        self.shards.touch()

    def _learn(self, epochs: Mapping[int, int], revision: int) -> None:
        """Handle our claims as they are in etcd now. Shards that are missing there were not published continuously."""
        self._known, self._known_at = dict(epochs), revision
        for shard, held in self.shards.items():
            if epochs.get(shard) != held.epoch:
                held.published_under = held.sure_under = held.checking_under = None
        self.shards.touch()

    def _entered(self, sent: Publish) -> None:
        """Open the published shards. Those that were claimed for the same targets are certain (rule 2)."""
        for shard, epoch in sent.claims.epochs.items():
            held = self.shards.get(shard)
            if held is None or held.epoch != epoch or held.published_under == sent.lease_id:
                continue
            held.published_under = sent.lease_id
            if self.shards.apply(shard, ShardEvent.PUBLISHED) and held.claimed_at == sent.targets_revision:
                held.sure_under = sent.lease_id
        self.shards.touch()

    def _let_go(self, now: float) -> None:
        view, leaving = self._view, self._closes_all()
        looked_at = view.reloads, view.targets_revision, view.members_revision, self.shards.changes, leaving
        if looked_at == self._looked_at:
            return
        for shard in [shard for shard in self.shards if leaving or shard not in self._wanted]:
            held = self.shards[shard]
            target = view.targets.owner(shard) if view.targets is not None else None
            if leaving or held.phase is ShardPhase.HELD or (target != self._member.id and target in view.nodes):
                self.shards.apply(shard, ShardEvent.UNWANTED, now)
        self._looked_at = *looked_at[:3], self.shards.changes, leaving

    def _overdue(self, now: float) -> None:
        for shard in self.shards.closing_before(now - self._limits.stuck_after_s):
            self.shards.apply(shard, ShardEvent.OVERDUE)

    def _closes_all(self) -> bool:
        return closes_all(self.shutdown, self._view, self._member.id)

    def _departs(self, now: float) -> bool:
        if self.shutdown is None or self._publishing or self.shards:
            return False
        if self._wanted and not self._closes_all() and self._lease.alive(now):
            return False
        return not self._known or not self._lease.alive(now)

    # --- requests -----------------------------------------------------------------------------------------------------

    def _is_registered(self) -> bool:
        return self._member.id in self._view.nodes and not self.waits_for_id()

    def _register(self, now: float) -> Register | None:
        if self._registering or not self._lease.alive(now) or now < self._register_at or self.waits_for_id():
            return None
        if self._lease.id is None:
            return None
        unchanged = self._view.nodes.get(self._member.id) == self._member
        if unchanged and (not self._histories or self._registered_under == self._lease.id):
            return None  # an entry of this node in a restored backup would end with the lease of that time
        self._registering = True
        return Register(self._member, self._lease.id, self._view.revision_of(self._key))

    def _claim(self, now: float) -> Claim | None:
        if now < max(self._claim_at, self._claims_from) or self.shards.claiming or self._closes_all():
            return None
        if not self._lease.alive(now) or not self._is_registered():
            return None
        until = 4 * self._limits.claim_retry_s
        self._fenced_at = {shard: at for shard, at in self._fenced_at.items() if now < at + until}
        wanted = self._wanted - self.shards.keys() - self._fenced_at.keys()
        for node, claims in self._view.claims.items():
            if node != self._member.id and wanted:
                wanted -= claims.epochs.keys()
        for shard in wanted:
            self.shards.want(shard, self._wanted_at)
        return Claim(tuple(sorted(wanted))) if wanted else None

    def _publish(self, now: float) -> Publish | None:
        lease_id = self._lease.id
        if self._publishing or now < self._publish_at or lease_id is None or not self._is_registered():
            return None
        epochs = self.shards.epochs()
        if epochs == self._known and not self.shards.unpublished(lease_id):
            return None
        self._publishing = True
        claims = Claims(self._member.incarnation, epochs)
        self._sent = Publish(claims, lease_id, self._wanted_at, self._view.revision_of(self._claims_key))
        return self._sent

    def _check(self, now: float) -> Check | None:
        lease_id = self._lease.id
        if self._checking or now < self._check_at or lease_id is None:
            return None
        kept = self.shards.keys() if self._view.targets is None else self._wanted
        unsure = (shard for shard in self.shards.unsure(lease_id) if shard in kept)
        found = [held for held in map(self.shards.__getitem__, unsure) if held.published_under == lease_id]
        if not found:
            return None
        for held in found:
            held.checking_under = lease_id
        self._checking = True
        return Check()
