"""A node's ownership of shards: the view of etcd, answers of the store and the time go in, actions come out.

Rules, beyond the table of ``phases``:

1. A claim begins only while the lease lives, and is published only if the targets have not changed since they were
   seen: either the publication comes before another node sees that the shard is meant for it, or it fails.
2. A shard may be answered for without asking the store (``may_answer``) only while the lease lives under which it was
   published, and if nobody can have claimed it since: it was claimed and published under the same targets, or the
   store was asked after it was published.
3. One request of each kind is under way at a time. What an answer leaves open is asked again; nothing is done twice
   because two looks at the same state say the same.
4. When etcd was emptied, replaced or restored (``ClusterView.histories``), the node keeps the shards that it serves and
   registers and publishes them again under a new lease. It is sure of none of them until the store was asked, and it
   claims no further shard for one lease time: until then a node that cannot reach the new etcd may still answer alone
   under a lease of the old one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from goverse.cluster.claims import Claims
from goverse.cluster.lease import Lease
from goverse.cluster.member import Member, MemberState
from goverse.cluster.view import ClusterView
from goverse_node.ownership.actions import Action, Check, Claim, Close, Drop, Leave, Publish, Register
from goverse_node.ownership.phases import Event, OwnershipLimits, Phase
from goverse_node.ownership.shards import Shards
from goverse_node.ownership.shutdown import Shutdown, closes_all

_EARLIER_HISTORY: Final = -1  # a revision of targets that no etcd has


class Ownership:
    """One node's side; call ``step`` after every input, and at ``wake_at``.

    Attributes:
        shards: what it has of each shard.
        shutdown: how it is leaving, or None.
        left: it has given everything away.
    """

    def __init__(
        self, member: Member, view: ClusterView, lease: Lease, *, limits: OwnershipLimits | None = None
    ) -> None:
        """Own nothing yet; ``view`` and ``lease`` are kept up to date by the caller."""
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
        self._known: Mapping[int, int] = {}  # what etcd says we claim, as far as we know
        self._known_at = 0
        self._reloads = self._histories = 0
        self._registered_under: int | None = None
        self._claims_from = float("-inf")
        self._claim_at = self._publish_at = self._register_at = self._check_at = float("-inf")
        self._fenced_at: dict[int, float] = {}
        self._sent: Publish | None = None
        self._looked_at: tuple[int, int, int, int, bool] | None = None

    # --- answering ----------------------------------------------------------------------------------------------------

    def epoch(self, shard: int) -> int | None:
        """Return the epoch for a new turn of ``shard``; None where it must be answered with ``moving``."""
        held = self.shards.get(shard)
        return held.epoch if held is not None and held.phase is Phase.OPEN else None

    def may_answer(self, shard: int, epoch: int, now: float) -> bool:
        """Tell whether what was read under ``epoch`` may be told without asking the store."""
        held = self.shards.get(shard)
        if held is None or held.epoch != epoch or held.sure_under is None:
            return False
        return held.sure_under == self._lease.id and self._lease.alive(now)

    def progress(self) -> tuple[int, int]:
        """Return how many shards are open, and how many should be."""
        return self.shards.count(Phase.OPEN), len(self._wanted)

    def waits_for_id(self) -> bool:
        """Tell whether another process of this node's id is registered; its lease has to end first."""
        other = self._view.nodes.get(self._member.id)
        return other is not None and other.incarnation != self._member.incarnation

    # --- what happened ------------------------------------------------------------------------------------------------

    def shut_down(self, how: Shutdown) -> None:
        """Begin to leave; a later, harsher word counts."""
        self.shutdown = how
        state = MemberState.RESTARTING if how is Shutdown.FAST else MemberState.DRAINING
        self._member = replace(self._member, state=state)
        self._register_at = float("-inf")

    def registered(self, lease_id: int | None, now: float) -> None:
        """Note the end of a registration: the lease under which it was written, or None if it failed or is unknown."""
        self._registering = False
        self._registered_under = lease_id
        self._register_at = now + self._limits.claim_retry_s

    def claimed(self, epochs: Mapping[int, int]) -> None:
        """Note the epochs that the store gave us."""
        for shard, epoch in epochs.items():
            self.shards.granted(shard, epoch)

    def denied(self, shards: Iterable[int], now: float) -> None:
        """Note that a claim failed; the store may have raised the epochs or not."""
        for shard in shards:
            self.shards.turn(shard, Event.DENIED)
        self._claim_at = now + self._limits.claim_retry_s

    def published(self, revision: int | None, now: float) -> None:
        """Note the end of a publication: the revision that it got, or None where it failed or nobody knows."""
        sent, self._sent, self._publishing = self._sent, None, False
        if revision is None or sent is None or revision < self._known_at:
            self._publish_at = now + self._limits.claim_retry_s
            return
        self._learn(sent.claims.epochs, revision)
        self._entered(sent)

    def checked(self, epochs: Mapping[int, int]) -> None:
        """Note what the store says we claimed last: what it does not name at our epoch is somebody else's."""
        self._checking = False
        for shard in list(self.shards.unsure(self._lease.id)):
            held = self.shards[shard]
            if epochs.get(shard, 0) != held.epoch:
                self.shards.turn(shard, Event.FENCED)
            elif held.checking_under == self._lease.id:
                held.sure_under = held.checking_under
        self.shards.touch()

    def unchecked(self, now: float) -> None:
        """Note that the store did not answer a check."""
        self._checking = False
        self._check_at = now + self._limits.claim_retry_s

    def emptied(self, shards: Iterable[int]) -> None:
        """Note that closed shards have no activation, and that all their turns are durable."""
        for shard in shards:
            self.shards.turn(shard, Event.EMPTIED)

    def fenced(self, shard: int, epoch: int, now: float) -> None:
        """Note that the store refused a record of ``epoch``, because there is a newer one."""
        held = self.shards.get(shard)
        if held is not None and held.epoch == epoch and self.shards.turn(shard, Event.FENCED):
            self._fenced_at[shard] = now

    # --- what to do ---------------------------------------------------------------------------------------------------

    def step(self, now: float) -> list[Action]:
        """Return what is to be done now."""
        if self.left:
            return []
        actions: list[Action] = []
        self._follow_view(now)
        self._let_go(now)
        self._overdue(now)
        closing, dropped = self.shards.take_news()
        if closing:
            actions.append(Close(tuple(sorted(closing)), now + self._limits.close_budget_s))
        if dropped:
            actions.append(Drop(tuple(sorted(dropped))))
        if self._departs(now):
            self.left = True
            return [*actions, Leave()]
        for action in (self._register(now), self._claim(now), self._publish(now), self._check(now)):
            if action is not None:
                actions.append(action)
        return actions

    def wake_at(self, now: float) -> float | None:
        """Return when ``step`` may have something to do without a further input; None if never."""
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
        """Forget what revisions and leases of the etcd that is gone have proved (rule 4)."""
        self._sent = self._registered_under = None
        self._register_at = self._publish_at = self._check_at = float("-inf")
        self._claims_from = now + self._lease.ttl_s
        for held in self.shards.values():
            held.claimed_at = _EARLIER_HISTORY
            held.published_under = held.sure_under = held.checking_under = None
        self.shards.touch()

    def _learn(self, epochs: Mapping[int, int], revision: int) -> None:
        """Take in what etcd now says that we claim; what it does not say was not published all the time."""
        self._known, self._known_at = dict(epochs), revision
        for shard, held in self.shards.items():
            if epochs.get(shard) != held.epoch:
                held.published_under = held.sure_under = held.checking_under = None
        self.shards.touch()

    def _entered(self, sent: Publish) -> None:
        """Open what was published; be sure of what was claimed for the targets under which it was published."""
        for shard, epoch in sent.claims.epochs.items():
            held = self.shards.get(shard)
            if held is None or held.epoch != epoch or held.published_under == sent.lease_id:
                continue
            held.published_under = sent.lease_id
            if self.shards.turn(shard, Event.PUBLISHED) and held.claimed_at == sent.targets_revision:
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
            if leaving or held.phase is Phase.HELD or (target != self._member.id and target in view.nodes):
                self.shards.turn(shard, Event.UNWANTED, now)
        self._looked_at = *looked_at[:3], self.shards.changes, leaving

    def _overdue(self, now: float) -> None:
        for shard in self.shards.closing_before(now - self._limits.stuck_after_s):
            self.shards.turn(shard, Event.OVERDUE)

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
        stands = self._view.nodes.get(self._member.id) == self._member
        if stands and (not self._histories or self._registered_under == self._lease.id):
            return None  # what a restored backup says of this node ends with the lease of that time
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
