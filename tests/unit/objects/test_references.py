"""Calls between objects, typed and by name, and `ObjectHost`, with which applications test them."""

import copy
import dataclasses
from typing import Any, cast

import pytest
from pydantic import BaseModel

from goverse import (
    BusinessError,
    Caller,
    Deadlock,
    DefinitionError,
    MethodFailed,
    Object,
    ObjectKey,
    ObjectNotFound,
    call,
)
from goverse.errors import (
    GoverseError,
    InvalidArguments,
    MalformedRequest,
    ObjectExists,
    Overloaded,
    UnknownMethod,
    UnknownType,
    VersionMismatch,
)
from goverse.model.frames import Problem
from goverse.model.problems import error_of
from goverse.objects.describe import describe
from goverse.objects.reference import reference_to
from goverse.objects.registry import Registry
from goverse.testing import ObjectHost


class InsufficientFunds(BusinessError):
    """The account holds less than the amount.

    More than the first paragraph is not shown.
    """

    status = 402
    code = "insufficient_funds_in_references"

    def __init__(self, needed: int) -> None:
        super().__init__(f"{needed} more is needed", needed=needed)
        self.needed = needed


class Item(BaseModel):
    name: str
    tags: list[str] = []


class Account(Object):
    balance: int = 0

    @call
    async def deposit(self, amount: int, note: str = "") -> int:
        self.balance += amount
        return self.balance

    @call(raises=(InsufficientFunds, LookupError))
    async def withdraw(self, amount: int) -> int:
        if amount > self.balance:
            raise InsufficientFunds(amount - self.balance)
        self.balance -= amount
        return self.balance

    @call
    async def copy_in(self, item: Item) -> Item:
        item.tags.append("seen")
        return item

    @call(readonly=True)
    async def who(self) -> dict[str, Any]:
        context = self.context
        return {
            "id": self.id,
            "key": list(self.key),
            "method": context.method,
            "caller": [context.caller.kind, str(context.caller), str(context.caller.object)],
            "idempotency_key": context.idempotency_key is not None,
            "chain": [list(key) for key in context.chain],
        }


CALLERS: list[Caller] = []


class Hooked(Object):
    touched: int = 0

    async def on_activate(self) -> None:
        CALLERS.append(self.context.caller)

    async def on_deactivate(self) -> None:
        CALLERS.append(self.context.caller)

    @call
    async def touch(self) -> int:
        CALLERS.append(self.context.caller)
        self.touched += 1
        return self.touched


class Desk(Object):
    moved: int = 0

    @call
    async def transfer(self, source: str, target: str, amount: int) -> list[int]:
        left = await self.ref(Account, source).withdraw(amount)
        there = await self.ref(Account, target).deposit(amount=amount)
        self.moved += amount
        return [left, there]

    @call
    async def try_to_withdraw(self, by_name: bool) -> list[Any]:
        target: Any = "Account" if by_name else Account
        try:
            await self.ref(target, "empty").withdraw(amount=5)
        except InsufficientFunds as error:
            return [error.code, error.detail, dict(error.extra)]
        return []

    @call
    async def pass_on(self, item: Item) -> list[Any]:
        back = await self.ref(Account, "a").copy_in(item)
        return [item.tags, back.tags]

    @call
    async def introduce(self) -> dict[str, Any]:
        return await self.ref(Account, "a").who()

    @call
    async def ask(self, how: str) -> Any:
        by_class: Any = self.ref(Account, "a")
        by_name: Any = self.ref("Account", "a")
        match how:
            case "unknown method":
                return await by_class.nothing()
            case "unknown method by name":
                return await by_name.nothing()
            case "unknown type":
                return await self.ref("Nothing", "a").nothing()
            case "wrong arguments":
                return await by_class.deposit()
            case "wrong argument by name":
                return await by_name.deposit(amount="x")
            case "no JSON form":
                return await by_name.deposit(amount=object())
            case "invalid id":
                return await self.ref(Account, "").who()
        return None


@pytest.mark.requirement("OBJ-8")
async def test_objects_call_each_other_like_local_ones() -> None:
    async with ObjectHost(Desk, Account) as host:
        await host.ref(Account, "a").deposit(7)
        assert await host.ref(Desk, "d").transfer("a", "b", amount=5) == [2, 5]
        assert await host.state(Account, "a") == {"balance": 2}
        with pytest.raises(InsufficientFunds) as raised:
            await host.ref(Desk, "d").transfer("a", "b", 5)
        assert raised.value.detail == "3 more is needed"
        assert raised.value.extra == {"needed": 3}
        assert await host.state(Desk, "d") == {"moved": 5}


@pytest.mark.requirement("OBJ-8")
async def test_arguments_are_copied() -> None:
    async with ObjectHost(Desk, Account) as host:
        assert await host.ref(Desk, "d").pass_on(Item(name="x", tags=["one"])) == [["one"], ["one", "seen"]]


@pytest.mark.requirement("OBJ-8")
@pytest.mark.parametrize("by_name", [False, True])
async def test_an_error_arrives_as_the_class_that_declares_it(by_name: bool) -> None:
    async with ObjectHost(Desk, Account) as host:
        told = await host.ref(Desk, "d").try_to_withdraw(by_name)
        assert told == ["insufficient_funds_in_references", "5 more is needed", {"needed": 5}]


@pytest.mark.requirement("OBJ-8")
async def test_a_called_object_knows_its_caller() -> None:
    async with ObjectHost(Desk, Account) as host:
        keyed = await host.ref(Desk, "d", idempotency_key="k", caller="ann").introduce()
        assert keyed == {
            "id": "a",
            "key": ["default", "Account", "a"],
            "method": "who",
            "caller": ["object", "ann", "Desk/d"],
            "idempotency_key": True,
            "chain": [["default", "Desk", "d"]],
        }
        plain = await host.ref(Account, "a", namespace="elsewhere").who()
        assert plain["caller"] == ["anonymous", "", "None"]
        assert (await host.ref(Account, "a", caller="ann").who())["caller"] == ["client", "ann", "None"]
        unnamed = await host.ref(Desk, "d").introduce()
        assert unnamed["caller"] == ["object", "", "Desk/d"]
        assert (plain["key"], plain["idempotency_key"], plain["chain"]) == (["elsewhere", "Account", "a"], False, [])


@pytest.mark.requirement("OBJ-8")
async def test_a_hook_has_the_caller_of_the_call_that_it_runs_for_and_else_the_system() -> None:
    CALLERS.clear()
    async with ObjectHost(Hooked, Desk, Account) as host:
        assert await host.ref(Hooked, "h", caller="ann").touch() == 1
        await host.passivate()
    assert [(caller.kind, str(caller), caller.object) for caller in CALLERS] == [
        ("client", "ann", None),
        ("client", "ann", None),
        ("system", "", None),
    ]
    assert CALLERS[0] == Caller(kind="client", subject="ann")
    with pytest.raises(dataclasses.FrozenInstanceError):
        CALLERS[0].subject = "bob"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.requirement("OBJ-8", "OBJ-9")
@pytest.mark.parametrize(
    "how",
    [
        "unknown method",
        "unknown method by name",
        "unknown type",
        "wrong arguments",
        "wrong argument by name",
        "no JSON form",
    ],
)
async def test_a_wrong_call_fails_the_calling_method(how: str, caplog: pytest.LogCaptureFixture) -> None:
    async with ObjectHost(Desk, Account) as host:
        with pytest.raises(MethodFailed, match=r"Desk\.ask raised an error"):
            await host.ref(Desk, "d").ask(how)
        assert caplog.records[-1].exc_info is not None


async def test_references_are_values() -> None:
    one, same = reference_to(Account, "default", "a"), reference_to("Account", "default", "a")
    other = reference_to(Account, "default", "b")
    assert one == same
    assert one != other
    assert len({one, same, other}) == 2
    assert repr(one) == "<reference to Account/a>"
    assert (one.id, one.key) == ("a", ObjectKey("default", "Account", "a"))
    assert copy.deepcopy([one]) == [copy.copy(one)]
    with pytest.raises(AttributeError, match="'balance' is a field of Account; a reference gives access"):
        _ = one.balance
    with pytest.raises(AttributeError, match=r"'balance' cannot be set on a reference to Account/a: only the object"):
        one.balance = 3
    with pytest.raises(AttributeError, match=r"no method 'deposite'; did you mean 'deposit'\? It has .*deposit"):
        _ = one.deposite
    with pytest.raises(AttributeError):
        _ = same._private
    with pytest.raises(GoverseError, match="outside a turn"):
        await one.who()
    with pytest.raises(InvalidArguments, match="no JSON form"):
        await same.deposit(amount=object())
    with pytest.raises(MalformedRequest):
        reference_to(Account, "default", "x" * 513)
    number: Any = 5
    with pytest.raises(TypeError, match="the object id is 5; use a string, for example '5'"):
        reference_to(Account, "default", number)
    with pytest.raises(DefinitionError, match="5 is not an object type"):
        reference_to(number, "default", "a")


@pytest.mark.parametrize(
    ("problem", "kind", "retryable"),
    [
        (Problem("deadlock", "d"), Deadlock, False),
        (Problem("overloaded", "d", retryable=True, extra={"retry_after_s": 1}), Overloaded, True),
        (Problem("version_mismatch", "d", extra={"version": 3}), VersionMismatch, False),
        (Problem("insufficient_funds_in_references", "d", status=402), InsufficientFunds, False),
        (Problem("insufficient_funds_in_references", "d", status=499), BusinessError, False),
        (Problem("of_another_release", "d", status=418, extra={"self": 1, "detail": 2}), BusinessError, False),
        (Problem("of_another_release", "d", retryable=True, extra={"detail": 1}), GoverseError, True),
    ],
)
def test_a_problem_is_converted_back_to_its_error(problem: Problem, kind: type[GoverseError], retryable: bool) -> None:
    error = error_of(problem)

    assert type(error) is kind
    assert (error.code, error.detail, dict(error.extra), error.retryable) == (
        problem.code,
        problem.detail,
        dict(problem.extra),
        retryable,
    )
    assert str(error) == problem.detail
    assert Problem.of(error) == problem


class Owned(Object, create_on_call=False, delete="anyone"):
    owner: str

    def on_create(self, owner: str) -> None:
        self.owner = owner


@pytest.mark.requirement("OBJ-3")
async def test_a_test_host_creates_reads_and_deletes() -> None:
    async with ObjectHost(Owned, Account) as host:
        assert await host.state(Owned, "a") is None
        assert await host.create(Owned, "a", owner="ann") == {"owner": "ann"}
        with pytest.raises(ObjectExists):
            await host.create(Owned, "a", owner="bob")
        with pytest.raises(TypeError, match=r"Owned\.on_create is missing required arguments: owner; it takes: owner"):
            await host.create(Owned, "b")
        assert await host.create(Account, "x") == {"balance": 0}
        with pytest.raises(TypeError, match="Account takes no creation arguments, but got surplus"):
            await host.create(Account, "y", surplus=1)
        with pytest.raises(TypeError, match=r"got an unexpected keyword argument 'ownr'; it takes: owner"):
            await host.create(Owned, "b", ownr="ann")
        await host.delete(Owned, "a")
        assert await host.state(Owned, "a") is None
        with pytest.raises(ObjectNotFound):
            await host.delete(Owned, "a")
        with pytest.raises(UnknownType):
            await host.state(Desk, "d")
        unknown: Any = host.ref(cast("type[Any]", "Account"), "a")
        with pytest.raises(UnknownMethod):
            await unknown.nothing()


@pytest.mark.requirement("OBJ-5", "DUR-2")
async def test_a_test_host_passivates_and_restarts() -> None:
    async with ObjectHost(Account) as host:
        account = host.ref(Account, "a", idempotency_key="once")
        assert await account.deposit(5) == 5
        await host.passivate()
        assert await account.deposit(5) == 5
        await host.restart()
        assert await account.deposit(5) == 5
        assert await host.ref(Account, "a").deposit(1) == 6


async def test_a_test_host_that_fails_still_stops() -> None:
    async def failing() -> None:
        async with ObjectHost(Account) as host:
            await host.ref(Account, "a").deposit(5)
            raise RuntimeError("the test's own")

    with pytest.raises(RuntimeError, match="the test's own"):
        await failing()


@pytest.mark.requirement("OBJ-1")
def test_a_catalog_describes_types_methods_and_errors() -> None:
    catalog = describe(Registry([Account, Owned]))

    assert list(catalog) == ["Account", "Owned"]
    withdraw = catalog["Account"].methods["withdraw"]
    assert [(error.status, error.code, error.detail) for error in withdraw.errors] == [
        (402, "insufficient_funds_in_references", "The account holds less than the amount.")
    ]
    assert withdraw.arguments["required"] == ["amount"]
    assert withdraw.result == {"type": "integer"}
    assert catalog["Account"].create_arguments == {"type": "object", "properties": {}, "additionalProperties": False}
    assert catalog["Owned"].create_arguments["required"] == ["owner"]
    assert catalog["Account"].state["properties"]["balance"]["default"] == 0


@pytest.mark.requirement("OBJ-3")
def test_keys_have_a_readable_text() -> None:
    assert str(ObjectKey("default", "Account", "a/b")) == "Account/a/b"
    assert str(ObjectKey("shop", "Account", "a")) == "shop:Account/a"
