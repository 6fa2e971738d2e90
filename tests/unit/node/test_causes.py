"""In a test, an error of an object has its cause attached. Other callers see no more than before."""

import logging

import pytest

from goverse import BusinessError, Object, call
from goverse.errors import MethodFailed, StateInvalid
from goverse.testing import ObjectHost
from tests.nodes import bench, problem

SECRET = "hunter2"


class Refused(BusinessError):
    """Refused."""

    code = "refused_in_causes"


class Account(Object):
    balance: int = 0

    @call
    async def boom(self) -> None:
        raise KeyError("the cause")

    @call
    async def group(self) -> None:
        raise ExceptionGroup("several", [KeyError("in a group")])

    @call
    async def refuse(self) -> None:
        raise Refused("no") from ValueError("why")

    @call
    async def wrong(self) -> int:
        return {"password": SECRET}  # type: ignore[return-value]

    @call
    async def wrong_inside(self) -> list[dict[str, int]]:
        return [{"a": 1}, {"b": SECRET}]  # type: ignore[dict-item]

    @call
    async def wrong_everywhere(self) -> list[int]:
        return [SECRET] * 100_000  # type: ignore[list-item]

    @call
    async def spoil(self) -> None:
        self.balance = SECRET  # type: ignore[assignment]


class Teller(Object):
    @call
    async def boom(self) -> None:
        await self.ref(Account, "a").boom()

    @call
    async def boom_by_itself(self) -> None:
        try:
            await self.ref(Account, "a").boom()
        except MethodFailed:
            raise LookupError("another cause") from None


@pytest.mark.parametrize(
    ("target", "method", "kind", "said"),
    [
        (Account, "boom", KeyError, "the cause"),
        (Account, "group", KeyError, "in a group"),
        (Teller, "boom", KeyError, "the cause"),
        (Teller, "boom_by_itself", LookupError, "another cause"),
    ],
)
async def test_a_failed_method_has_its_exception_as_the_cause(
    target: type[Object], method: str, kind: type[Exception], said: str
) -> None:
    async with ObjectHost(Account, Teller) as host:
        with pytest.raises(MethodFailed) as failed:
            await getattr(host.ref(target, "a"), method)()
        assert type(failed.value.__cause__) is kind
        assert said in str(failed.value.__cause__)


async def test_a_refusal_has_what_it_was_raised_from_as_the_cause() -> None:
    async with ObjectHost(Account) as host:
        with pytest.raises(Refused) as refused:
            await host.ref(Account, "a").refuse()
        assert str(refused.value.__cause__) == "why"


async def test_a_state_that_does_not_fit_has_the_validation_error_as_the_cause() -> None:
    async with ObjectHost(Account) as host:
        await host.store_state(Account, "a", {"balance": "much"}, state_version=1)
        with pytest.raises(StateInvalid, match="/balance"):
            await host.ref(Account, "a").boom()


@pytest.mark.requirement("OBJ-9")
async def test_a_wrong_result_says_its_type_and_place_and_the_log_has_the_value(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with bench(Account) as b:
        with caplog.at_level(logging.ERROR, "goverse.node.turn"):
            wrong = problem(await b.call(Account, "a", "wrong"))
            inside = problem(await b.call(Account, "a", "wrong_inside"))
        assert "Account.wrong returned a value that is not of its declared type: a dict" in wrong.detail
        assert "a list; /1/b: Input should be a valid integer" in inside.detail
        assert SECRET not in wrong.detail + inside.detail
        assert wrong.cause is None
        shown = [vars(record)["value"] for record in caplog.records if "wrong value" in record.message]
        assert shown == ["{'password': 'hunter2'}", "[{'a': 1}, {'b': 'hunter2'}]"]


@pytest.mark.requirement("OBJ-9")
async def test_a_result_with_very_many_wrong_values_is_described_as_a_whole() -> None:
    async with bench(Account) as b:
        wrong = problem(await b.call(Account, "a", "wrong_everywhere"))
        assert "a list; 100000 values in it do not fit" in wrong.detail


async def test_a_wrong_result_has_the_validation_error_as_the_cause() -> None:
    async with ObjectHost(Account) as host:
        with pytest.raises(MethodFailed) as failed:
            await host.ref(Account, "a").wrong()
        assert SECRET in str(failed.value.__cause__)
        with pytest.raises(MethodFailed) as spoiled:
            await host.ref(Account, "a").spoil()
        assert spoiled.value.__cause__ is not None
