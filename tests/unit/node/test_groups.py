"""Exception groups: a group of errors of one kind reaches the caller as that error."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from goverse import BusinessError, Object, call
from goverse.errors import Deadlock, InvalidArguments, MethodFailed, Overloaded, Timeout, Unavailable
from tests.nodes import bench, code, problem


class SoldOut(BusinessError):
    """Sold out."""

    status = 409
    code = "sold_out_in_groups"


class Closed(BusinessError):
    """Closed."""

    code = "closed_in_groups"


class Leaf(Object):
    @call(raises=(SoldOut,))
    async def deny(self) -> None:
        raise SoldOut("none left", free=0)


class Fan(Object):
    tries: int = 0

    @call
    async def spread(self, count: int) -> None:
        self.tries += 1
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                group.create_task(self.ref(Leaf, f"l{number}").deny())

    @call
    async def nested(self) -> None:
        async with asyncio.TaskGroup(), asyncio.TaskGroup() as inner:
            inner.create_task(self.ref(Leaf, "l").deny())

    @call(raises=(LookupError,))
    async def fail(self, how: str) -> None:
        self.tries += 1
        raise GROUPS[how]()

    @call
    def fail_plainly(self, how: str) -> None:
        raise GROUPS[how]()

    @call
    async def late(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(10))
            async with asyncio.timeout(0):
                await asyncio.sleep(1)


def group(*errors: BaseException) -> Callable[[], BaseException]:
    return lambda: BaseExceptionGroup("several", errors)


GROUPS: dict[str, Callable[[], Any]] = {
    "one refusal": group(SoldOut()),
    "equal refusals": group(SoldOut("first"), SoldOut("second")),
    "a refusal and cancellations": group(asyncio.CancelledError(), SoldOut(), asyncio.CancelledError()),
    "nested": group(BaseExceptionGroup("inner", [SoldOut()]), SoldOut()),
    "different refusals": group(SoldOut(), Closed()),
    "a refusal and an accident": group(SoldOut(), ValueError()),
    "a refusal and a moment": group(SoldOut(), Unavailable()),
    "moments": group(Unavailable(), Overloaded(), Timeout()),
    "deadlocks": group(Deadlock(), Deadlock()),
    "failures of others": group(MethodFailed(), MethodFailed()),
    "wrong arguments": group(InvalidArguments(), InvalidArguments()),
    "cancellations": group(asyncio.CancelledError(), asyncio.CancelledError()),
    "declared": group(KeyError("x"), KeyError("y")),
    "declared and not": group(KeyError("x"), ValueError()),
    "timeouts of asyncio": group(TimeoutError(), TimeoutError()),
}

CODES = {
    "one refusal": "sold_out_in_groups",
    "equal refusals": "sold_out_in_groups",
    "a refusal and cancellations": "sold_out_in_groups",
    "nested": "sold_out_in_groups",
    "moments": "unavailable",
    "deadlocks": "deadlock",
}


@pytest.mark.parametrize("method", ["fail", "fail_plainly"])
@pytest.mark.parametrize("how", GROUPS)
@pytest.mark.requirement("OBJ-2")
async def test_a_group_that_stands_for_one_error_is_that_error(how: str, method: str) -> None:
    async with bench(Fan) as b:
        reply = await b.call(Fan, "f", method, {"how": how})
        assert code(reply) == CODES.get(how, "method_failed")
        assert problem(reply).retryable == (how == "moments")
        assert code(await b.read(Fan, "f")) == "object_not_found"


async def test_a_group_of_one_declared_error_is_shown_as_that_error() -> None:
    async with bench(Fan) as b:
        shown = problem(await b.call(Fan, "f", "fail", {"how": "declared"}))
        assert (shown.detail, shown.extra["exception"]) == ("Fan.fail raised KeyError: 'x'", "KeyError")
        hidden = problem(await b.call(Fan, "f", "fail", {"how": "declared and not"}))
        assert "exception" not in hidden.extra


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.requirement("OBJ-2", "DUR-2")
async def test_a_refusal_of_a_task_group_is_kept_under_the_key(count: int) -> None:
    async with bench(Fan, Leaf) as b:
        first = await b.call(Fan, "f", "spread", {"count": count}, idempotency_key="k")
        again = await b.call(Fan, "f", "spread", {"count": count}, idempotency_key="k")
        assert code(first) == code(again) == "sold_out_in_groups"
        assert (problem(first).status, problem(first).extra) == (409, {"free": 0})
        assert again.replayed


async def test_a_refusal_inside_two_task_groups_is_that_refusal() -> None:
    async with bench(Fan, Leaf) as b:
        assert code(await b.call(Fan, "f", "nested")) == "sold_out_in_groups"


async def test_a_timeout_of_asyncio_is_a_failure_of_the_method() -> None:
    async with bench(Fan) as b:
        assert code(await b.call(Fan, "f", "late")) == "method_failed"
