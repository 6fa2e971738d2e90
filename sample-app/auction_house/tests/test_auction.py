"""The auction house, tested without a server."""

from collections.abc import AsyncIterator

import pytest

from auction_house import Auction, Catalogue, Wallet
from auction_house.refusals import AuctionClosed, AuctionInProgress, BidTooLow, InsufficientFunds, OwnAuction
from auction_house.wallet import Statement
from goverse import AccessDenied, ObjectNotFound
from goverse.testing import ObjectHost

pytestmark = pytest.mark.requirement("OBJ-1", "OBJ-8")


@pytest.fixture
async def host() -> AsyncIterator[ObjectHost]:
    async with ObjectHost(Auction, Catalogue, Wallet) as host:
        await host.ref(Wallet, "ann").deposit(amount=10_000)
        await host.ref(Wallet, "ben").deposit(amount=20_000)
        await host.create(Auction, "clock", title="Clock", seller="zoe", starting_price=1_000, reserve=5_000)
        yield host


async def _statement(host: ObjectHost, name: str) -> Statement:
    return await host.ref(Wallet, name).statement()


async def test_bid_holds_the_money_of_the_leader_only(host: ObjectHost) -> None:
    clock = host.ref(Auction, "clock")
    await clock.bid(bidder="ann", amount=6_000)
    assert (await _statement(host, "ann")).free == 4_000
    await clock.bid(bidder="ben", amount=7_000)
    await host.deliver()
    assert (await _statement(host, "ann")).held == 0
    assert (await _statement(host, "ben")).held == 7_000
    assert [bid.bidder for bid in await clock.history()] == ["ben", "ann"]


async def test_a_bidder_who_leads_again_keeps_the_newer_hold(host: ObjectHost) -> None:
    clock = host.ref(Auction, "clock")
    await clock.bid(bidder="ann", amount=6_000)
    await clock.bid(bidder="ben", amount=7_000)
    await clock.bid(bidder="ann", amount=8_000)
    await host.deliver()
    assert (await _statement(host, "ann")).held == 8_000
    assert (await _statement(host, "ben")).held == 0


async def test_winner_pays_the_seller_once(host: ObjectHost) -> None:
    clock = host.ref(Auction, "clock")
    await clock.bid(bidder="ann", amount=6_000)
    outcome = await clock.close()
    assert await clock.close() == outcome
    await host.deliver()
    assert (outcome.winner, outcome.price) == ("ann", 6_000)
    assert await _statement(host, "ann") == Statement(balance=4_000, held=0, free=4_000)
    assert (await _statement(host, "zoe")).balance == 6_000
    with pytest.raises(AuctionClosed):
        await clock.bid(bidder="ben", amount=9_000)


async def test_reserve_that_is_not_reached_sells_nothing(host: ObjectHost) -> None:
    clock = host.ref(Auction, "clock")
    await clock.bid(bidder="ann", amount=2_000)
    assert (await clock.close()).winner is None
    await host.deliver()
    assert (await _statement(host, "ann")).free == 10_000


async def test_refused_bid_leaves_no_trace(host: ObjectHost) -> None:
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
    assert (await _statement(host, "ann")).held == 0


async def test_refused_raise_keeps_the_previous_hold(host: ObjectHost) -> None:
    await host.ref(Auction, "clock").bid(bidder="ann", amount=6_000)
    with pytest.raises(InsufficientFunds):
        await host.ref(Auction, "clock").bid(bidder="ann", amount=10_001)
    assert (await _statement(host, "ann")).held == 6_000


async def test_retry_with_the_same_key_bids_once(host: ObjectHost) -> None:
    first = await host.ref(Auction, "clock", idempotency_key="click-1").bid(bidder="ann", amount=6_000)
    again = await host.ref(Auction, "clock", idempotency_key="click-1").bid(bidder="ann", amount=6_000)
    assert again == first
    assert len(await host.ref(Auction, "clock").history()) == 1


async def test_the_hold_of_a_bid_that_failed_halfway_is_released_by_its_review(host: ObjectHost) -> None:
    clock = host.ref(Auction, "clock")
    await clock.bid(bidder="ann", amount=6_000)
    auction, wallet = host.acting_as(Auction, "clock"), host.acting_as(Wallet, "ann")
    await auction.ref(Wallet, "ann").hold(auction="clock", amount=8_000)  # then the auction fails
    for amount in (6_000, 8_000):
        await wallet.ref(Auction, "clock").review(bidder="ann", amount=amount)
    await host.deliver()
    assert (await _statement(host, "ann")).held == 6_000


async def test_a_winner_without_the_money_gets_nothing(host: ObjectHost) -> None:
    clock = host.ref(Auction, "clock")
    await clock.bid(bidder="ann", amount=10_000)
    auction = host.acting_as(Auction, "clock")
    await auction.ref(Wallet, "ann").release(auction="clock", amount=10_000)  # breaks the rule that bids are covered
    await auction.ref(Wallet, "ann").pay(auction="other", amount=1_000)
    await clock.close()
    await host.deliver()
    state = await host.state(Auction, "clock")
    assert state is not None
    assert state["outcome"] == {"winner": None, "price": 0}
    assert await _statement(host, "ann") == Statement(balance=9_000, held=0, free=9_000)
    assert (await _statement(host, "zoe")).balance == 0


async def test_catalogue_follows_and_all_survives_a_restart(host: ObjectHost) -> None:
    clock = host.ref(Auction, "clock")
    await clock.bid(bidder="ben", amount=8_000)
    await host.deliver()
    await host.restart()
    [lot] = await host.ref(Catalogue, "main").open_lots()
    assert (lot.title, lot.price, lot.bids) == ("Clock", 8_000, 1)
    await clock.close()
    await host.deliver()
    assert await host.ref(Catalogue, "main").open_lots() == []


async def test_auctions_are_created_on_purpose_and_not_deleted_by_accident(host: ObjectHost) -> None:
    with pytest.raises(ObjectNotFound):
        await host.ref(Auction, "nothing").history()
    await host.ref(Auction, "clock").bid(bidder="ann", amount=2_000)
    with pytest.raises(AuctionInProgress):
        await host.delete(Auction, "clock")
    fault = host.fail(Wallet, "release", with_=RuntimeError("release is broken"), times=None)
    await host.ref(Auction, "clock").close()
    with pytest.raises(AuctionInProgress):
        await host.delete(Auction, "clock")
    fault.end()
    await host.deliver()
    await host.delete(Auction, "clock")
    assert await host.state(Auction, "clock") is None


async def test_an_auction_without_bids_is_deleted_before_its_end(host: ObjectHost) -> None:
    await host.create(Auction, "vase", title="Vase", seller="zoe", lasts_s=3_600)
    await host.delete(Auction, "vase")
    await host.deliver()
    assert [lot.title for lot in await host.ref(Catalogue, "main").open_lots()] == ["Clock"]


async def test_a_closed_auction_does_not_wait_for_its_end(host: ObjectHost) -> None:
    await host.create(Auction, "vase", title="Vase", seller="zoe", lasts_s=3_600)
    vase = host.ref(Auction, "vase")
    await vase.bid(bidder="ann", amount=2_000)
    await vase.close()
    await host.deliver()
    await host.delete(Auction, "vase")
    assert (await _statement(host, "zoe")).balance == 2_000


@pytest.mark.requirement("OBJ-14")
async def test_only_auctions_move_money(host: ObjectHost) -> None:
    with pytest.raises(AccessDenied):
        await host.ref(Wallet, "ann").receive(auction="clock", amount=1_000_000)
    with pytest.raises(AccessDenied):
        await host.delete(Wallet, "ann")
    assert (await _statement(host, "ann")).balance == 10_000


@pytest.mark.requirement("OBJ-11")
async def test_wallets_of_the_first_release_are_migrated_to_cents(host: ObjectHost) -> None:
    await host.store_state(Wallet, "old", {"balance": 12.5}, state_version=1)
    assert (await host.ref(Wallet, "old").deposit(amount=50)).balance == 1_300
    assert await host.state(Wallet, "old") == {"balance_cents": 1_300, "holds": {}, "purchases": {}, "sales": {}}
