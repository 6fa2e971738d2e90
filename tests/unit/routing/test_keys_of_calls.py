"""The idempotency keys of calls in a router: a call that may be sent twice has one."""

import asyncio

import pytest

from goverse.errors import Executed
from goverse.model.frames import Operation, Request
from goverse.model.keys import ObjectKey, router_key, router_number
from goverse.model.receipts import Delivery
from goverse.routing.links import NodeLink
from goverse.routing.router import Router

ROUTER = "0123456789abcdef"


def unreachable(address: str) -> NodeLink:
    raise AssertionError(f"a router without nodes connects to {address}")


@pytest.mark.requirement("CLU-3", "DUR-2")
@pytest.mark.parametrize(
    ("operation", "own", "sent", "fresh"),
    [
        (Operation.CALL, None, router_key(ROUTER, 1), True),
        (Operation.CREATE, None, router_key(ROUTER, 1), True),
        (Operation.DELETE, None, router_key(ROUTER, 1), True),
        (Operation.CALL, "mine", "mine", False),
        (Operation.READ, None, None, False),
        (Operation.SEND, None, router_key(ROUTER, 1), True),
        (Operation.SEND, "mine", "mine", False),
        (Operation.CALLS, None, None, False),
    ],
)
async def test_a_request_that_may_change_something_has_a_key(
    operation: Operation, own: str | None, sent: str | None, *, fresh: bool
) -> None:
    router = Router(unreachable, shard_count=1, incarnation=ROUTER)
    deadline = asyncio.get_running_loop().time() + 60.0
    request = Request(operation, ObjectKey("default", "Counter", "c1"), "increment", b"", deadline, "r1", own)

    reply = router.submit(request)
    await router.close()

    assert (await reply).problem is not None
    assert (request.idempotency_key, request.fresh_key) == (sent, fresh)


@pytest.mark.requirement("DUR-3")
async def test_the_delivery_of_a_reliable_call_has_no_key() -> None:
    router = Router(unreachable, shard_count=1, incarnation=ROUTER)
    deadline = asyncio.get_running_loop().time() + 60.0
    key = ObjectKey("default", "Counter", "c1")
    request = Request(Operation.CALL, key, "increment", b"", deadline, "r1", delivery=Delivery(key, 1, 0, 1))

    reply = router.submit(request)
    await router.close()

    assert (await reply).problem is not None
    assert (request.idempotency_key, request.fresh_key) == (None, False)


@pytest.mark.requirement("DUR-3")
async def test_a_delivery_that_finds_no_owner_is_refused_and_no_attempt_has_failed() -> None:
    router = Router(unreachable, shard_count=1, incarnation=ROUTER)
    deadline = asyncio.get_running_loop().time() + 0.01
    key = ObjectKey("default", "Counter", "c1")
    request = Request(Operation.CALL, key, "increment", b"", deadline, "r1", delivery=Delivery(key, 1, 0, 1))

    problem = (await router.submit(request)).problem
    await router.close()

    assert problem is not None
    assert (problem.code, problem.retryable, problem.executed) == ("unavailable", True, Executed.NO)


async def test_each_call_has_a_key_of_its_own_that_names_the_router() -> None:
    router = Router(unreachable, shard_count=1, incarnation=ROUTER)
    deadline = asyncio.get_running_loop().time() + 60.0
    key = ObjectKey("default", "Counter", "c1")
    requests = [Request(Operation.CALL, key, "increment", b"", deadline, f"r{n}") for n in range(20)]

    for request in requests:
        router.submit(request)
    await router.close()

    assert [router_number(request.idempotency_key or "") for request in requests] == [(ROUTER, n) for n in range(1, 21)]
