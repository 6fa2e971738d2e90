"""Classification of problems by the router: only those with `executed` set, and only retryable ones, are retried."""

import pytest

from goverse.cluster.delivery import Miss
from goverse.errors import (
    Draining,
    Executed,
    GoverseError,
    MalformedRequest,
    Moving,
    Overloaded,
    Timeout,
    TooLarge,
    TryAgain,
    Unavailable,
    known,
)
from goverse.model.frames import Problem
from goverse.routing.routed_call import miss_of

NO, UNKNOWN = Executed.NO, Executed.UNKNOWN


@pytest.mark.parametrize(
    ("error", "miss"),
    [
        (Moving(), Miss.MOVING),
        (known(Draining(), NO), Miss.UNSENT),
        (known(Unavailable(), NO), Miss.UNSENT),
        (known(Unavailable(), UNKNOWN), Miss.LOST),
        (known(Draining(), UNKNOWN), Miss.LOST),
    ],
)
def test_an_unanswered_call_is_sent_again(error: GoverseError, miss: Miss) -> None:
    assert miss_of(Problem.of(error)) is miss


@pytest.mark.parametrize(
    "error",
    [
        Unavailable(),
        Unavailable(executed="no"),
        TryAgain(executed="unknown"),
        known(TooLarge(), NO),
        known(TooLarge(), UNKNOWN),
        known(MalformedRequest(), NO),
        known(GoverseError(), UNKNOWN),
        known(Overloaded(), NO),
        known(Timeout(), NO),
    ],
)
def test_final_problems_are_delivered_to_the_caller(error: GoverseError) -> None:
    assert miss_of(Problem.of(error)) is None
