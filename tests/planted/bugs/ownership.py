"""Bugs in leases, fencing, and the replies that a node may still send."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest

from goverse.cluster.lease import Lease
from goverse.cluster.view import ClusterView
from goverse.errors import GoverseError
from goverse.model.keys import ObjectKey
from goverse.ports.clock import boot_time
from goverse.routing.cluster_watch import ClusterWatch
from goverse.routing.lease_keeper import LeaseKeeper
from goverse_node.ownership.actions import Publish
from goverse_node.ownership.keeper import Keeper
from goverse_node.ownership.ownership import Ownership
from goverse_node.reading import Reader
from goverse_node.runtime.instance import Instance
from goverse_node.runtime.lease_check import EpochCheck
from tests.planted import Planted
from tests.twin_cluster import Host

_REPLACED: Final = "tests/integration/cluster/test_replaced_owners.py::"
_LOOKS: Final = f"{_REPLACED}test_a_replaced_node_answers_no_readonly_call_from_memory"
_READS: Final = f"{_REPLACED}test_a_replaced_node_shows_no_state_that_another_node_has_changed"
_LOST: Final = "tests/integration/cluster/test_lost_etcd.py::"
_OWN: Final = "tests/unit/node/ownership/test_ownership.py::"
_FENCED: Final = f"{_REPLACED}test_a_node_whose_commit_was_fenced_off_gives_up_the_shard"


def _confirm_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_check: EpochCheck, checked: Callable[[GoverseError | None], None]) -> None:
        checked(None)

    monkeypatch.setattr(EpochCheck, "start", start)


def _read_from_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Reader._in_memory

    def in_memory(self: Reader, key: ObjectKey) -> Instance | None:
        with monkeypatch.context() as during:
            during.setattr(Keeper, "may_answer", lambda *_: True)
            return original(self, key)

    monkeypatch.setattr(Reader, "_in_memory", in_memory)


def _always_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Keeper, "may_answer", lambda *_: True)


def _ignore_the_fence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Keeper, "fenced", lambda *_: None)


def _trust_old_revisions(monkeypatch: pytest.MonkeyPatch) -> None:
    def follow(self: LeaseKeeper, view: ClusterView) -> None:
        view.histories = 0

    monkeypatch.setattr(LeaseKeeper, "follow", follow)


def _claim_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Ownership._begin_history

    def begin_history(self: Ownership, now: float) -> None:
        original(self, now)
        self._claims_from = now

    monkeypatch.setattr(Ownership, "_begin_history", begin_history)


def _write_no_shard_count(monkeypatch: pytest.MonkeyPatch) -> None:
    async def offer(self: ClusterWatch) -> None:
        del self

    monkeypatch.setattr(ClusterWatch, "_offer_shard_count", offer)


def _ignore_suspension(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Host, "clock", lambda _: boot_time())


def _keep_the_revoked_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    original = LeaseKeeper.stop

    async def stop(self: LeaseKeeper, *, revoke: bool) -> None:
        lease_id, deadline = self.lease.id, self.lease.deadline
        await original(self, revoke=revoke)
        self.lease.id, self.lease.deadline = lease_id, deadline

    monkeypatch.setattr(LeaseKeeper, "stop", stop)


def _count_the_lease_from_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Lease._extend

    def extend(self: Lease, ttl_s: float, sent_at: float) -> None:
        original(self, ttl_s, sent_at + ttl_s)

    monkeypatch.setattr(Lease, "_extend", extend)


def _publish_whatever_the_targets_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ownership, "_let_go", lambda *_: None)


def _open_before_publication(monkeypatch: pytest.MonkeyPatch) -> None:
    def epoch(self: Ownership, shard: int) -> int | None:
        held = self.shards.get(shard)
        return held.epoch or None if held is not None else None

    monkeypatch.setattr(Ownership, "epoch", epoch)


def _be_sure_without_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Ownership._entered

    def entered(self: Ownership, sent: Publish) -> None:
        original(self, sent)
        for held in self.shards.values():
            held.sure_under = held.published_under

    monkeypatch.setattr(Ownership, "_entered", entered)


PLANTED: Final = (
    Planted("unconfirmed-replies-leave-after-the-lease", _confirm_nothing, _LOOKS, "the value 1"),
    Planted("reads-from-memory-after-the-lease", _read_from_memory, _READS, "the value 1"),
    Planted("readonly-calls-from-memory-after-the-lease", _always_answer, _LOOKS, "the value 1"),
    Planted(
        "a-lost-etcd-is-not-noticed",
        _trust_old_revisions,
        f"{_LOST}test_nodes_keep_their_shards_when_etcd_is_emptied",
        "did not come true",
    ),
    Planted(
        "shards-are-claimed-at-once-after-etcd-was-restored",
        _claim_at_once,
        f"{_OWN}test_no_shard_is_claimed_for_one_lease_time_after_etcd_was_emptied",
        "Claim(shards=(1, 2))",
    ),
    Planted(
        "a-lost-shard-count-is-not-written",
        _write_no_shard_count,
        f"{_LOST}test_nodes_keep_their_shards_when_etcd_is_emptied",
        "== 16",
    ),
    Planted(
        "suspension-does-not-count",
        _ignore_suspension,
        f"{_LOST}test_time_in_which_a_machine_was_suspended_counts_for_its_lease",
        "assert",
    ),
    Planted(
        "a-revoked-lease-counts-on",
        _keep_the_revoked_lease,
        f"{_REPLACED}test_a_node_that_stops_answers_nothing_from_memory_once_its_lease_was_revoked",
        "the value 1",
    ),
    Planted(
        "a-lease-is-counted-from-its-answer",
        _count_the_lease_from_the_answer,
        "tests/unit/cluster/test_lease.py::test_the_deadline_counts_from_sending_not_from_the_answer",
        "alive",
    ),
    Planted(
        "an-unwanted-shard-is-kept",
        _publish_whatever_the_targets_are,
        f"{_OWN}test_a_shard_that_belongs_elsewhere_closes_and_is_given_back_when_it_is_empty",
        "assert 0 == 1",
    ),
    Planted(
        "a-shard-opens-before-it-is-published",
        _open_before_publication,
        f"{_OWN}test_the_way_to_an_open_shard_is_register_claim_publish",
        "is None",
    ),
    Planted(
        "a-republished-shard-is-trusted-unchecked",
        _be_sure_without_asking,
        f"{_OWN}test_a_node_registers_and_publishes_its_shards_in_an_emptied_etcd_and_asks_the_store",
        "Check",
    ),
    Planted("a-fenced-shard-is-kept", _ignore_the_fence, _FENCED, "did not come true"),
)
