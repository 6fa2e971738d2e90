"""Suggestions for mistyped names, and the bound of their cost."""

from __future__ import annotations

from typing import Any

import pytest

from goverse import GoverseError, Object, UnknownMethod, UnknownType, call, handler
from goverse.model.near_names import advice, near_name
from goverse.testing import ObjectHost

VAULT: Any = "Vault"  # a type name, as used without access to the class
MISTYPED: Any = "Valt"
NAMES = ("increment", "reset", "look_up", "Counter")


@pytest.mark.parametrize(
    ("given", "near"),
    [
        ("incremet", "increment"),
        ("Increment", "increment"),
        ("INCREMENT", "increment"),
        ("lookUp", "look_up"),
        ("counter", "Counter"),
        ("rest", "reset"),
        ("inc", None),
        ("", None),
        ("__proto__", None),
        ("increment" * 6, None),
    ],
)
def test_a_mistyped_name_is_recognised_and_another_is_not(given: str, near: str | None) -> None:
    assert near_name(given, NAMES) == near


def test_a_long_name_is_not_compared() -> None:
    names = iter(["x" * 49])

    assert near_name("x" * 49, names) is None
    assert next(names, None) is not None


def test_the_number_of_compared_names_is_bounded() -> None:
    names = iter([f"name_{number}" for number in range(1_000)])

    assert near_name("name_999", names) != "name_999"
    assert next(names) == "name_200"


def test_the_similar_name_comes_before_the_list() -> None:
    assert advice("rest", NAMES, "it has reset") == "did you mean 'reset'? It has reset"
    assert advice("other", NAMES, "it has reset") == "it has reset"


class Vault(Object):
    cents: int = 0

    @handler
    async def deposit(self, cents: int) -> None:
        self.cents += cents

    @call
    async def balance(self) -> int:
        return self.cents


class Teller(Object):
    @call
    async def ask(self, target: str, method: str) -> str:
        try:
            await getattr(self.ref(target, "v"), method)()
        except GoverseError as error:
            return error.detail
        return ""


@pytest.mark.requirement("OBJ-14")
async def test_a_mistyped_handler_is_suggested_to_objects_but_not_to_outside_callers() -> None:
    async with ObjectHost(Vault, Teller) as host:
        told = await host.ref(Teller, "t").ask(target="Vault", method="depositt")
        assert told == "Vault exports no method 'depositt'; did you mean 'deposit'? It has balance, deposit"

        outside = host.ref(VAULT, "v")
        with pytest.raises(UnknownMethod) as refused:
            await outside.depositt()
        assert refused.value.detail == "Vault exports no method 'depositt'; it has balance"
        with pytest.raises(UnknownMethod, match=r"'balanse'; did you mean 'balance'\? It has balance$"):
            await outside.balanse()


@pytest.mark.requirement("OBJ-14")
async def test_a_mistyped_type_is_recognised_by_objects_and_by_the_host() -> None:
    async with ObjectHost(Vault, Teller) as host:
        told = "unknown object type 'Valt'; did you mean 'Vault'? This application has Teller, Vault"
        assert await host.ref(Teller, "t").ask(target="Valt", method="balance") == told

        with pytest.raises(UnknownType) as refused:
            await host.ref(MISTYPED, "v").balance()
        assert refused.value.detail == told
