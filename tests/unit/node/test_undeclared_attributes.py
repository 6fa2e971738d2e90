"""An undeclared attribute would be lost, so the call that sets it fails, even if it deletes another one."""

from typing import Any, cast

import pytest

from goverse import MethodFailed, Object, call
from goverse.testing import ObjectHost


class Till(Object):
    balance: int = 0
    notes: list[str] = []
    _cache: int = 0
    _hits: int = 0

    @call
    def add(self) -> int:
        self.balance += 1
        return self.balance

    @call
    def misspell(self) -> None:
        self.balence = 1

    @call
    def exchange_a_transient(self) -> None:
        del self._cache
        self.typo = 1

    @call
    def rename_a_transient(self) -> None:
        self.hits = self._hits
        del self._hits

    @call
    def put_the_last_one_back(self) -> None:
        hits = self._hits
        del self._hits, self._cache
        self.typo = 1
        self._hits = hits

    @call
    def exchange_a_field(self) -> None:
        del self.balance
        self.balence = 1

    @call
    def exchange_a_transient_of_its_own(self) -> None:
        self._mine = 1
        del self._mine
        self.typo = 1

    @call(readonly=True)
    def exchange_while_reading(self) -> None:
        del self._cache
        self.typo = 1

    @call(reentrant=True)
    async def exchange_and_wait(self) -> None:
        del self._cache
        self.typo = 1
        await self.ref(Other, "o").look(self.id)

    @call(readonly=True)
    def shown(self) -> list[str]:
        return sorted(name for name in vars(self) if not name.startswith("_"))

    @call
    def renew_a_transient(self) -> None:
        cache, self._other = self._cache, 1
        del self._cache
        self._cache = cache


class Other(Object):
    @call
    async def look(self, till: str) -> list[str]:
        ref: Any = self.ref(Till, till)
        return cast("list[str]", await ref.shown())


class Strict(Object):
    balance: int

    def on_create(self) -> None:
        self.balence = 1

    @call
    def look(self) -> int:
        return self.balance


_REFUSED = (
    *("exchange_a_transient", "rename_a_transient", "put_the_last_one_back", "exchange_a_field"),
    *("exchange_a_transient_of_its_own", "exchange_while_reading", "exchange_and_wait"),
)


@pytest.mark.requirement("OBJ-11")
@pytest.mark.parametrize("method", _REFUSED)
async def test_an_undeclared_attribute_is_refused_though_another_one_goes(method: str) -> None:
    async with ObjectHost(Till, Other) as host:
        till: Any = host.ref(Till, "t")
        await till.add()
        await till.renew_a_transient()
        with pytest.raises(MethodFailed, match="is not declared"):
            await getattr(till, method)()
        assert await till.shown() == ["balance", "notes"]
        assert await till.add() == 2


@pytest.mark.requirement("OBJ-11")
async def test_a_refused_attribute_is_reported_with_the_name_that_was_meant() -> None:
    async with ObjectHost(Till, Other, Strict) as host:
        till: Any = host.ref(Till, "t")
        strict: Any = host.ref(Strict, "s")
        for refused in (till.misspell, till.exchange_a_field, strict.look):
            with pytest.raises(MethodFailed, match=r"'balence' .* did you mean 'balance'"):
                await refused()
