"""Shards whose last owner is not known to have given them away."""

import pytest

from goverse.cluster.claims import Claims
from goverse.cluster.keys import KeyLayout
from goverse.cluster.member import Member
from goverse.cluster.view import ClusterView
from goverse_node.ownership.abandoned import Abandoned

pytestmark = pytest.mark.requirement("DUR-3")


class Followed:
    """A view that a test changes, and what this process, ``mine``, makes of it."""

    def __init__(self) -> None:
        self.view = ClusterView(KeyLayout("test"))
        self.abandoned = Abandoned("mine")

    def see(self, *living: str, **claims: set[int]) -> None:
        """See the registered processes, and the claims of processes by their ids; both have the same names."""
        self.view.members_revision += 1
        self.view.claims_revision += 1
        self.view.nodes = {each: Member(each, f"{each}:1", each) for each in living}
        kept = {node: Claims(node, dict.fromkeys(shards, 1)) for node, shards in claims.items()}
        self.view.claims = kept
        self.abandoned.follow(self.view)


def test_the_shards_of_a_process_that_ends_with_claims_are_abandoned() -> None:
    followed = Followed()
    followed.see("a", "mine", a={1, 2, 3})
    followed.see("a", "mine", a={1, 2})
    followed.see("mine")
    assert set(followed.abandoned.take({1, 2, 3})) == {1, 2}


def test_the_claims_may_end_before_the_registration() -> None:
    followed = Followed()
    followed.see("a", "mine", a={1})
    followed.see("a", "mine")
    followed.see("mine")
    assert set(followed.abandoned.take({1})) == {1}


def test_shards_whose_last_owner_was_not_seen_count_as_abandoned() -> None:
    followed = Followed()
    followed.see("mine")
    assert set(followed.abandoned.take({1, 2})) == {1, 2}


def test_a_view_that_was_replaced_proves_nothing_about_the_time_before() -> None:
    followed = Followed()
    followed.see("a", "mine", a={1})
    followed.see("a", "mine", a=set())
    followed.view.reloads += 1
    followed.see("a", "mine", a=set())
    assert set(followed.abandoned.take({1})) == {1}


def test_a_shard_that_was_given_away_is_so_once() -> None:
    followed = Followed()
    followed.see("a", "mine", a={1})
    followed.see("a", "mine", a=set())
    assert not followed.abandoned.take({1})
    assert set(followed.abandoned.take({1})) == {1}


def test_shards_that_were_given_away_are_not_abandoned() -> None:
    followed = Followed()
    followed.see("a", "mine", a={1, 2})
    followed.see("a", "mine", a={2})
    followed.see("a", "mine", a=set())
    followed.see("mine")
    assert not followed.abandoned.take({1, 2})


def test_a_further_owner_that_gives_an_abandoned_shard_away_takes_the_sign_with_it() -> None:
    followed = Followed()
    followed.see("a", "b", "mine", a={1}, b=set())
    followed.see("b", "mine", b=set())
    followed.see("b", "mine", b={1})
    followed.see("b", "mine", b=set())
    assert not followed.abandoned.take({1})


def test_a_shard_that_moves_on_at_once_belongs_to_its_new_owner() -> None:
    followed = Followed()
    followed.see("a", "b", "mine", a={1}, b=set())
    followed.see("a", "b", "mine", a=set(), b={1})
    followed.see("a", "mine", a=set())
    assert set(followed.abandoned.take({1})) == {1}


def test_the_own_claim_does_not_hide_that_the_shard_was_given_away() -> None:
    followed = Followed()
    followed.see("a", "mine", a={1}, mine=set())
    followed.see("a", "mine", a=set(), mine=set())
    followed.see("a", "mine", a=set(), mine={1})
    assert not followed.abandoned.take({1})
    followed.see("a", "mine", a=set(), mine=set())
    assert not followed.abandoned.take({1})
