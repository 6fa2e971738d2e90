"""Leader election: the node that created the key leads until the key is gone."""

import pytest

from goverse.cluster.election import Election
from goverse.limits import CAMPAIGN_RETRY_S

pytestmark = pytest.mark.requirement("CLU-4")


def test_a_node_that_sees_no_leader_campaigns_and_leads_once_it_sees_its_key() -> None:
    election = Election("a", "a.1")
    assert not election.campaigns(0.0, eligible=False)
    assert election.campaigns(0.0, eligible=True)
    assert not election.campaigns(0.0, eligible=True)
    election.answered(1.0)
    assert not election.campaigns(1.0, eligible=True)
    assert election.leads is None
    election.seen(b"a a.1", 12)

    assert [election.leads, election.leader] == [12, "a"]
    assert not election.campaigns(9.0, eligible=True)


def test_the_loser_waits_until_the_key_is_gone() -> None:
    election = Election("a", "a.1")
    election.campaigns(0.0, eligible=True)
    election.answered(0.1)
    election.seen(b"b b.1", 12)
    assert (election.leads, election.leader) == (None, "b")
    assert not election.campaigns(5.0, eligible=True)
    election.seen(None, 0)

    assert election.campaigns(0.1 + CAMPAIGN_RETRY_S, eligible=True)


def test_the_leadership_of_an_earlier_process_is_not_inherited() -> None:
    election = Election("a", "a.2")
    election.seen(b"a a.1", 12)

    assert (election.leads, election.leader) == (None, "a")


def test_a_lost_key_ends_the_leadership_and_a_new_one_has_another_revision() -> None:
    election = Election("a", "a.1")
    election.seen(b"a a.1", 12)
    election.seen(None, 0)
    assert election.leads is None
    election.seen(b"a a.1", 30)

    assert election.leads == 30
