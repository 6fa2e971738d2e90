"""Lease deadlines count from when the request was sent."""

import pytest

from goverse.cluster.lease import Lease, LeaseStep
from goverse.limits import LEASE_CLOCK_DRIFT, LEASE_REFRESHES, LEASE_RETRY_S

pytestmark = pytest.mark.requirement("CLU-1", "CLU-2")

TTL_S = 10.0
LIVES_S = TTL_S * (1 - LEASE_CLOCK_DRIFT)


def granted(now: float = 100.0) -> Lease:
    lease = Lease(TTL_S)
    assert lease.step(now) is LeaseStep.GRANT
    lease.asked(now)
    assert lease.step(now + 3) is LeaseStep.WAIT
    lease.granted(7, TTL_S)
    return lease


def test_the_deadline_counts_from_sending_not_from_the_answer() -> None:
    lease = granted(100.0)

    assert lease.alive(100.0 + LIVES_S - 0.001)
    assert not lease.alive(100.0 + LIVES_S)


def test_keepalives_are_due_in_time_and_extend_the_lease() -> None:
    lease = granted(100.0)
    due = lease.next_at()
    assert due == 100.0 + TTL_S / LEASE_REFRESHES
    assert lease.step(due - 0.001) is LeaseStep.WAIT
    assert lease.step(due) is LeaseStep.REFRESH
    lease.asked(due)
    lease.refreshed(TTL_S)

    assert lease.deadline == due + LIVES_S


def test_an_unanswered_keepalive_is_retried_and_the_deadline_stays() -> None:
    lease = granted(100.0)
    lease.asked(102.0)
    lease.unanswered(103.0)

    assert lease.step(103.0) is LeaseStep.WAIT
    assert lease.step(103.0 + LEASE_RETRY_S) is LeaseStep.REFRESH
    assert lease.deadline == 100.0 + LIVES_S


def test_a_shorter_extension_does_not_move_the_deadline_back() -> None:
    lease = granted(100.0)
    lease.asked(101.0)
    lease.refreshed(2.0)

    assert lease.deadline == 100.0 + LIVES_S


def test_a_lost_lease_ends_immediately_and_a_new_one_is_requested() -> None:
    lease = granted(100.0)
    lease.asked(102.0)
    lease.lost()

    assert (lease.id, lease.alive(100.1)) == (None, False)
    assert lease.step(102.0) is LeaseStep.GRANT


def test_the_answer_to_a_request_from_before_the_lease_was_lost_is_ignored() -> None:
    lease = granted(100.0)
    lease.asked(102.0)
    lease.lost()
    lease.refreshed(TTL_S)
    assert (lease.id, lease.alive(102.0)) == (None, False)
    lease.granted(8, TTL_S)
    assert (lease.id, lease.alive(102.0)) == (None, False)
    assert lease.step(102.0) is LeaseStep.GRANT
