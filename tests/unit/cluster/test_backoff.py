"""Pauses between connection attempts."""

import pytest

from goverse.cluster.backoff import HELD_S, Backoff


def test_pauses_double_up_to_a_limit_and_a_stable_connection_resets_them() -> None:
    backoff = Backoff(0.1, 1.0, lambda: 1.0)
    assert [backoff.next_s() for _ in range(7)] == pytest.approx([0.0, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0])
    backoff.ended(HELD_S / 2)
    assert backoff.next_s() == pytest.approx(1.0)
    backoff.ended(HELD_S)
    assert backoff.next_s() == 0.0


def test_pauses_have_jitter() -> None:
    early, late = Backoff(1.0, 9.0, lambda: 0.0), Backoff(1.0, 9.0, lambda: 0.999)
    assert early.next_s() == late.next_s() == 0.0

    assert (early.next_s(), round(late.next_s(), 2)) == (0.5, 1.0)
