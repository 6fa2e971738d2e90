"""What a router makes of a problem: only a verdict of a link or a node, and only one that a retry can mend."""

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
def test_a_call_that_was_not_answered_is_sent_again(error: GoverseError, miss: Miss) -> None:
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
def test_an_answer_and_what_no_retry_mends_goes_to_the_caller(error: GoverseError) -> None:
    assert miss_of(Problem.of(error)) is None
