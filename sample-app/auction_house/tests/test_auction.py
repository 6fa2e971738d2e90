"""The auction house, tested without a server."""

from collections.abc import AsyncIterator

import pytest

from auction_house import Auction, Catalogue, Wallet
from auction_house.refusals import AuctionClosed, AuctionInProgress, BidTooLow, InsufficientFunds, OwnAuction
from goverse import ObjectNotFound
from goverse.testing import TestHost

pytestmark = pytest.mark.requirement("OBJ-1", "OBJ-8")


@pytest.fixture
async def host() -> AsyncIterator[TestHost]:
    async with TestHost(Auction, Catalogue, Wallet) as host:
        await host.ref(Wallet, "ann").deposit(amount=10_000)
        await host.ref(Wallet, "ben").deposit(amount=20_000)
        await host.create(Auction, "clock", title="Clock", seller="zoe", starting_price=1_000, reserve=5_000)
        yield host


async def test_bid_holds_the_money_of_the_leader_only(host: TestHost) -> None:
    clock = host.ref(Auction, "clock")
    await clock.bid(bidder="ann", amount=6_000)
    assert (await host.ref(Wallet, "ann").statement()).free == 4_000
    await clock.bid(bidder="ben", amount=7_000)
    assert (await host.ref(Wallet, "ann").statement()).held == 0
    assert (await host.ref(Wallet, "ben").statement()).held == 7_000
    assert [bid.bidder for bid in await clock.history()] == ["ben", "ann"]


async def test_winner_pays_the_seller_once(host: TestHost) -> None:
    clock = host.ref(Auction, "clock")
    await clock.bid(bidder="ann", amount=6_000)
    outcome = await clock.close()
    assert await clock.close() == outcome
    assert (outcome.winner, outcome.price) == ("ann", 6_000)
    assert (await host.ref(Wallet, "ann").statement()).balance == 4_000
    assert (await host.ref(Wallet, "zoe").statement()).balance == 6_000
    with pytest.raises(AuctionClosed):
        await clock.bid(bidder="ben", amount=9_000)


async def test_reserve_that_is_not_reached_sells_nothing(host: TestHost) -> None:
    clock = host.ref(Auction, "clock")
    await clock.bid(bidder="ann", amount=2_000)
    assert (await clock.close()).winner is None
    assert (await host.ref(Wallet, "ann").statement()).free == 10_000


async def test_refused_bid_leaves_no_trace(host: TestHost) -> None:
    clock = host.ref(Auction, "clock")
    before = await host.state(Auction, "clock")
    with pytest.raises(InsufficientFunds) as refusal:
        await clock.bid(bidder="ann", amount=10_001)
    assert refusal.value.extra == {"free": 10_000}
    with pytest.raises(BidTooLow):
        await clock.bid(bidder="ann", amount=999)
    with pytest.raises(OwnAuction):
        await clock.bid(bidder="zoe", amount=2_000)
    assert await host.state(Auction, "clock") == before
    assert (await host.ref(Wallet, "ann").statement()).held == 0


async def test_retry_with_the_same_key_bids_once(host: TestHost) -> None:
    first = await host.ref(Auction, "clock", idempotency_key="click-1").bid(bidder="ann", amount=6_000)
    again = await host.ref(Auction, "clock", idempotency_key="click-1").bid(bidder="ann", amount=6_000)
    assert again == first
    assert len(await host.ref(Auction, "clock").history()) == 1


async def test_catalogue_follows_and_all_survives_a_restart(host: TestHost) -> None:
    await host.ref(Auction, "clock").bid(bidder="ben", amount=8_000)
    await host.restart()
    [lot] = await host.ref(Catalogue, "main").open_lots()
    assert (lot.title, lot.price, lot.bids) == ("Clock", 8_000, 1)
    await host.ref(Auction, "clock").close()
    assert await host.ref(Catalogue, "main").open_lots() == []


async def test_auctions_are_created_on_purpose_and_not_deleted_by_accident(host: TestHost) -> None:
    with pytest.raises(ObjectNotFound):
        await host.ref(Auction, "nothing").history()
    await host.ref(Auction, "clock").bid(bidder="ann", amount=6_000)
    with pytest.raises(AuctionInProgress):
        await host.delete(Auction, "clock")
    await host.ref(Auction, "clock").close()
    await host.delete(Auction, "clock")
    assert await host.state(Auction, "clock") is None
