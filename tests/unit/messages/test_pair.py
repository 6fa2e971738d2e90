"""Each call of a pair takes effect once, in order, or is void for good, over any link and through restarts."""

from __future__ import annotations

import pytest

from tests.unit.messages.pair import Rules, check, run

SEEDS = 300


def test_every_call_has_one_true_outcome_in_order() -> None:
    sent = 0
    for seed in range(SEEDS):
        record = run(seed)
        check(record)
        sent += len(record.sent)
    assert sent > 20 * SEEDS


@pytest.mark.parametrize(
    "rules",
    [
        Rules(checks_order=False),
        Rules(receipt_with_effect=False),
        Rules(void_at_receiver=False),
        Rules(keeps_outcomes=False),
    ],
    ids=["order is not checked", "receipt apart from the effect", "void without the receiver", "outcomes are dropped"],
)
def test_a_broken_rule_is_found(rules: Rules) -> None:
    def holds(seed: int) -> bool:
        try:
            check(run(seed, rules))
        except AssertionError:
            return False
        return True

    assert not all(holds(seed) for seed in range(200))
