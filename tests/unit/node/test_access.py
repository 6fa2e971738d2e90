"""Access rules, enforced by the node: operations for requests from outside, and operations for other objects only."""

from typing import Any

import pytest

from goverse import AccessDenied, Object, ObjectNotFound, call, handler
from goverse.errors import MalformedRequest
from goverse.objects.registry import AccessRule
from goverse.testing import ObjectHost
from goverse_node.node import Node
from tests.nodes import bench, code, key_of, problem, value


class Account(Object):
    cents: int = 0

    @handler
    async def deposit(self, cents: int) -> int:
        self.cents += cents
        return self.cents

    @handler(readonly=True)
    async def audit(self) -> int:
        return self.cents

    @call(readonly=True)
    async def balance(self) -> int:
        return self.cents


class Teller(Object):
    @call
    async def pay_in(self, account: str, cents: int) -> int:
        return await self.ref(Account, account).deposit(cents)


class Inner(Object, create="internal", delete="nobody"):
    value: int = 0

    @call
    async def add(self) -> int:
        self.value += 1
        return self.value


class Closed(Object, create="nobody"):
    @call
    async def poke(self) -> None: ...


class Asking(Object):
    asked: int = 0

    @call
    async def ask(self, object_id: str) -> int:
        self.asked += 1
        return await self.ref(Inner, object_id).add()


CHAIN = (key_of(Teller, "t"),)


@pytest.mark.requirement("OBJ-14")
@pytest.mark.parametrize("method", ["deposit", "audit"])
async def test_a_handler_is_refused_to_requests_from_outside(method: str) -> None:
    async with bench(Account, Teller) as b:
        refused = problem(await b.call(Account, "a", method, {"cents": 5} if method == "deposit" else None))

        assert refused.code == "access_denied"
        assert f"Account.{method} is a handler" in refused.detail
        assert "mark it with @call instead" in refused.detail
        assert not b.resident(Account, "a")


@pytest.mark.requirement("OBJ-14")
async def test_a_handler_serves_other_objects() -> None:
    async with bench(Account, Teller) as b:
        assert value(await b.call(Teller, "t", "pay_in", {"account": "a", "cents": 5})) == 5
        assert value(await b.call(Account, "a", "balance")) == 5
        assert value(await b.call(Account, "a", "audit", chain=CHAIN)) == 5


@pytest.mark.requirement("OBJ-14")
async def test_a_kept_reply_of_a_handler_is_not_replayed_to_outside_requests() -> None:
    async with bench(Account, Teller) as b:
        arguments = {"cents": 5}
        assert value(await b.call(Account, "a", "deposit", arguments, chain=CHAIN, idempotency_key="k")) == 5
        refused = await b.call(Account, "a", "deposit", arguments, idempotency_key="k")
        assert (code(refused), refused.replayed) == ("access_denied", False)


@pytest.mark.requirement("OBJ-14")
async def test_deleting_is_for_other_objects_unless_the_class_says_otherwise() -> None:
    async with bench(Account, Teller) as b:
        await b.create(Account, "a")
        refused = problem(await b.delete(Account, "a"))

        assert refused.code == "access_denied"
        assert "requests from outside may not delete Account objects: delete is 'internal'" in refused.detail
        assert "add delete='anyone' to the options of class Account" in refused.detail
        assert "objects.Account.delete" in refused.detail
        assert refused.extra["setting"] == "objects.Account.delete"
        # an id that does not exist gets the same refusal, so the answer does not reveal which ids exist
        assert code(await b.delete(Account, "none")) == "access_denied"
        assert code(await b.delete(Account, "a", chain=CHAIN)) == ""


@pytest.mark.requirement("OBJ-14")
async def test_an_operation_that_is_forbidden_to_all_is_refused_to_objects_too() -> None:
    async with bench(Inner, Closed) as b:
        assert code(await b.create(Inner, "a", chain=CHAIN)) == ""
        refused = problem(await b.delete(Inner, "a", chain=CHAIN))
        assert refused.detail.startswith("no caller may delete Inner objects: delete is 'nobody' ")
        for chain in ((), CHAIN):
            assert code(await b.create(Closed, "a", chain=chain)) == "access_denied"
            assert code(await b.call(Closed, "a", "poke", chain=chain)) == "object_not_found"


@pytest.mark.requirement("OBJ-14", "OBJ-3")
async def test_a_call_creates_no_object_that_the_outside_may_not_create() -> None:
    async with bench(Inner, Asking) as b:
        assert code(await b.create(Inner, "typo")) == "access_denied"
        outside = problem(await b.call(Inner, "typo", "add"))
        assert (outside.code, outside.extra) == ("object_not_found", {"object": "Inner/typo"})
        assert "only other objects can create it" in outside.detail

        inside = problem(await b.call(Asking, "a", "ask", {"object_id": "typo"}))
        assert (inside.code, inside.extra) == ("object_not_found", {"object": "Inner/typo"})
        assert code(await b.read(Inner, "typo")) == "object_not_found"
        assert code(await b.read(Asking, "a")) == "object_not_found"


@pytest.mark.requirement("OBJ-14")
async def test_the_configuration_opens_and_closes_types() -> None:
    async with bench(Account) as b:
        await b.node.stop(1.0)
        b.registry = b.registry.with_access({"Account": AccessRule(create="internal", delete="anyone")})
        b.node = Node(b.registry, b.store, options=b.options)
        await b.node.start()

        assert code(await b.create(Account, "a")) == "access_denied"
        assert code(await b.call(Account, "a", "balance")) == "object_not_found"
        assert code(await b.create(Account, "a", chain=CHAIN)) == ""
        assert code(await b.delete(Account, "a")) == ""


@pytest.mark.requirement("OBJ-14")
async def test_a_test_host_is_outside_and_can_act_as_an_object() -> None:
    async with ObjectHost(Account, Teller, Inner) as host:
        with pytest.raises(AccessDenied, match="is a handler"):
            await host.ref(Account, "a").deposit(cents=1)
        with pytest.raises(AccessDenied, match="may not create Inner"):
            await host.create(Inner, "i")
        inside = host.acting_as(Teller, "t")
        assert await inside.ref(Account, "a").deposit(cents=1) == 1
        with pytest.raises(AccessDenied, match="may not delete Account"):
            await host.delete(Account, "a")
        await inside.delete(Account, "a")
        assert await host.state(Account, "a") is None
        assert await inside.create(Inner, "i") == {"value": 0}
        with pytest.raises(AccessDenied, match="no caller may delete"):
            await inside.delete(Inner, "i")


class Finding(Object):
    @call
    async def find(self, object_id: str) -> int:
        return await self.ref(Inner, object_id).add()

    @call
    async def misuse(self) -> None:
        await self.ref("Account", "a").deposit(nothing=1)


@pytest.mark.requirement("OBJ-15", "OBJ-9")
async def test_a_mistyped_id_is_no_failure_of_the_server() -> None:
    async with ObjectHost(Finding, Inner, Account) as host:
        with pytest.raises(ObjectNotFound, match="Inner/typo does not exist"):
            await host.ref(Finding, "f").find("typo")
        for invalid in ("", "x" * 513, "watch"):
            with pytest.raises(MalformedRequest):
                await host.ref(Finding, "f").find(invalid)


@pytest.mark.requirement("OBJ-9")
async def test_a_wrong_call_in_the_code_of_a_method_is_a_failure_that_names_its_cause(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with bench(Finding, Account) as b:
        failed = problem(await b.call(Finding, "f", "misuse"))

        assert (failed.code, failed.extra) == ("method_failed", {"cause": "invalid_arguments"})
        assert "deposit" not in failed.detail
        assert caplog.records[-1].exc_info is not None


@pytest.mark.requirement("OBJ-3")
@pytest.mark.parametrize("reserved", ["watch", "changes", "query"])
async def test_a_reserved_id_is_refused(reserved: str) -> None:
    async with ObjectHost(Account, Teller) as host:
        for attempt in (
            lambda: host.ref(Account, reserved),
            lambda: host.acting_as(Account, reserved),
        ):
            with pytest.raises(MalformedRequest, match=f"'{reserved}' is reserved"):
                attempt()
        with pytest.raises(MalformedRequest, match="reserved"):
            await host.create(Account, reserved)
        other: Any = host.ref(Account, f"{reserved}-1")
        assert await other.balance() == 0
