"""The sample application ends and settles its auctions once, although its server is killed between the steps."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.cli.processes import PATIENCE_S, Dev, dev, until
from tests.tree import ROOT

AUCTIONS = [f"a{number}" for number in range(8)]
SOLD = AUCTIONS[::2]  # the others do not reach their reserve
MONEY = 100_000
PRICE = 2_000


def _sample(folder: Path) -> AbstractContextManager[Dev]:
    """Serve the sample, and kill it with SIGKILL at the end of the block."""
    return dev(folder, str(ROOT / "sample-app" / "auction_house"), "--no-reload")


def _call(server: Dev, path: str, **arguments: Any) -> Any:
    answer = httpx.post(f"{server.url}/objects/{path}", json=arguments, timeout=PATIENCE_S)
    assert answer.status_code == 200, answer.text
    return answer.json()


def _state(server: Dev, path: str) -> Any:
    return httpx.get(f"{server.url}/objects/{path}", timeout=PATIENCE_S).json()


def _create(server: Dev, auction: str, **lot: Any) -> None:
    url = f"{server.url}/objects/Auction/{auction}"
    assert httpx.put(url, json={"title": auction, "seller": "zoe", **lot}, timeout=PATIENCE_S).status_code == 201


def _open(server: Dev, auction: str) -> None:
    """Open an auction in which ben outbids ann."""
    _create(server, auction, reserve=0 if auction in SOLD else PRICE + 1)
    for bidder, amount in (("ann", 1_000), ("ben", PRICE)):
        _call(server, f"Auction/{auction}/call/bid", bidder=bidder, amount=amount)


@pytest.mark.system
@pytest.mark.chaos
@pytest.mark.requirement("DUR-3", "DUR-1")
def test_all_auctions_end_and_are_paid_once_although_the_server_is_killed(tmp_path: Path) -> None:
    with _sample(tmp_path) as server, ThreadPoolExecutor(len(AUCTIONS)) as sellers:
        for person in ("ann", "ben"):
            _call(server, f"Wallet/{person}/call/deposit", amount=MONEY)
        for auction in AUCTIONS:
            _open(server, auction)
        _create(server, "short", lasts_s=1)
        closing = [sellers.submit(_call, server, f"Auction/{auction}/call/close") for auction in AUCTIONS]
        wait(closing, return_when=FIRST_COMPLETED)
        server.close()  # some auctions are open, some are closed, and some are paid

    with _sample(tmp_path) as server:  # it is killed while it carries out what the first one sent
        server.wait_for("serving")

    with _sample(tmp_path) as server:
        for auction in AUCTIONS:
            _call(server, f"Auction/{auction}/call/close")
        until(lambda: _state(server, "Auction/short")["outcome"] == {"winner": None, "price": 0}, "the end in time")

        def is_settled(auction: str) -> bool:
            """Delete an auction, which it refuses while one of its calls is pending."""
            url = f"{server.url}/objects/Auction/{auction}"
            return httpx.delete(url, timeout=PATIENCE_S).status_code in (204, 404)

        until(lambda: all(map(is_settled, [*AUCTIONS, "short"])), "the settlement of all auctions")
        until(lambda: _call(server, "Catalogue/main/call/open_lots") == [], "the removal from the catalogue")
        ann, ben, zoe = (_state(server, f"Wallet/{person}") for person in ("ann", "ben", "zoe"))

    prices = dict.fromkeys(SOLD, PRICE)
    assert (ann["balance_cents"], ann["holds"], ann["purchases"]) == (MONEY, {}, {})
    assert (ben["balance_cents"], ben["holds"], ben["purchases"]) == (MONEY - len(SOLD) * PRICE, {}, prices)
    assert (zoe["balance_cents"], zoe["sales"]) == (len(SOLD) * PRICE, prices)
