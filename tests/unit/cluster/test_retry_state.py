"""Retries: a routed call is retried if and only if that cannot execute it twice."""

import pytest

from goverse.cluster.retry_state import Fail, Miss, Park, RetryState, Send
from goverse.cluster.table import Route
from goverse.errors import Timeout
from goverse.limits import PARK_RETRY_S, PARK_RETRY_S_MAX

pytestmark = pytest.mark.requirement("CLU-3", "DUR-2")

A1, A2, B3 = Route("a", 1, "a:1"), Route("a", 2, "a:1"), Route("b", 3, "b:1")


def sends() -> RetryState:
    return RetryState(100.0, 130.0)


def test_a_call_without_an_owner_is_parked_until_its_deadline() -> None:
    call = sends()
    assert call.next(None, 100.0) == Park(130.0)
    assert call.next(B3, 101.0) == Send(B3, 0)


@pytest.mark.parametrize("miss", [Miss.MOVING, Miss.UNSENT])
def test_a_send_that_was_not_executed_is_no_attempt_and_waits_for_another_route(miss: Miss) -> None:
    call = sends()
    call.next(A1, 100.0)
    call.missed(miss, 100.0)

    assert call.next(A1, 100.0) == Park(100.0 + PARK_RETRY_S)
    assert call.next(None, 100.0) == Park(130.0)
    assert call.next(A2, 100.0) == Send(A2, 0)


def test_a_lost_call_is_sent_as_another_attempt() -> None:
    call = sends()
    call.next(A1, 100.0)
    call.missed(Miss.LOST, 100.0)
    assert call.next(B3, 100.0) == Send(B3, 1)
    call.missed(Miss.MOVING, 100.0)

    assert call.next(A2, 100.0) == Send(A2, 1)


def test_the_same_owner_is_retried_with_doubling_pauses() -> None:
    call, now, pauses = sends(), 100.0, list[float]()
    for _ in range(7):
        assert isinstance(call.next(A1, now), Send)
        call.missed(Miss.UNSENT, now)
        step = call.next(A1, now)
        assert isinstance(step, Park)
        pauses.append(round(step.until - now, 6))
        now = step.until

    assert pauses == [min(PARK_RETRY_S * 2**n, PARK_RETRY_S_MAX) for n in range(7)]
    call.next(B3, now)
    call.missed(Miss.MOVING, now)
    assert call.next(B3, now) == Park(now + PARK_RETRY_S)


def test_a_pause_never_exceeds_the_deadline() -> None:
    call = sends()
    call.next(A1, 129.99)
    call.missed(Miss.UNSENT, 129.99)

    assert call.next(A1, 129.99) == Park(130.0)


def told(step: object) -> Timeout:
    assert isinstance(step, Fail)
    assert isinstance(step.error, Timeout)
    return step.error


@pytest.mark.parametrize(
    ("misses", "executed"),
    [((), "no"), ((Miss.MOVING, Miss.UNSENT), "no"), ((Miss.LOST,), "unknown"), ((Miss.LOST, Miss.MOVING), "unknown")],
)
def test_a_timeout_says_whether_the_call_may_have_run(misses: tuple[Miss, ...], executed: str) -> None:
    call = sends()
    for number, miss in enumerate(misses):
        call.next(Route("a", number, "a:1"), 101.0)
        call.missed(miss, 101.0)
    error = told(call.next(A1, 130.0))

    hint = {"retry_after_s": 1} if executed == "no" else {}
    assert (error.link_verdict, error.extra) == (executed, {"seconds": 30.0, **hint})
    assert "a did not take the call" in error.detail
    assert "no node served" in told(call.next(None, 130.0)).detail


def test_a_call_in_progress_at_the_deadline_may_have_run() -> None:
    call = sends()
    call.next(A1, 101.0)
    error = told(call.expire(A1, 130.0))

    assert (error.link_verdict, "a did not answer" in error.detail) == ("unknown", True)
