"""Classification of problems by the router: only those with `executed` set, and only retryable ones, are retried."""

import asyncio
from asyncio import Future

import pytest

from goverse.cluster.retry_state import Miss
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
    UnknownMethod,
    UnknownType,
    known,
)
from goverse.model.frames import Operation, Problem, Reply, Request
from goverse.model.keys import ObjectKey
from goverse.model.receipts import Delivery
from goverse.routing.routed_call import RoutedCall, miss_of

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


class NoRetries:
    """A router that sends nothing again."""

    def missed(self, call: RoutedCall, miss: Miss, /) -> None:
        raise AssertionError(f"{call} was not to be sent again after {miss}")

    def lost(self, _call: RoutedCall, problem: Problem, /) -> Problem:
        problem.extra = {"lost_with": "a1"}
        return problem

    def is_elsewhere(self, _route: object, /) -> bool:
        return True

    def is_exported(self, _type: str, method: str, /) -> bool:
        return method == "newer"


class Recorded(NoRetries):
    """A router that notes what it would send again."""

    def __init__(self) -> None:
        self.misses: list[Miss] = []

    def missed(self, call: RoutedCall, miss: Miss, /) -> None:
        assert not call.done()
        self.misses.append(miss)


@pytest.mark.requirement("DUR-3")
@pytest.mark.parametrize(
    ("error", "followed"),
    [
        (Moving(), [Miss.MOVING]),
        (known(Draining(), NO), [Miss.UNSENT]),
        (known(Unavailable(), NO), [Miss.UNSENT]),
        (known(Unavailable(), UNKNOWN), []),
        (known(Draining(), UNKNOWN), []),
    ],
)
async def test_a_delivery_is_sent_again_only_if_it_provably_did_not_run(
    error: GoverseError, followed: list[Miss]
) -> None:
    answer: Future[Reply] = asyncio.get_running_loop().create_future()
    key, router = ObjectKey("default", "Counter", "c"), Recorded()
    request = Request(Operation.CALL, key, "inc", b"", 10.0, "r", delivery=Delivery(key, 1, 0, 1))
    RoutedCall(router, request, 0, answer, 0.0).set_result(Reply(problem=Problem.of(error)))
    await asyncio.sleep(0)

    assert router.misses == followed
    assert answer.done() is (not followed)
    if not followed:
        problem = answer.result().problem
        assert problem is not None
        assert (problem.code, problem.executed) == (error.code, UNKNOWN)
        assert problem.extra == ({"lost_with": "a1"} if miss_of(problem) is Miss.LOST else {})


@pytest.mark.requirement("DUR-3", "CLU-11")
@pytest.mark.parametrize(
    ("error", "method", "is_delivery", "answered"),
    [
        (UnknownMethod(), "newer", True, "unavailable"),
        (UnknownMethod(), "misspelt", True, "unknown_method"),
        (UnknownMethod(), "misspelt", False, "unavailable"),
        (UnknownType(), "misspelt", True, "unavailable"),
    ],
)
async def test_a_reliable_call_waits_for_a_release_only_if_a_node_exports_its_method(
    error: GoverseError, method: str, is_delivery: bool, answered: str
) -> None:
    answer: Future[Reply] = asyncio.get_running_loop().create_future()
    key = ObjectKey("default", "Counter", "c")
    delivery = Delivery(key, 1, 0, 1) if is_delivery else None
    request = Request(Operation.CALL, key, method, b"", 10.0, "r", delivery=delivery)
    RoutedCall(NoRetries(), request, 0, answer, 0.0).set_result(Reply(problem=Problem.of(error)))
    problem = (await answer).problem

    assert problem is not None
    assert problem.code == answered


@pytest.mark.requirement("CLU-5")
@pytest.mark.parametrize(("attempt", "verdict"), [(0, NO), (1, UNKNOWN)])
@pytest.mark.parametrize("error", [known(Timeout(), NO), known(Overloaded(), NO), known(TooLarge(), NO)])
async def test_a_last_attempt_without_effect_does_not_vouch_for_an_earlier_one(
    error: GoverseError, attempt: int, verdict: Executed
) -> None:
    answer: Future[Reply] = asyncio.get_running_loop().create_future()
    request = Request(Operation.CALL, ObjectKey("default", "Counter", "c"), "inc", b"", 10.0, "r", attempt=attempt)
    RoutedCall(NoRetries(), request, 0, answer, 0.0).set_result(Reply(problem=Problem.of(error)))
    problem = (await answer).problem

    assert problem is not None
    assert problem.executed is verdict
