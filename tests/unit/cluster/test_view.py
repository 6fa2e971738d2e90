"""The cluster view: it follows etcd and survives unreadable values."""

import pytest

from goverse.cluster.claims import Claims
from goverse.cluster.member import Load, Member
from goverse.cluster.view import Leadership
from goverse.ports.coordinator import KeyEntry
from tests.unit.cluster.views import FedView

pytestmark = pytest.mark.requirement("CLU-1")


def test_every_kind_of_key_is_added_and_removed() -> None:
    view = FedView()
    layout = view.layout
    gate = Member("g", "g:1", "g.1")
    writes = {
        layout.shards: b"64/16",
        layout.gate("g"): gate.encode(),
        layout.load("n"): Load(3).encode(),
        layout.leader: b"n n.1",
        layout.pin(7): b"n",
        layout.drain("n"): b"",
    }
    for key, value in writes.items():
        view.write(key, value)
    view.node("n")
    view.claim("n", {1: 2})
    view.aim(["n", None])
    assert view.targets is not None

    assert (view.shard_count, view.gates, view.loads, view.pins) == (64, {"g": gate}, {"n": Load(3)}, {7: "n"})
    assert [view.base] == [16]
    assert (view.drains, view.targets.owners()) == ({"n"}, ["n", None])
    assert view.leader == Leadership(b"n n.1", view.revision_of(layout.leader))
    assert view.claims == {"n": Claims("n.1", {1: 2})}
    assert view.targets_revision == view.revision == view.revision_of(layout.targets)

    view.die("n")
    view.remove(*writes, layout.targets)
    assert not any([view.nodes, view.gates, view.claims, view.loads, view.pins, view.drains])
    assert [view.leader, view.targets, view.targets_revision] == [None, None, 0]
    assert view.shard_count is None
    assert view.base is None


def test_a_reload_replaces_everything() -> None:
    view = FedView()
    view.node("old")
    view.claim("old", {1: 1})
    view.reload([KeyEntry(view.layout.node("new"), Member("new", "a", "i").encode(), 3, 9)], 12)

    assert (list(view.nodes), view.claims, view.revision) == (["new"], {}, 12)
    assert view.revision_of(view.layout.node("old")) == 0


def test_an_unreadable_value_keeps_the_previous_one_and_is_reported() -> None:
    view = FedView()
    view.claim("n", {1: 1})
    view.aim(["n"])
    understood = view.targets_revision
    for key in (view.layout.claims("n"), view.layout.targets, view.layout.shards, view.layout.pin(1)):
        view.write(key, b"\xff\xff")
    view.write(view.layout.node("n"), Member("m", "a", "i").encode())

    assert view.claims["n"].epochs == {1: 1}
    assert view.targets_revision == understood < view.revision_of(view.layout.targets)
    assert (view.nodes, view.pins, view.shard_count) == ({}, {}, None)
    assert len(view.faults) == 5
    view.claim("n", {1: 2})
    view.remove(view.layout.shards)
    assert view.claims["n"].epochs == {1: 2}
    assert len(view.faults) == 3


def test_damaged_targets_leave_every_shard_without_owner_at_their_revision() -> None:
    view = FedView()
    view.aim(["n"])
    revision = view.write(view.layout.targets, b"\x00nonsense")

    assert (view.targets, view.targets_revision) == (None, revision)
    assert list(view.faults) == [view.layout.targets]
    view.aim(["n"])
    assert view.targets is not None
    assert not view.faults


def test_keys_of_a_newer_release_are_ignored() -> None:
    view = FedView()
    revision = view.write("/goverse/test/moods/n", b"good")
    view.remove("/goverse/test/moods/n")

    assert view.revision == revision + 1
    assert not view.faults
