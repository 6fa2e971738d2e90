"""``goverse dev`` keeps reliable calls and results although it is killed, and gives up a call that kills it."""

from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.integration.cli.processes import PATIENCE_S, Dev, dev, until

APPLICATION = """
import os
from datetime import timedelta

from goverse import Object, Outcome, call, handler


class Shop(Object):
    sold: int = 0

    @handler
    async def buy(self) -> int:
        self.sold += 1
        return self.sold


class Buyer(Object):
    sent: int = 0
    ended: list[str] = []

    @call
    def order(self, delay_s: float) -> None:
        self.sent += 1
        self.sending(then=self.bought, delay=timedelta(seconds=delay_s))(self.ref(Shop, "s").buy)

    @handler
    async def bought(self, outcome: Outcome[int]) -> None:
        self.ended.append(outcome.state)


class Till(Object):
    @call
    async def charge(self, end: bool) -> int:
        def work() -> int:
            with open("charges", "a+") as charges:
                charges.write("x")
                return charges.tell()

        number = await self.once("charge", work)
        if end:
            os._exit(9)
        return number
"""

ORDERS = 20
ACCEPTED = 5  # calls that are accepted before each kill
CHARGE = "/objects/Till/t/call/charge"


def _state(server: Dev, path: str) -> dict[str, object]:
    answer = httpx.get(f"{server.url}/objects/{path}", timeout=PATIENCE_S)
    assert answer.status_code == 200, answer.text
    found: dict[str, object] = answer.json()
    return found


@pytest.mark.requirement("DUR-3", "DUR-7")
def test_calls_and_results_from_before_a_kill_take_effect_once(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APPLICATION, encoding="utf-8")
    for delay_s in (0.5, 0.001):
        with dev(tmp_path, "app.py", "--no-reload") as server:  # its end is a SIGKILL
            order = f"{server.url}/objects/Buyer/b/call/order"
            for _ in range(ORDERS):
                answer = httpx.post(order, json={"delay_s": delay_s}, timeout=PATIENCE_S)
                assert answer.status_code == 200, answer.text
            with pytest.raises(httpx.HTTPError):
                httpx.post(f"{server.url}{CHARGE}", json={"end": True}, timeout=PATIENCE_S)

    with dev(tmp_path, "app.py", "--no-reload") as server:
        assert httpx.post(f"{server.url}{CHARGE}", json={"end": False}, timeout=PATIENCE_S).json() == 1
        until(lambda: _state(server, "Buyer/b")["ended"] == ["success"] * (2 * ORDERS), "all outcomes")
        assert _state(server, "Shop/s") == {"sold": 2 * ORDERS}
        assert _state(server, "Buyer/b")["sent"] == 2 * ORDERS


FATAL = """
import os
import signal

from goverse import Object, Outcome, call, handler


class Shop(Object):
    sold: int = 0

    @call
    def count(self) -> int:
        self.sold += 1
        return self.sold

    @handler
    async def buy(self) -> None:
        self.sold += 1

    @handler
    async def explode(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Buyer(Object):
    ended: dict[str, str] = {}

    @call
    def order(self, shops: int) -> None:
        for number in range(shops):
            self.sending(then=self.bought, id=f"c{number}")(self.ref(Shop, f"s{number}").buy)
            if number == shops // 2:
                self.sending(then=self.bought, id="bad")(self.ref(Shop, f"s{number}").explode)
                self.sending(then=self.bought, id="next")(self.ref(Shop, f"s{number}").buy)

    @handler
    async def bought(self, outcome: Outcome[None]) -> None:
        problem = outcome.problem
        self.ended[outcome.id] = outcome.state if problem is None else f"{outcome.state} {problem.code}"
"""

SHOPS = 7
STARTS = 4  # that the call ends: the one that it was sent to first, and three trials
PLAIN_CALLS = 10


def _answered(server: Dev, key: str, path: str = "Shop/plain/call/count", **arguments: int) -> bool:
    """Make a plain call, and return True unless it was cut off."""
    url = f"{server.url}/objects/{path}"
    try:
        answer = httpx.post(url, json=arguments, headers={"Idempotency-Key": key}, timeout=PATIENCE_S)
    except httpx.TransportError:
        return False
    return answer.status_code == 200


def _has_ended(server: Dev, ends: int) -> bool:
    return server.count("was ended by SIGKILL") >= ends


@pytest.mark.requirement("DUR-3")
def test_a_call_that_kills_its_server_is_given_up_and_harms_no_other_call(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(FATAL, encoding="utf-8")
    with dev(tmp_path, "app.py") as server:
        until(lambda: _answered(server, "order", "Buyer/b/call/order", shops=SHOPS), "the answer to the order")
        for number in range(PLAIN_CALLS):
            until(partial(_answered, server, f"k{number}"), "the answer to a plain call")

        for ends in range(1, STARTS + 1):
            until(partial(_has_ended, server, ends), f"end {ends} of the server")
        until(lambda: _answered(server, "k0"), "the next start")
        expected = {f"c{number}": "success" for number in range(SHOPS)}
        expected |= {"bad": "dead suspected_crash", "next": "success"}
        until(lambda: _state(server, "Buyer/b")["ended"] == expected, "all outcomes")
        sold = [_state(server, f"Shop/s{number}")["sold"] for number in range(SHOPS)]
        assert sold == [2 if number == SHOPS // 2 else 1 for number in range(SHOPS)]
        assert _state(server, "Shop/plain") == {"sold": PLAIN_CALLS}
        assert server.count("was ended by SIGKILL") == STARTS


@pytest.mark.requirement("GATE-11")
def test_calls_that_were_accepted_before_a_kill_take_effect_once(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APPLICATION, encoding="utf-8")
    places: list[str] = []
    for delay in ("0.5", "0"):
        with dev(tmp_path, "app.py") as server, httpx.Client(base_url=server.url, timeout=PATIENCE_S) as client:
            for _ in range(ACCEPTED):
                headers = {"Prefer": "respond-async", "GoVerse-Delay": delay}
                answer = client.post("/objects/Buyer/b/call/order", json={"delay_s": 0.001}, headers=headers)
                assert answer.status_code == 202, answer.text
                places.append(answer.headers["location"])
            # the end of the block is a SIGKILL

    with dev(tmp_path, "app.py") as server, httpx.Client(base_url=server.url, timeout=PATIENCE_S + 10) as client:
        for place in places:
            assert client.get(f"{place}?wait=60").json()["state"] == "success"
        assert len(set(places)) == 2 * ACCEPTED
        assert _state(server, "Buyer/b")["sent"] == 2 * ACCEPTED
        until(lambda: _state(server, "Buyer/b")["ended"] == ["success"] * (2 * ACCEPTED), "all outcomes")
        assert _state(server, "Shop/s") == {"sold": 2 * ACCEPTED}
