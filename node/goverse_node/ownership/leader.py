"""The leader's rules: plan after changes, and write the new targets while this node is still the leader.

Rules:

1. In a cluster that serves no shard yet, a new leader first waits ``gather_s`` for nodes that start at the same time. A
   leader that takes over plans immediately. Later it plans after changes, at most once per ``plan_pause_s``. Load
   figures alone are evaluated every ``load_pause_s``.
2. Targets are written only while the leader key has the create revision of this leadership, and only over the targets
   that the plan started from. One write is in progress at a time, and the next plan waits until the view shows its
   result.
3. A node that leaves for a restart announces it. Its shards wait for it for ``rejoin_grace_s``. Leaving takes at most
   ``close_budget_s``; a node that disappears later than that has died, and its shards have already waited for its lease
   to expire, so the grace time starts at the end of that budget.
4. After etcd was emptied, replaced or restored, the leader plans again after one lease time. Until then nodes register
   and publish their claims again, and a node that has not done so yet does not count as gone.
5. The latest decisions, and totals by reason, are kept for operators to read.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from goverse.cluster.member import MemberState
from goverse.cluster.table import ShardTable
from goverse.cluster.targets import Targets
from goverse.cluster.view import ClusterView
from goverse.limits import (
    CLAIM_RETRY_S,
    CLOSE_BUDGET_S,
    DECISIONS_KEPT,
    GATHER_S,
    LEASE_TTL_S,
    LOAD_PAUSE_S,
    PLAN_PAUSE_S,
    REJOIN_GRACE_S,
    STUCK_AFTER_S,
    STUCK_AVOID_S,
)
from goverse_node.ownership.moves import MoveCounts, Moves
from goverse_node.ownership.planner import plan
from goverse_node.ownership.situation import Decision, Plan, PlanLimits, Reason, Situation


@dataclass(frozen=True, slots=True)
class LeaderLimits:
    """Times of the leader, and limits of its plans."""

    gather_s: float = GATHER_S
    plan_pause_s: float = PLAN_PAUSE_S
    load_pause_s: float = LOAD_PAUSE_S
    rejoin_grace_s: float = REJOIN_GRACE_S
    history_pause_s: float = LEASE_TTL_S
    close_budget_s: float = CLOSE_BUDGET_S
    stuck_after_s: float = STUCK_AFTER_S
    stuck_avoid_s: float = STUCK_AVOID_S
    plan: PlanLimits = field(default_factory=PlanLimits)


def _summaries(decisions: Iterable[Decision]) -> Sequence[Mapping[str, object]]:
    """Return one log record per reason and former target: the number of shards for each new target."""
    counts: dict[tuple[str, str | None], Counter[str]] = {}
    for decision in decisions:
        counts.setdefault((decision.reason.value, decision.source), Counter())[decision.target] += 1
    return [
        {"reason": reason, **({} if source is None else {"source": source}), "shards": to.total(), "targets": dict(to)}
        for (reason, source), to in counts.items()
    ]


class WriteTargets(NamedTuple):
    """A write of targets, guarded by the create revision of the leader key and the revision of the targets key."""

    targets: Targets
    leader_revision: int
    targets_revision: int


class Leader:
    """The leader. Call ``step`` after every change of the view, and at ``wake_at``.

    Attributes:
        decisions: the latest decisions, each with the time of its write.
        reasons: the number of written decisions by reason.
        moves: the moves in progress; empty while this node is not the leader.
        move_counts: totals of moves since the start of the process.
        latest: the latest plan, or None.
    """

    def __init__(self, view: ClusterView, table: ShardTable, *, limits: LeaderLimits | None = None) -> None:
        """Start without leadership. The caller keeps ``view`` and ``table`` up to date, ``table`` first."""
        self.limits = limits or LeaderLimits()
        self.decisions: deque[tuple[float, Decision]] = deque(maxlen=DECISIONS_KEPT)
        self.reasons: Counter[Reason] = Counter()
        self.latest: Plan | None = None
        self._view = view
        self._table = table
        self._leads: int | None = None
        self._histories = view.histories
        self._plans_from = float("-inf")
        self._restarting: dict[str, float] = {}
        self._awaited: dict[str, float] = {}
        self.move_counts = MoveCounts()
        self._begin(None, 0.0)

    def _begin(self, leads: int | None, now: float) -> None:
        self._leads = leads
        self.moves = Moves(self.limits.stuck_after_s, self.limits.stuck_avoid_s, counts=self.move_counts)
        serves = any(route is not None for route in self._table.routes)
        self._plan_at = max(self._plans_from, now if serves else now + self.limits.gather_s)
        self._look_at = float("-inf")
        self._seen: tuple[int, ...] = ()
        self._written_at: int | None = None
        self._writing: Plan | None = None
        self._awaited.clear()
        self._restarting = dict.fromkeys(self._restarting_now(), float("-inf"))  # the start of the restart is unknown

    def step(self, leads: int | None, now: float) -> WriteTargets | None:
        """Plan if a plan is due. ``leads`` is the create revision of this node's leadership, or None."""
        if self._view.histories != self._histories:
            self._histories = self._view.histories
            self._plans_from = now + self.limits.history_pause_s
            self._begin(leads, now)
        elif leads != self._leads:
            self._begin(leads, now)
        if leads is None:
            return None
        self._watch_members(now)
        if now < self._plan_at or self._writing is not None or not self._caught_up() or not self._news(now):
            return None
        self._plan_at = now + self.limits.plan_pause_s
        self.latest = made = plan(self._situation(now))
        self._look_at = self._next_look(now)
        if not made.decisions:
            return None
        self._writing = made
        return WriteTargets(made.targets, leads, self._view.targets_revision)

    def written(self, revision: int | None, now: float) -> Sequence[Mapping[str, object]]:
        """Handle the end of a write: its revision, or None if it failed or its outcome is unknown.

        Returns log records; see ``_summaries``.
        """
        made, self._writing = self._writing, None
        if revision is None or made is None:
            self._plan_at = now + CLAIM_RETRY_S
            self._seen = ()
            return ()
        self._written_at = revision
        self.decisions.extend((now, decision) for decision in made.decisions)
        self.reasons.update(decision.reason for decision in made.decisions)
        for decision in made.decisions:
            route = self._table.routes[decision.shard]
            self.moves.begin(decision.shard, None if route is None else route.node, decision.target, now)
        return _summaries(made.decisions)

    def wake_at(self) -> float | None:
        """Return the time at which ``step`` may act without a further input, or None."""
        if self._leads is None or self._writing is not None:
            return None
        return self._plan_at if self._signature() != self._seen else max(self._plan_at, self._look_at)

    def _signature(self) -> tuple[int, ...]:
        view = self._view
        return (
            view.reloads,
            view.targets_revision,
            view.members_revision,
            view.intents_revision,
            self._table.changes,
        )

    def _news(self, now: float) -> bool:
        """Return True if a new plan could differ from the last one."""
        signature = self._signature()
        if signature == self._seen and now < self._look_at:
            return False
        self._seen = signature
        return True

    def _next_look(self, now: float) -> float:
        """Return the time at which the passage of time, or new load figures, give a reason to plan again."""
        times = list(self._awaited.values())
        times += self.moves.changes_at(now)
        return min([now + self.limits.load_pause_s, *times])

    def _caught_up(self) -> bool:
        """Return True if the view contains the latest write of targets, and the number of shards is known."""
        if self._view.shard_count is None or len(self._table) != self._view.shard_count:
            return False
        return self._written_at is None or self._view.revision >= self._written_at

    def _restarting_now(self) -> list[str]:
        return [node for node, member in self._view.nodes.items() if member.state is MemberState.RESTARTING]

    def _watch_members(self, now: float) -> None:
        nodes = self._view.nodes
        for node in self._restarting.keys() - nodes.keys():
            latest = self._restarting[node] + self.limits.close_budget_s
            self._awaited[node] = min(now, latest) + self.limits.rejoin_grace_s
        self._restarting = {node: self._restarting.get(node, now) for node in self._restarting_now()}
        self._awaited = {node: until for node, until in self._awaited.items() if node not in nodes and now < until}

    def _situation(self, now: float) -> Situation:
        view = self._view
        count = len(self._table)
        targets = view.targets if view.targets is not None else Targets.empty(count)
        claimants = [route.node if route is not None else None for route in self._table.routes]
        self.moves.follow(targets, claimants, now)
        return Situation(
            targets,
            claimants,
            dict(view.nodes),
            pins={shard: node for shard, node in view.pins.items() if shard < count},
            drains=frozenset(view.drains),
            loads=dict(view.loads),
            refused=self.moves.refuse_stuck(now),
            awaited=frozenset(self._awaited),
            limits=self.limits.plan,
        )
