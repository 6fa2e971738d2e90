"""No money is lost or created when an operation fails halfway."""

from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from auction_house import Auction, Catalogue, Wallet
from goverse import MethodFailed
from goverse.testing import Fault, ObjectHost

pytestmark = pytest.mark.requirement("OBJ-2", "OBJ-8")

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
    for step in (clock.settle, clock.close, clock.settle):
        with suppress(MethodFailed):
            await step()
    assert sum(balance for balance, _ in (await _balances(host)).values()) <= TOTAL
    fault.end()
    await host.restart()

    assert (await clock.close()).winner == "ben"
    await clock.settle()
    await clock.settle()

    assert await _balances(host) == {"ann": (10_000, 0), "ben": (3_000, 0), "zoe": (17_000, 0)}
    assert await host.ref(Catalogue, "main").open_lots() == []


async def test_a_bidder_who_leads_again_before_the_release_keeps_the_hold(host: ObjectHost) -> None:
    clock = host.ref(Auction, "clock")
    fault = _broken(host, "release")
    for bidder, amount in (("ann", 6_000), ("ben", 7_000), ("ann", 8_000)):
        await clock.bid(bidder=bidder, amount=amount)
        await clock.settle()
    fault.end()

    await clock.settle()

    assert await _balances(host) == {"ann": (10_000, 8_000), "ben": (10_000, 0), "zoe": (10_000, 0)}


async def test_a_price_paid_in_a_failed_close_is_returned_to_an_outbid_bidder(host: ObjectHost) -> None:
    clock = host.ref(Auction, "clock")
    await clock.bid(bidder="ann", amount=6_000)
    fault = _broken(host, "receive")
    with pytest.raises(MethodFailed):
        await clock.close()
    fault.end()

    await clock.bid(bidder="ben", amount=7_000)
    await clock.settle()

    assert await _balances(host) == {"ann": (10_000, 0), "ben": (10_000, 7_000), "zoe": (10_000, 0)}
