"""The sample application in a real browser: two bidders compete, and the server is killed during the auction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Request, Route, expect, sync_playwright

from tests.browser import CHROMIUM, FLAGS
from tests.integration.cli.processes import Dev, dev
from tests.tree import ROOT

PATIENCE_MS = 30_000
SAMPLE = ROOT / "sample-app"

pytestmark = [pytest.mark.browser, pytest.mark.requirement("QUA-1", "DUR-1", "DUR-2")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)


class Person:
    """A user of the page, with a separate browser context."""

    def __init__(self, browser: Browser, url: str, name: str) -> None:
        """Open the page and enter the user's name."""
        self.troubles: list[str] = []
        self.page: Page = browser.new_context().new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("request", self._on_request)
        self.page.goto(url)
        self.page.get_by_label("You are").fill(name)
        self.page.get_by_role("button", name="Deposit").click()
        self.told(f"Hello, {name}.")

    def _on_request(self, request: Request) -> None:
        if urlsplit(request.url).hostname not in ("127.0.0.1", None):
            self.troubles.append(f"asked for {request.url}")

    def deposit(self, amount: str) -> None:
        self.page.get_by_label("Add money").fill(amount)
        self.page.get_by_role("button", name="Deposit").click()
        self.told(f"{amount} deposited.")

    def deposit_unheard(self, amount: str) -> None:
        self.page.get_by_label("Add money").fill(amount)
        with self.page.expect_event("requestfailed", lambda request: request.url.endswith("/deposit")):
            self.page.get_by_role("button", name="Deposit").click()

    def sell(self, title: str, *, start: str, reserve: str) -> None:
        self.page.get_by_label("Title").fill(title)
        self.page.get_by_label("Starting price").fill(start)
        self.page.get_by_label("Reserve").fill(reserve)
        self.page.get_by_role("button", name="Open the auction").click()
        self.told(f"{title} is open for bids.")

    def choose(self, title: str) -> None:
        self.page.locator("#lots").get_by_role("button", name=title).click()
        expect(self.page.locator("#auction-title")).to_have_text(title)

    def bid(self, amount: str) -> None:
        self.page.get_by_label("Your bid").fill(amount)
        self.page.get_by_role("button", name="Bid", exact=True).click()

    def told(self, text: str) -> None:
        expect(self.page.locator("#notice")).to_have_text(text)

    def has(self, money: str) -> None:
        expect(self.page.locator("#money")).to_have_text(money)

    def stands(self, text: str) -> None:
        expect(self.page.locator("#standing")).to_have_text(text)

    def sees_bids(self, *bids: str) -> None:
        items = self.page.locator("#bids li")
        expect(items).to_have_count(len(bids))
        for item, bid in zip(items.all(), bids, strict=True):
            expect(item).to_contain_text(bid)


def _sample(folder: Path, port: int = 0) -> AbstractContextManager[Dev]:
    """Serve the sample in one process, and kill it with SIGKILL at the end of the block."""
    web = str(SAMPLE / "web")
    return dev(folder, str(SAMPLE / "auction_house"), "--web", web, "--no-reload", "--port", str(port))


def _lose_the_answer(route: Route) -> None:
    """Let the server handle the request, and drop the response."""
    assert route.fetch().ok
    route.abort()


def test_two_bidders_compete_and_a_kill_loses_and_doubles_nothing(browser: Browser, tmp_path: Path) -> None:
    with _sample(tmp_path) as server:
        url = server.url
        zoe, ann, ben = (Person(browser, url, name) for name in ("zoe", "ann", "ben"))
        ann.deposit("100.00")
        ben.deposit("90.00")
        zoe.sell("Clock", start="10.00", reserve="50.00")
        ann.choose("Clock")
        ann.bid("60")
        ann.told("Your bid of 60.00 is in.")
        ann.has("40.00 free, 60.00 held")
        ben.page.route("**/deposit", _lose_the_answer, times=1)
        ben.deposit("20.00")
        ben.has("110.00 free, 0.00 held")

    expect(ben.page.locator("#offline")).to_be_visible()
    ann.deposit_unheard("5.00")

    with _sample(tmp_path, urlsplit(url).port or 0):
        ann.told("5.00 deposited.")
        ann.has("45.00 free, 60.00 held")
        ben.choose("Clock")
        expect(ben.page.locator("#offline")).to_be_hidden()
        ben.bid("60.00")
        ben.told("bid at least 60.01")
        ben.bid("110.01")
        ben.told("ben has 110.00 free, the bid needs 110.01")
        ben.has("110.00 free, 0.00 held")
        ben.bid("70")
        ben.told("Your bid of 70.00 is in.")
        ann.stands("You were outbid.")
        ann.has("105.00 free, 0.00 held")
        zoe.sees_bids("70.00 by ben", "60.00 by ann")

        ben.page.reload()
        ben.stands("You lead.")
        ben.has("40.00 free, 70.00 held")
        ben.sees_bids("70.00 by ben", "60.00 by ann")

        zoe.page.get_by_role("button", name="Close the auction").click()
        zoe.told("Sold to ben for 70.00.")
        zoe.has("70.00 free, 0.00 held")
        ben.stands("You won.")
        ben.has("40.00 free, 0.00 held")
        expect(zoe.page.locator("#lots li")).to_have_count(0)

    assert [person.troubles for person in (zoe, ann, ben)] == [[], [], []]


def test_an_unchanged_list_is_not_sent_again_and_keeps_the_focus(browser: Browser, tmp_path: Path) -> None:
    with _sample(tmp_path) as server:
        zoe = Person(browser, server.url, "zoe")
        zoe.sell("Clock", start="10.00", reserve="0")
        lot = zoe.page.locator("#lots button")
        lot.focus()
        with zoe.page.expect_response(lambda answer: answer.status == 304 and "/Catalogue/" in answer.url) as answer:
            pass
        assert answer.value.request.headers["if-none-match"]
        expect(lot).to_be_focused()

    assert zoe.troubles == []
