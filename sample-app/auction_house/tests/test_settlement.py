"""Money is neither lost nor made when something breaks half-way."""

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import ClassVar

import pytest

from auction_house import Auction, Catalogue, Wallet
from auction_house.catalogue import Lot
from auction_house.wallet import Cents, Statement
from goverse import MethodFailed, call
from goverse.testing import ObjectHost

pytestmark = pytest.mark.requirement("OBJ-2", "OBJ-8")

PEOPLE = ("ann", "ben", "zoe")
TOTAL = 30_000


class Breakage:
    """Which calls of neighbours fail at the moment."""

    broken: ClassVar[set[str]] = set()

    @classmethod
    def strike(cls, name: str) -> None:
        """Fail if this call is broken."""
        if name in cls.broken:
            raise RuntimeError(f"{name} is broken")


class FragileCatalogue(Catalogue, name="Catalogue"):
    """A catalogue that fails on demand."""

    @call
    async def show(self, lot: Lot) -> None:
        """List, or fail."""
        Breakage.strike("show")
        await super().show(lot)

    @call
    async def withdraw(self, auction: str) -> None:
        """Take off, or fail."""
        Breakage.strike("withdraw")
        await super().withdraw(auction)


class FragileWallet(Wallet, name="Wallet"):
    """A wallet that fails on demand."""

    @call
    async def release(self, auction: str) -> Statement:
        """Give back, or fail."""
        Breakage.strike("release")
        return await super().release(auction)

    @call
    async def pay(self, auction: str, amount: Cents) -> Statement:
        """Pay, or fail."""
        Breakage.strike("pay")
        return await super().pay(auction, amount)

    @call
    async def receive(self, auction: str, amount: Cents) -> Statement:
        """Take in, or fail."""
        Breakage.strike("receive")
        return await super().receive(auction, amount)


@pytest.fixture
async def host() -> AsyncIterator[ObjectHost]:
    Breakage.broken.clear()
    async with ObjectHost(Auction, FragileCatalogue, FragileWallet) as host:
        for person in PEOPLE:
            await host.ref(Wallet, person).deposit(amount=10_000)
        await host.create(Auction, "clock", title="Clock", seller="zoe")
        yield host


async def _balances(host: ObjectHost) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for person in PEOPLE:
        statement = await host.ref(Wallet, person).statement()
        found[person] = (statement.balance, statement.held)
    return found


@pytest.mark.parametrize("broken", ["show", "withdraw", "release", "pay", "receive"])
async def test_a_broken_neighbour_costs_nobody_anything_once_it_works_again(host: ObjectHost, broken: str) -> None:
    clock = host.ref(Auction, "clock")
    await clock.bid(bidder="ann", amount=6_000)
    Breakage.broken.add(broken)
    await clock.bid(bidder="ben", amount=7_000)
    for step in (clock.settle, clock.close, clock.settle):
        with suppress(MethodFailed):
            await step()
    assert sum(balance for balance, _ in (await _balances(host)).values()) <= TOTAL
    Breakage.broken.clear()
    await host.restart()

    assert (await clock.close()).winner == "ben"
    await clock.settle()
    await clock.settle()

    assert await _balances(host) == {"ann": (10_000, 0), "ben": (3_000, 0), "zoe": (17_000, 0)}
    assert await host.ref(Catalogue, "main").open_lots() == []


async def test_who_leads_again_before_the_release_keeps_the_hold(host: ObjectHost) -> None:
    clock = host.ref(Auction, "clock")
    Breakage.broken.add("release")
    for bidder, amount in (("ann", 6_000), ("ben", 7_000), ("ann", 8_000)):
        await clock.bid(bidder=bidder, amount=amount)
        await clock.settle()
    Breakage.broken.clear()

    await clock.settle()

    assert await _balances(host) == {"ann": (10_000, 8_000), "ben": (10_000, 0), "zoe": (10_000, 0)}


async def test_a_price_paid_in_a_close_that_failed_comes_back_to_who_is_outbid(host: ObjectHost) -> None:
    clock = host.ref(Auction, "clock")
    await clock.bid(bidder="ann", amount=6_000)
    Breakage.broken.add("receive")
    with pytest.raises(MethodFailed):
        await clock.close()
    Breakage.broken.clear()

    await clock.bid(bidder="ben", amount=7_000)
    await clock.settle()

    assert await _balances(host) == {"ann": (10_000, 0), "ben": (10_000, 7_000), "zoe": (10_000, 0)}
