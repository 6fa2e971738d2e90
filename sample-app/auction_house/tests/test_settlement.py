"""No money is lost or created while an object is broken, and everything is settled when it works again."""

from collections.abc import AsyncIterator

import pytest

from auction_house import Auction, Catalogue, Wallet
from goverse.testing import Fault, ObjectHost

pytestmark = pytest.mark.requirement("OBJ-2", "OBJ-8", "DUR-3")

PEOPLE = ("ann", "ben", "zoe")
TOTAL = 30_000


def _broken(host: ObjectHost, method: str) -> Fault:
    """Make every call of ``method`` fail until the fault ends."""
    neighbour = Catalogue if method in ("show", "withdraw") else Wallet
    return host.fail(neighbour, method, with_=RuntimeError(f"{method} is broken"), times=None)


@pytest.fixture
async def host() -> AsyncIterator[ObjectHost]:
    async with ObjectHost(Auction, Catalogue, Wallet) as host:
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
async def test_balances_are_correct_after_a_broken_object_recovers(host: ObjectHost, broken: str) -> None:
    clock = host.ref(Auction, "clock")
    await clock.bid(bidder="ann", amount=6_000)
    fault = _broken(host, broken)
    await clock.bid(bidder="ben", amount=7_000)
    assert (await clock.close()).winner == "ben"
    assert sum(balance for balance, _ in (await _balances(host)).values()) <= TOTAL
    fault.end()
    await host.restart()
    await host.deliver()

    assert await _balances(host) == {"ann": (10_000, 0), "ben": (3_000, 0), "zoe": (17_000, 0)}
    assert await host.ref(Catalogue, "main").open_lots() == []


async def test_a_bidder_who_leads_again_before_the_release_keeps_the_hold(host: ObjectHost) -> None:
    clock = host.ref(Auction, "clock")
    fault = _broken(host, "release")
    for bidder, amount in (("ann", 6_000), ("ben", 7_000), ("ann", 8_000)):
        await clock.bid(bidder=bidder, amount=amount)
    fault.end()
    await host.deliver()

    assert await _balances(host) == {"ann": (10_000, 8_000), "ben": (10_000, 0), "zoe": (10_000, 0)}


async def test_a_bid_that_fails_after_the_hold_is_completed_by_a_retry(host: ObjectHost) -> None:
    clock = host.ref(Auction, "clock")
    auction = host.acting_as(Auction, "clock")
    await auction.ref(Wallet, "ann").hold(auction="clock", amount=6_000)  # then the auction fails
    await clock.bid(bidder="ann", amount=6_000)
    await host.acting_as(Wallet, "ann").ref(Auction, "clock").review(bidder="ann", amount=6_000)
    await host.deliver()

    assert await _balances(host) == {"ann": (10_000, 6_000), "ben": (10_000, 0), "zoe": (10_000, 0)}
