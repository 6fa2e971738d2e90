"""The leader: when it plans, how it guards its writes, and how it resolves stuck moves."""

from __future__ import annotations

import pytest

from goverse.cluster.member import Load, Member, MemberState
from goverse.cluster.table import ShardTable
from goverse.cluster.targets import Targets
from goverse.ports.coordinator import KeyEntry
from goverse_node.ownership.leader import Leader, LeaderLimits, WriteTargets
from goverse_node.ownership.moves import Moves
from goverse_node.ownership.situation import PlanLimits, Reason
from tests.unit.cluster.views import FedView

pytestmark = pytest.mark.requirement("CLU-4")

LIMITS = LeaderLimits(
    gather_s=1.0,
    plan_pause_s=0.5,
    load_pause_s=5.0,
    rejoin_grace_s=4.0,
    stuck_after_s=10.0,
    stuck_avoid_s=20.0,
    plan=PlanLimits(moves_per_round=2, moves_in_flight=2),
)
SHARDS = 6


class Scene:
    """A leader of a cluster that the test simulates. Claims follow targets when the test says so."""

    def __init__(self, *nodes: str) -> None:
        self.view = FedView()
        self.table = ShardTable(SHARDS)
        self.leader = Leader(self.view, self.table, limits=LIMITS)
        self.now = 0.0
        self.view.write(self.view.layout.shards, str(SHARDS).encode())
        for node in nodes:
            self.view.node(node)

    def step(self, *, leads: int | None = 5, wait: float = 0.0) -> WriteTargets | None:
        self.now += wait
        self.table.update(self.view)
        return self.leader.step(leads, self.now)

    def write(self, *, wait: float = 0.0) -> Targets:
        """Let the leader plan, and etcd accept the write."""
        made = self.step(wait=wait)
        assert made is not None
        self.leader.written(self.view.write(self.view.layout.targets, made.targets.encode()), self.now)
        return made.targets

    def arrive(self) -> None:
        """Let every node claim the shards assigned to it."""
        assert self.view.targets is not None
        for node in self.view.nodes:
            epochs = dict.fromkeys(self.view.targets.shards_of(node), 1)
            self.view.claim(node, epochs)

    def settle(self) -> Targets:
        self.step()
        self.write(wait=1.0)
        self.arrive()
        assert self.step(wait=1.0) is None
        assert self.view.targets is not None
        return self.view.targets


def test_a_new_leader_gathers_then_plans_under_its_own_leadership() -> None:
    scene = Scene("a")
    assert scene.step() is None
    scene.view.node("b")
    assert scene.step(wait=0.9) is None
    made = scene.step(wait=0.1)
    assert made is not None
    assert (made.leader_revision, made.targets_revision) == (5, 0)
    assert {owner for owner in made.targets.owners() if owner} == {"a", "b"}
    assert scene.step(wait=9.0) is None
    revision = scene.view.write(scene.view.layout.targets, made.targets.encode())
    scene.leader.written(revision, scene.now)

    assert scene.leader.reasons == {Reason.UNPLACED: SHARDS}
    assert len(scene.leader.decisions) == SHARDS


def test_a_node_plans_only_while_it_leads_and_gathers_again_when_it_leads_again() -> None:
    scene = Scene("a")
    assert scene.step(leads=None, wait=9.0) is None
    assert scene.leader.wake_at() is None
    assert scene.step() is None
    assert scene.step(wait=1.0) is not None
    assert scene.step(leads=None) is None
    assert scene.step(leads=9) is None
    made = scene.step(leads=9, wait=1.0)
    assert made is not None
    assert made.leader_revision == 9


def test_a_leader_that_takes_over_a_cluster_that_serves_plans_at_once() -> None:
    scene = Scene("a", "b")
    scene.settle()
    scene.view.die("b")

    made = scene.step(leads=9)

    assert made is not None
    assert set(made.targets.owners()) == {"a"}


def test_a_write_that_failed_is_planned_again() -> None:
    scene = Scene("a")
    scene.step()
    assert scene.step(wait=1.0) is not None
    scene.leader.written(None, scene.now)
    assert scene.step() is None
    assert scene.step(wait=1.0) is not None
    assert not scene.leader.decisions


def test_no_plan_before_the_view_shows_the_last_one() -> None:
    scene = Scene("a")
    scene.step()
    made = scene.step(wait=1.0)
    assert made is not None
    scene.leader.written(scene.view.revision + 1, scene.now)
    scene.view.remove(scene.view.layout.node("a"))
    scene.view.revision -= 1
    assert scene.step(wait=9.0) is None


def test_nothing_is_planned_before_the_shard_count_is_known() -> None:
    scene = Scene("a")
    scene.view.remove(scene.view.layout.shards)
    scene.step()
    assert scene.step(wait=5.0) is None


def test_without_news_nothing_is_planned_and_load_figures_alone_are_not_urgent() -> None:
    scene = Scene("a", "b")
    scene.settle()
    latest = scene.leader.latest
    scene.view.write(scene.view.layout.load("a"), Load(1).encode())
    assert scene.step(wait=1.0) is None
    assert scene.leader.latest is latest
    wake_at = scene.leader.wake_at()
    assert wake_at is not None
    scene.now = wake_at
    assert scene.step() is None
    assert scene.leader.latest is not latest


def test_a_dead_nodes_shards_move_at_once() -> None:
    scene = Scene("a", "b")
    scene.settle()
    scene.view.die("b")
    made = scene.step(wait=0.5)

    assert made is not None
    assert set(made.targets.owners()) == {"a"}


@pytest.mark.requirement("CLU-6")
def test_a_restarting_nodes_shards_wait_for_it_for_a_while() -> None:
    scene = Scene("a", "b")
    before = scene.settle()
    scene.view.node("b", state=MemberState.RESTARTING)
    assert scene.step(wait=1.0) is None
    scene.view.die("b")
    assert scene.step(wait=1.0) is None
    assert scene.step(wait=2.0) is None
    wake_at = scene.leader.wake_at()
    assert wake_at is not None
    assert wake_at <= scene.now + 2.0
    made = scene.step(wait=2.0)
    assert made is not None
    assert set(made.targets.owners()) == {"a"}
    assert set(before.owners()) == {"a", "b"}


@pytest.mark.requirement("CLU-6", "CLU-9")
def test_shards_of_a_node_that_died_while_it_was_leaving_do_not_wait_twice() -> None:
    scene = Scene("a", "b")
    scene.settle()
    scene.view.node("b", state=MemberState.RESTARTING)
    assert scene.step(wait=1.0) is None
    scene.now += LIMITS.close_budget_s + LIMITS.rejoin_grace_s
    scene.view.die("b")
    made = scene.step()

    assert made is not None
    assert set(made.targets.owners()) == {"a"}


@pytest.mark.requirement("CLU-6")
def test_a_leader_that_does_not_know_since_when_a_node_restarts_does_not_wait_for_it() -> None:
    scene = Scene("a", "b")
    scene.settle()
    scene.view.node("b", state=MemberState.RESTARTING)
    assert scene.step(leads=9) is None
    scene.view.die("b")
    made = scene.step(leads=9, wait=1.0)

    assert made is not None
    assert set(made.targets.owners()) == {"a"}


@pytest.mark.requirement("CLU-6")
def test_a_restarted_node_finds_its_shards() -> None:
    scene = Scene("a", "b")
    before = scene.settle()
    scene.view.node("b", state=MemberState.RESTARTING)
    scene.step(wait=1.0)
    scene.view.die("b")
    scene.step(wait=1.0)
    scene.view.node("b", life=2)

    assert scene.step(wait=9.0) is None
    assert scene.view.targets == before


# --- moves ---------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("CLU-5")
def test_a_shard_that_its_new_owner_does_not_take_goes_to_another_one() -> None:
    scene = Scene("a", "b", "c")
    scene.step()
    silent = scene.write(wait=1.0).shards_of("b")
    for node in ("a", "c"):
        assert scene.view.targets is not None
        scene.view.claim(node, dict.fromkeys(scene.view.targets.shards_of(node), 1))
    assert scene.step(wait=1.0) is None
    assert scene.leader.moves.under_way.keys() == silent
    made = scene.step(wait=LIMITS.stuck_after_s)
    assert made is not None
    assert made.targets.shards_of("b") == set()
    assert scene.leader.moves.counts.stuck == len(silent)


@pytest.mark.requirement("CLU-5")
def test_a_shard_that_its_owner_does_not_give_stays_with_it() -> None:
    scene = Scene("a")
    scene.settle()
    scene.view.node("b")
    moving = scene.write(wait=1.0).shards_of("b")
    assert len(moving) == LIMITS.plan.moves_per_round
    assert scene.step(wait=1.0) is None
    made = scene.step(wait=LIMITS.stuck_after_s)

    assert made is not None
    assert {made.targets.owner(shard) for shard in moving} == {"a"}
    assert {one.reason for one in scene.leader.latest.decisions if one.shard in moving} == {Reason.STUCK}  # type: ignore[union-attr]


def test_moves_that_arrive_are_counted() -> None:
    scene = Scene("a")
    scene.settle()
    arrived = scene.leader.moves.counts.migrations
    scene.view.node("b")
    scene.write(wait=1.0)
    scene.step(wait=1.0)
    scene.arrive()
    scene.step(wait=1.0)

    assert scene.leader.moves.counts.migrations == arrived + LIMITS.plan.moves_per_round


def test_a_move_is_stuck_only_without_news_of_it_and_passes_its_target_over_for_a_while() -> None:
    moves = Moves(stuck_after_s=10.0, avoid_s=20.0)
    targets = Targets.of(["b"])
    moves.follow(targets, ["a"], 0.0)
    moves.follow(targets, [None], 9.0)
    assert moves.refuse_stuck(18.0) == {}
    assert moves.changes_at(18.0) == [19.0]
    assert moves.refuse_stuck(19.0) == {0: frozenset({"b"})}
    assert moves.changes_at(19.0) == [39.0]
    assert moves.refuse_stuck(20.0) == {0: frozenset({"b"})}
    assert moves.counts.stuck == 1
    moves.follow(Targets.of(["c"]), ["c"], 21.0)
    assert moves.refuse_stuck(39.0) == {}


def test_a_leadership_that_a_restored_backup_shows_again_plans_after_one_lease_time() -> None:
    scene = Scene("a", "b")
    scene.settle()
    entries = [KeyEntry(scene.view.layout.shards, str(SHARDS).encode(), 1, 1)]
    member = Member("a", "a:1", "a.1")
    entries.append(KeyEntry(scene.view.layout.node("a"), member.encode(), 2, 2))
    scene.view.reload(entries, 3, new_history=True)
    assert scene.step() is None
    assert scene.step(wait=LIMITS.history_pause_s - 0.1) is None
    made = scene.step(wait=0.2)
    assert made is not None
    assert (set(made.targets.owners()), made.targets_revision) == ({"a"}, 0)
