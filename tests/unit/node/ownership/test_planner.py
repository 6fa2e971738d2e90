"""Plans: balanced, stable without changes, and with no more moves than a change needs."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goverse.cluster.member import Load, Member, MemberState
from goverse_node.ownership.capacity import capacities
from goverse_node.ownership.planner import plan
from goverse_node.ownership.situation import Decision, PlanLimits, Reason
from tests.tiers import examples
from tests.unit.node.ownership.clusters import PlannedCluster, member, nodes

pytestmark = pytest.mark.requirement("CLU-4")

WEIGHTS = st.sampled_from([0.5, 1.0, 2.0, 3.0])
SHARDS = st.sampled_from([1, 8, 64, 256])
MEMBERS = st.lists(WEIGHTS, min_size=1, max_size=9).map(
    lambda weights: {f"n{number}": member(f"n{number}", weight) for number, weight in enumerate(weights)}
)
quick = settings(max_examples=examples(10))


def check_even(cluster: PlannedCluster) -> None:
    """Assert that every node that takes shards is within the bounds of its share."""
    weights = {name: one.weight for name, one in cluster.situation.nodes.items()}
    slack = cluster.situation.limits.slack
    for name, capacity in capacities(weights, {}, len(cluster.owners), slack).items():
        assert capacity.least <= cluster.counts[name] <= capacity.most


@quick
@given(MEMBERS, SHARDS)
def test_every_shard_is_placed_within_the_bounds_of_each_nodes_share(members: dict[str, Member], shards: int) -> None:
    cluster = PlannedCluster(members, shards)
    cluster.settle()

    assert None not in cluster.counts
    check_even(cluster)


@quick
@given(MEMBERS, SHARDS)
def test_nothing_changed_nothing_moves(members: dict[str, Member], shards: int) -> None:
    cluster = PlannedCluster(members, shards)
    cluster.settle()

    made = plan(cluster.situation)
    assert (list(made.decisions), made.deferred, made.targets) == ([], 0, cluster.situation.targets)


@quick
@given(MEMBERS, SHARDS, WEIGHTS)
def test_a_node_that_joins_takes_its_part_and_little_else_moves(
    members: dict[str, Member], shards: int, weight: float
) -> None:
    cluster = PlannedCluster(members, shards)
    cluster.settle()
    before = cluster.owners
    cluster.change(members={**members, "new": member("new", weight)})
    cluster.settle()

    moved = [shard for shard in range(shards) if cluster.owners[shard] != before[shard]]
    check_even(cluster)
    assert len(moved) <= cluster.counts["new"] + len(members)


@quick
@given(MEMBERS.filter(lambda members: len(members) > 1), SHARDS, st.data())
def test_a_node_that_dies_leaves_its_shards_and_little_else_moves(
    members: dict[str, Member], shards: int, data: st.DataObject
) -> None:
    cluster = PlannedCluster(members, shards)
    cluster.settle()
    before, lost = cluster.owners, data.draw(st.sampled_from(sorted(members)))
    cluster.change(members={name: one for name, one in members.items() if name != lost})
    first = cluster.round()
    orphans = {shard for shard in range(shards) if before[shard] == lost}

    assert {one.shard for one in first.decisions if one.reason is Reason.OWNER_GONE} == orphans
    assert lost not in cluster.counts
    cluster.settle()
    check_even(cluster)
    moved = {shard for shard in range(shards) if cluster.owners[shard] != before[shard]}
    assert len(moved - orphans) <= shards * cluster.situation.limits.slack + len(members)


def test_equal_nodes_lose_to_a_fourth_about_a_quarter_and_only_to_it() -> None:
    cluster = PlannedCluster(nodes(3), 8192)
    cluster.settle()
    cluster.change(members=nodes(4))
    decided = cluster.settle()

    assert {one.target for one in decided} == {"n3"}
    assert 8192 / 4 * 0.9 <= len(decided) <= 8192 / 4 * 1.05


# --- anything may happen ----------------------------------------------------------------------------------------------


@settings(max_examples=examples(20))
@given(st.data())
def test_whatever_happens_moves_stay_bounded_and_the_cluster_comes_to_rest(data: st.DataObject) -> None:
    limits = PlanLimits(moves_per_round=5, moves_in_flight=7)
    cluster = PlannedCluster(nodes(3), 64, limits)
    for _ in range(data.draw(st.integers(1, 12))):
        _something(cluster, data)
        served = list(cluster.situation.claimants)
        flying = _in_flight(cluster)
        made = cluster.round(arriving=data.draw(st.integers(0, 64)))
        _check_plan(cluster, made.decisions, served, flying)
    cluster.settle()
    _check_rest(cluster)


def _something(cluster: PlannedCluster, data: st.DataObject) -> None:
    members, name = dict(cluster.situation.nodes), f"n{data.draw(st.integers(0, 6))}"
    what = data.draw(st.sampled_from(["join", "leave", "drain", "undrain", "pin", "unpin", "leaving", "nothing"]))
    shard = data.draw(st.integers(0, 63))
    pins = dict(cluster.situation.pins)
    if what == "join":
        members[name] = member(name, data.draw(WEIGHTS))
    elif what == "leave":
        members.pop(name, None)
    elif what == "leaving" and name in members:
        members[name] = replace(members[name], state=data.draw(st.sampled_from(MemberState)))
    elif what == "pin":
        pins[shard] = name
    elif what == "unpin":
        pins.pop(shard, None)
    drains = cluster.situation.drains | {name} if what == "drain" else cluster.situation.drains
    cluster.change(members=members, pins=pins, drains=drains - {name} if what == "undrain" else drains)


def _in_flight(cluster: PlannedCluster) -> int:
    pairs = zip(cluster.owners, cluster.situation.claimants, strict=True)
    return sum(owner in cluster.situation.nodes and None is not claimant != owner for owner, claimant in pairs)


def _open(cluster: PlannedCluster) -> set[str]:
    members = cluster.situation.nodes
    serving = {name for name, one in members.items() if one.state is MemberState.SERVING}
    return serving - cluster.situation.drains


def _check_plan(cluster: PlannedCluster, decisions: Sequence[Decision], served: list[str | None], flying: int) -> None:
    taking = _open(cluster)
    limits = cluster.situation.limits
    healthy = [one for one in decisions if served[one.shard] is not None and served[one.shard] == one.source]
    assert len(healthy) <= max(0, min(limits.moves_per_round, limits.moves_in_flight - flying))
    for one in decisions:
        assert one.target in cluster.situation.nodes
        assert one.target in taking or not taking
        assert one.target != one.source


def _check_rest(cluster: PlannedCluster) -> None:
    situation, taking = cluster.situation, _open(cluster)
    owners = cluster.owners
    if situation.nodes:
        assert all(owner in situation.nodes for owner in owners)
    if taking:
        staying = {name for name, one in situation.nodes.items() if one.state is MemberState.RESTARTING}
        assert set(owners) <= taking | staying
        assert all(owners[shard] == node for shard, node in situation.pins.items() if node in taking)


# --- rules one by one -------------------------------------------------------------------------------------------------


@pytest.mark.requirement("CLU-10")
def test_below_the_quorum_nothing_is_placed_and_what_is_placed_stays() -> None:
    cluster = PlannedCluster(nodes(2), 8, PlanLimits(quorum=3))
    assert cluster.round().held == "placing shards needs 3 nodes; only 2 are alive"
    assert set(cluster.owners) == {None}

    cluster.change(members=nodes(3))
    cluster.settle()
    placed = cluster.owners
    cluster.change(members=nodes(1))
    assert cluster.round().held
    assert cluster.owners == placed


def test_without_any_node_nothing_is_placed() -> None:
    assert plan(PlannedCluster({}, 8).situation).held


def test_a_pin_is_followed_while_its_node_can_take_the_shard_and_again_when_it_is_back() -> None:
    cluster = PlannedCluster(nodes(3), 30)
    cluster.settle()
    shard = cluster.owners.index("n0")
    cluster.change(pins={shard: "n2"})
    (decision,) = [one for one in cluster.settle() if one.shard == shard]
    assert (decision.source, decision.target, decision.reason) == ("n0", "n2", Reason.PIN)

    cluster.change(members={name: one for name, one in nodes(3).items() if name != "n2"})
    cluster.settle()
    assert cluster.owners[shard] in ("n0", "n1")
    cluster.change(members=nodes(3))
    cluster.settle()
    assert cluster.owners[shard] == "n2"


def test_a_drained_node_ends_up_empty_unless_it_is_the_last() -> None:
    cluster = PlannedCluster(nodes(3), 30, PlanLimits(moves_per_round=4))
    cluster.settle()
    cluster.change(drains={"n1"})
    decided = cluster.settle()
    assert "n1" not in cluster.counts
    assert Reason.DRAIN in {one.reason for one in decided}

    cluster.change(drains={"n0", "n1", "n2"})
    assert not cluster.settle()


def test_a_shard_whose_target_died_on_the_way_stays_with_the_node_that_serves_it() -> None:
    cluster = PlannedCluster(nodes(2), 30, PlanLimits(moves_per_round=3))
    cluster.settle()
    cluster.change(members=nodes(3))
    moving = cluster.round(arriving=0).decisions
    cluster.change(members=nodes(2))
    back = cluster.round().decisions

    assert {(one.shard, one.source) for one in moving} == {(one.shard, one.target) for one in back}


@pytest.mark.requirement("CLU-5")
def test_what_a_node_did_not_take_goes_to_another_or_stays_where_it_is_served() -> None:
    cluster = PlannedCluster(nodes(3), 30)
    cluster.settle()
    served, unserved = [shard for shard in range(30) if cluster.owners[shard] == "n0"][:2]
    claimants = list(cluster.situation.claimants)
    claimants[served], claimants[unserved] = "n1", None
    refused = {served: frozenset({"n0"}), unserved: frozenset({"n0"})}
    cluster.situation = replace(cluster.situation, claimants=claimants, refused=refused)
    made = {one.shard: one for one in cluster.round().decisions if one.reason is Reason.STUCK}

    assert made[served].target == "n1"
    assert made[unserved].target in ("n1", "n2")


def test_shards_of_a_restarting_node_wait_for_it() -> None:
    cluster = PlannedCluster(nodes(3), 30)
    cluster.settle()
    before = cluster.owners
    cluster.change(members=nodes(2))
    cluster.situation = replace(cluster.situation, awaited=frozenset({"n2"}))

    assert not cluster.settle()
    assert cluster.owners == before


# --- load -------------------------------------------------------------------------------------------------------------


def _busy(cluster: PlannedCluster, name: str, calls: float, *, processor: float = 0.8) -> Load:
    own = [shard for shard, owner in enumerate(cluster.owners) if owner == name]
    return Load(10, calls, processor, 0.3, dict.fromkeys(own[:5], calls / 10))


def test_busy_shards_leave_a_busy_node_step_by_step_until_it_is_not_much_busier_than_others() -> None:
    cluster = PlannedCluster(nodes(3), 300, PlanLimits(load_moves_per_round=1))
    cluster.settle()
    loads = {"n0": _busy(cluster, "n0", 1000), "n1": Load(10, 100, 0.2, 0.3), "n2": Load(10, 100, 0.2, 0.3)}
    cluster.change(loads=loads)
    first = cluster.round()
    assert [one.reason for one in first.decisions] == [Reason.LOAD]
    assert first.decisions[0].source == "n0"
    assert len(cluster.settle()) < 5


def test_a_busy_node_with_idle_processors_is_let_alone() -> None:
    cluster = PlannedCluster(nodes(2), 100)
    cluster.settle()
    cluster.change(loads={"n0": _busy(cluster, "n0", 1000, processor=0.1), "n1": Load(10, 10, 0.1, 0.1)})

    assert not cluster.settle()


@pytest.mark.parametrize(
    "load", [Load(1, 1, 0.1, 0.9), Load(1, 1, 0.95, 0.1), Load(100_000, 1, 0.1, 0.1)], ids=["memory", "cpu", "objects"]
)
def test_a_node_short_of_something_counts_for_less(load: Load) -> None:
    cluster = PlannedCluster(nodes(3), 300)
    cluster.settle()
    easy = Load(100, 1, 0.1, 0.1)
    cluster.change(loads={"n0": load, "n1": easy, "n2": easy})
    cluster.settle()

    assert cluster.counts["n0"] < 90 < cluster.counts["n1"]
