"""Ownership of a node: claiming, publishing, releasing and checking shards."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TypeVar

import pytest

from goverse.cluster.claims import Claims
from goverse.cluster.lease import Lease
from goverse.cluster.member import Member, MemberState
from goverse.ports.coordinator import KeyEntry
from goverse_node.ownership.actions import Action, Check, Claim, Close, Drop, Open, Publish, Register
from goverse_node.ownership.ownership import Ownership
from goverse_node.ownership.phases import NEXT, ShardEvent, ShardPhase
from goverse_node.ownership.shutdown import Shutdown
from tests.unit.cluster.views import FedView

pytestmark = pytest.mark.requirement("CLU-2", "CLU-3")

TTL_S = 10.0
T = TypeVar("T", bound=Action)


class Scene:
    """A node `a` with a lease, in a cluster whose etcd and store the test simulates."""

    def __init__(self, shards: int = 3) -> None:
        self.view = FedView()
        self.lease = Lease(TTL_S)
        self.ownership = Ownership(Member("a", "a:1", "a.1"), self.view, self.lease)
        self.now = 100.0
        self.epoch = 10
        self.shards = shards
        self.grant(1)
        self.view.node("b")

    def grant(self, lease_id: int) -> None:
        self.lease.asked(self.now)
        self.lease.granted(lease_id, TTL_S)

    def step(self) -> list[Action]:
        return self.ownership.step(self.now)

    def only(self, kind: type[T], actions: Sequence[Action] | None = None) -> T:
        found = [one for one in (self.step() if actions is None else actions) if isinstance(one, kind)]
        assert len(found) == 1, found
        return found[0]

    def wait(self) -> list[Action]:
        """Advance the time from one ``wake_at`` to the next until there is an action."""
        for _ in range(10):
            wake_at = self.ownership.wake_at(self.now)
            assert wake_at is not None
            self.now = wake_at
            if actions := self.step():
                return actions
        raise AssertionError("no further action")

    def register(self) -> None:
        action = self.only(Register)
        self.view.write(self.view.layout.node("a"), action.member.encode())
        self.ownership.registered(action.lease_id, self.now)

    def grant_claim(self, action: Claim) -> None:
        self.epoch += 1
        self.ownership.claimed(dict.fromkeys(action.shards, self.epoch))

    def carry_out(self, action: Publish) -> int:
        revision = self.view.write(self.view.layout.claims("a"), action.claims.encode())
        self.ownership.published(revision, self.now)
        return revision

    def open(self, owners: Sequence[str]) -> None:
        """Let the node serve the shards that `owners` assigns to it."""
        self.view.aim(owners)
        self.register()
        self.grant_claim(self.only(Claim))
        self.carry_out(self.only(Publish))
        self.step()


def test_the_way_to_an_open_shard_is_register_claim_publish() -> None:
    scene = Scene()
    scene.view.aim(["a", "b", "a"])
    scene.register()
    claim = scene.only(Claim)
    assert claim.shards == (0, 2)
    assert scene.ownership.epoch(0) is None
    scene.grant_claim(claim)
    publish = scene.only(Publish)
    assert (publish.claims.epochs, publish.lease_id) == ({0: 11, 2: 11}, 1)
    assert publish.targets_revision == scene.view.targets_revision
    assert scene.ownership.epoch(0) is None
    scene.carry_out(publish)

    assert [scene.ownership.epoch(shard) for shard in range(3)] == [11, None, 11]
    assert scene.ownership.progress() == (2, 2)
    assert scene.step() == [Open((0, 2))]
    assert scene.step() == []
    assert scene.ownership.shards.counts.claims == 2


def test_a_shard_that_is_lost_as_it_opens_delivers_no_calls() -> None:
    scene = Scene()
    scene.view.aim(["a", "a"])
    scene.register()
    scene.grant_claim(scene.only(Claim))
    scene.carry_out(scene.only(Publish))
    scene.ownership.fenced(0, 11, scene.now)

    assert scene.only(Open).shards == (1,)


def test_nothing_is_asked_for_twice_while_the_answer_is_awaited() -> None:
    scene = Scene()
    scene.view.aim(["a", "a"])
    action = scene.only(Register)
    assert scene.step() == []
    scene.view.write(scene.view.layout.node("a"), action.member.encode())
    scene.ownership.registered(1, scene.now)
    claim = scene.only(Claim)
    assert scene.step() == []
    scene.grant_claim(claim)
    scene.only(Publish)
    assert scene.step() == []


def test_what_failed_is_asked_for_again_after_a_pause() -> None:
    scene = Scene()
    scene.view.aim(["a"])
    scene.register()
    claim = scene.only(Claim)
    scene.ownership.denied(claim.shards, scene.now)
    assert scene.step() == []
    scene.grant_claim(scene.only(Claim, scene.wait()))
    scene.only(Publish)
    scene.ownership.published(None, scene.now)
    assert scene.step() == []
    scene.now += 1
    scene.carry_out(scene.only(Publish))

    assert scene.ownership.epoch(0) == 11


def test_a_shard_that_a_live_node_claims_is_waited_for() -> None:
    scene = Scene()
    scene.view.claim("b", {0: 4})
    scene.view.aim(["a"])
    scene.register()
    assert scene.step() == []
    scene.view.claim("b", {})

    assert scene.only(Claim).shards == (0,)


def test_an_id_that_another_process_has_is_waited_for() -> None:
    scene = Scene()
    scene.view.node("a", life=7)
    scene.view.aim(["a"])
    assert (scene.step(), scene.ownership.waits_for_id()) == ([], True)
    scene.view.die("a")

    assert scene.only(Register).own_revision == 0


def test_without_a_living_lease_nothing_is_claimed_and_what_is_open_stays_open_but_is_not_sure() -> None:
    scene = Scene()
    scene.open(["a", "b"])
    assert scene.ownership.may_answer(0, 11, scene.now)
    assert not scene.ownership.may_answer(0, 10, scene.now)
    assert not scene.ownership.may_answer(1, 11, scene.now)
    scene.now += TTL_S
    scene.view.aim(["a", "a"])

    assert scene.step() == []
    assert scene.ownership.epoch(0) == 11
    assert not scene.ownership.may_answer(0, 11, scene.now)


# --- handing over -----------------------------------------------------------------------------------------------------


def test_a_shard_that_belongs_elsewhere_closes_and_is_given_back_when_it_is_empty() -> None:
    scene = Scene()
    scene.open(["a", "a"])
    scene.view.aim(["b", "a"])
    close = scene.only(Close)
    assert (close.shards, close.cancel_at > scene.now) == ((0,), True)
    assert (scene.ownership.epoch(0), scene.ownership.epoch(1)) == (None, 11)
    assert scene.step() == []
    scene.ownership.emptied([0])
    publish = scene.only(Publish)
    assert publish.claims.epochs == {1: 11}
    scene.carry_out(publish)

    assert scene.step() == []
    assert scene.ownership.shards.counts.releases == 1
    assert scene.ownership.may_answer(1, 11, scene.now)


def test_a_shard_whose_new_owner_does_not_live_is_kept() -> None:
    scene = Scene()
    scene.open(["a"])
    scene.view.die("b")
    scene.view.aim(["b"])
    assert scene.step() == []
    scene.view.node("b")

    assert scene.only(Close).shards == (0,)


@pytest.mark.requirement("CLU-5")
def test_a_shard_that_does_not_close_in_time_is_given_up_by_force() -> None:
    scene = Scene()
    scene.open(["a"])
    scene.view.aim(["b"])
    scene.only(Close)
    actions = scene.wait()

    assert scene.only(Drop, actions).shards == (0,)
    assert scene.only(Publish, actions).claims.epochs == {}
    assert scene.ownership.shards.counts.forced == 1


def test_a_shard_that_is_assigned_again_while_it_closes_is_claimed_again() -> None:
    scene = Scene()
    scene.open(["a"])
    scene.view.aim(["b"])
    scene.only(Close)
    scene.view.aim(["a"])
    assert scene.step() == []
    scene.ownership.emptied([0])
    actions = scene.step()
    scene.grant_claim(scene.only(Claim, actions))
    scene.carry_out(scene.only(Publish, actions))
    scene.carry_out(scene.only(Publish))

    assert scene.ownership.epoch(0) == 12


def test_a_claim_that_is_not_wanted_any_more_is_never_opened() -> None:
    scene = Scene()
    scene.view.aim(["a"])
    scene.register()
    claim = scene.only(Claim)
    scene.view.aim(["b"])
    assert scene.step() == []
    scene.grant_claim(claim)

    assert scene.step() == []
    assert scene.ownership.epoch(0) is None
    assert not scene.ownership.shards


# --- losing -----------------------------------------------------------------------------------------------------------


def test_a_fenced_shard_is_dropped_and_claimed_again_only_after_a_pause() -> None:
    scene = Scene()
    scene.open(["a", "a"])
    scene.ownership.fenced(0, 10, scene.now)
    assert scene.step() == []
    scene.ownership.fenced(0, 11, scene.now)
    actions = scene.step()
    assert scene.only(Drop, actions).shards == (0,)
    scene.carry_out(scene.only(Publish, actions))
    assert scene.step() == []

    assert scene.only(Claim, scene.wait()).shards == (0,)
    assert scene.ownership.epoch(1) == 11


def lapse(scene: Scene) -> None:
    """Let the lease expire, and a new one start."""
    scene.now += 2 * TTL_S
    scene.view.die("a")
    scene.lease.lost()
    scene.step()
    scene.grant(2)


def test_after_a_lost_lease_everything_is_published_again_and_checked_before_it_is_sure() -> None:
    scene = Scene()
    scene.open(["a", "a", "a"])
    lapse(scene)
    assert not scene.ownership.may_answer(0, 11, scene.now)
    scene.register()
    publish = scene.only(Publish)
    assert (publish.lease_id, publish.claims.epochs) == (2, {0: 11, 1: 11, 2: 11})
    scene.carry_out(publish)
    assert not scene.ownership.may_answer(0, 11, scene.now)
    scene.only(Check)
    scene.ownership.checked({0: 11, 1: 10})

    assert scene.only(Drop).shards == (1, 2)
    assert scene.ownership.may_answer(0, 11, scene.now)
    assert not scene.ownership.may_answer(1, 11, scene.now)


def test_a_check_without_an_answer_is_asked_again() -> None:
    scene = Scene()
    scene.open(["a"])
    lapse(scene)
    scene.register()
    scene.carry_out(scene.only(Publish))
    scene.only(Check)
    scene.ownership.unchecked(scene.now)
    assert scene.step() == []
    scene.now += 1
    scene.only(Check)
    scene.ownership.checked({0: 11})

    assert scene.ownership.may_answer(0, 11, scene.now)


def test_a_claim_that_was_made_for_other_targets_than_it_was_published_under_is_checked_first() -> None:
    scene = Scene()
    scene.view.aim(["a"])
    scene.register()
    claim = scene.only(Claim)
    scene.view.aim(["a", "a"])
    scene.grant_claim(claim)
    actions = scene.step()
    scene.carry_out(scene.only(Publish, actions))
    assert scene.ownership.epoch(0) == 11
    assert not scene.ownership.may_answer(0, 11, scene.now)
    scene.only(Check)
    scene.ownership.checked({0: 11})

    assert scene.ownership.may_answer(0, 11, scene.now)


def test_claims_that_vanish_from_etcd_are_written_again_and_are_not_sure_before_a_check() -> None:
    scene = Scene()
    scene.open(["a"])
    scene.view.remove(scene.view.layout.claims("a"))
    publish = scene.only(Publish)
    assert publish.own_revision == 0
    assert not scene.ownership.may_answer(0, 11, scene.now)
    scene.carry_out(publish)
    scene.only(Check)
    scene.ownership.checked({})

    assert scene.only(Drop).shards == (0,)


def test_a_publication_with_an_unknown_outcome_is_made_again_over_what_the_view_shows() -> None:
    scene = Scene()
    scene.view.aim(["a"])
    scene.register()
    scene.grant_claim(scene.only(Claim))
    first = scene.only(Publish)
    revision = scene.view.write(scene.view.layout.claims("a"), first.claims.encode())
    scene.ownership.published(None, scene.now)
    scene.now += 1
    again = scene.only(Publish)

    assert (again.own_revision, scene.ownership.epoch(0)) == (revision, None)
    scene.carry_out(again)
    assert scene.ownership.epoch(0) == 11


# --- leaving ----------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("CLU-6")
def test_a_graceful_node_leaves_when_the_leader_has_moved_everything_away() -> None:
    scene = Scene()
    scene.open(["a", "b"])
    scene.ownership.shut_down(Shutdown.GRACEFUL)
    action = scene.only(Register)
    assert action.member.state is MemberState.DRAINING
    scene.view.write(scene.view.layout.node("a"), action.member.encode())
    scene.ownership.registered(1, scene.now)
    assert scene.step() == []
    assert scene.ownership.epoch(0) == 11
    scene.view.aim(["b", "b"])
    scene.only(Close)
    scene.ownership.emptied([0])
    assert not scene.ownership.left
    scene.carry_out(scene.only(Publish))

    assert [scene.step(), scene.step()] == [[], []]
    assert scene.ownership.left


@pytest.mark.requirement("CLU-6")
@pytest.mark.parametrize("other", [None, MemberState.DRAINING, MemberState.RESTARTING])
def test_the_last_node_does_not_wait_for_the_leader(other: MemberState | None) -> None:
    scene = Scene()
    scene.open(["a", "b"])
    if other is None:
        scene.view.die("b")
    else:
        scene.view.node("b", state=other)
    scene.ownership.shut_down(Shutdown.GRACEFUL)
    actions = scene.step()
    assert scene.only(Close, actions).shards == (0,)
    scene.ownership.emptied([0])
    scene.carry_out(scene.only(Publish))

    assert scene.step() == []
    assert scene.ownership.left


@pytest.mark.requirement("CLU-6")
@pytest.mark.parametrize(
    ("how", "state"), [(Shutdown.FAST, MemberState.RESTARTING), (Shutdown.FINAL, MemberState.DRAINING)]
)
def test_a_node_in_a_hurry_closes_everything_at_once_and_leaves(how: Shutdown, state: MemberState) -> None:
    scene = Scene()
    scene.open(["a", "a"])
    scene.ownership.shut_down(how)
    actions = scene.step()
    assert scene.only(Close, actions).shards == (0, 1)
    assert scene.only(Register, actions).member.state is state
    scene.ownership.emptied([0, 1])
    publish = scene.only(Publish)
    assert publish.claims.epochs == {}
    scene.carry_out(publish)

    assert scene.step() == []
    assert scene.ownership.left


def test_a_node_without_lease_leaves_without_waiting_for_etcd() -> None:
    scene = Scene()
    scene.open(["a"])
    scene.now += TTL_S
    scene.ownership.shut_down(Shutdown.GRACEFUL)
    scene.step()
    scene.ownership.shut_down(Shutdown.FINAL)
    scene.only(Close)
    scene.ownership.emptied([0])

    assert scene.step() == []
    assert scene.ownership.left


# --- the table --------------------------------------------------------------------------------------------------------


def test_the_table_has_no_dead_end_and_no_way_to_open_but_through_claim_and_publication() -> None:
    assert {(before, event) for (before, event), after in NEXT.items() if after is ShardPhase.OPEN} == {
        (ShardPhase.HELD, ShardEvent.PUBLISHED)
    }
    assert {before for (before, event), after in NEXT.items() if after is ShardPhase.HELD} == {ShardPhase.CLAIMING}
    for phase in ShardPhase:
        assert any((phase, event) in NEXT for event in ShardEvent)
    lost = [NEXT.get((phase, ShardEvent.FENCED)) for phase in (ShardPhase.HELD, ShardPhase.OPEN, ShardPhase.CLOSING)]
    assert lost == [ShardPhase.ABSENT] * 3


@pytest.mark.parametrize(("phase", "event"), [pair for pair in product(ShardPhase, ShardEvent) if pair not in NEXT])
def test_late_news_changes_nothing(phase: ShardPhase, event: ShardEvent) -> None:
    scene = Scene()
    shards = scene.ownership.shards
    if phase is not ShardPhase.ABSENT:
        shards.want(0, 1)
    for step in (ShardEvent.GRANTED, ShardEvent.PUBLISHED, ShardEvent.UNWANTED):
        if phase in (ShardPhase.HELD, ShardPhase.OPEN, ShardPhase.CLOSING) and shards[0].phase is not phase:
            shards.apply(0, step)
    before = shards.get(0)

    assert not shards.apply(0, event)
    assert shards.get(0) is before
    assert before is None or before.phase is phase


def test_no_time_to_wake_lies_in_the_past() -> None:
    scene = Scene()
    scene.open(["a", "a"])
    scene.ownership.fenced(0, 11, scene.now)
    scene.step()
    scene.now += 2 * TTL_S

    assert scene.step() == []
    assert scene.ownership.wake_at(scene.now) is None


# --- an etcd that was emptied or restored ---------------------------------------------------------------------------


def emptied(scene: Scene, *, lease_id: int = 2) -> None:
    """Let the view show an empty etcd, and give the node a lease of it."""
    scene.view.reload((), 1, new_history=True)
    scene.lease.lost()
    scene.grant(lease_id)


def test_a_node_registers_and_publishes_its_shards_in_an_emptied_etcd_and_asks_the_store() -> None:
    scene = Scene()
    scene.open(["a", "b", "a"])
    emptied(scene)
    action = scene.only(Register)
    assert (action.lease_id, action.own_revision) == (2, 0)
    assert scene.ownership.epoch(0) == 11
    assert not scene.ownership.may_answer(0, 11, scene.now)
    scene.view.write(scene.view.layout.node("a"), action.member.encode())
    scene.ownership.registered(2, scene.now)
    publish = scene.only(Publish)
    assert (publish.claims.epochs, publish.lease_id, publish.targets_revision) == ({0: 11, 2: 11}, 2, 0)
    scene.carry_out(publish)
    scene.only(Check)
    scene.ownership.checked({0: 11, 2: 11})
    assert scene.ownership.may_answer(0, 11, scene.now)
    assert scene.step() == []


def test_a_node_registers_again_although_a_restored_backup_shows_it() -> None:
    scene = Scene()
    scene.open(["a", "b", "a"])
    layout, view = scene.view.layout, scene.view
    entries = [
        KeyEntry(layout.node("a"), Member("a", "a:1", "a.1").encode(), 2, 2),
        KeyEntry(layout.claims("a"), Claims("a.1", {0: 11, 2: 11}).encode(), 3, 3),
    ]
    view.reload(entries, 4, new_history=True)
    scene.lease.lost()
    scene.grant(2)
    actions = scene.step()
    action = scene.only(Register, actions)
    assert (action.lease_id, action.own_revision) == (2, 2)
    assert scene.only(Publish, actions).own_revision == 3


def test_no_shard_is_claimed_for_one_lease_time_after_etcd_was_emptied() -> None:
    scene = Scene()
    scene.open(["a", "b", "b"])
    emptied(scene)
    scene.register()
    scene.carry_out(scene.only(Publish))
    scene.view.aim(["a", "a", "a"])
    assert [one for one in scene.step() if isinstance(one, Claim)] == []
    scene.now += TTL_S + 0.1
    scene.grant(2)
    assert scene.only(Claim).shards == (1, 2)


def test_a_publication_in_the_etcd_that_is_gone_counts_for_nothing() -> None:
    scene = Scene()
    scene.open(["a", "b", "b"])
    scene.view.aim(["a", "a", "b"])
    scene.grant_claim(scene.only(Claim))
    scene.only(Publish)
    emptied(scene)
    scene.only(Register)
    scene.ownership.published(10_000, scene.now)
    assert scene.ownership.epoch(1) is None
    assert not scene.ownership.may_answer(0, 11, scene.now)
    assert [one for one in scene.step() if isinstance(one, Publish)] == []


def test_a_publication_that_is_older_than_what_etcd_says_is_repeated_after_a_pause() -> None:
    scene = Scene()
    scene.open(["a", "b", "b"])
    scene.view.aim(["a", "a", "b"])
    scene.grant_claim(scene.only(Claim))
    scene.only(Publish)
    scene.ownership.published(1, scene.now)
    assert scene.step() == []
    scene.only(Publish, scene.wait())
