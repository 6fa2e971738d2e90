"""``goverse dev`` carries out reliable calls once, although its server is killed between sending and delivery."""

from pathlib import Path

import httpx
import pytest

from tests.integration.cli.processes import PATIENCE_S, Dev, dev, until

APPLICATION = """
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
"""

ORDERS = 20


def _state(server: Dev, path: str) -> dict[str, object]:
    answer = httpx.get(f"{server.url}/objects/{path}", timeout=PATIENCE_S)
    assert answer.status_code == 200, answer.text
    found: dict[str, object] = answer.json()
    return found


@pytest.mark.requirement("DUR-3")
def test_calls_that_were_sent_before_a_kill_take_effect_once(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APPLICATION, encoding="utf-8")
    for delay_s in (0.5, 0.001):
        with dev(tmp_path, "app.py", "--no-reload") as server:  # its end is a SIGKILL
            order = f"{server.url}/objects/Buyer/b/call/order"
            for _ in range(ORDERS):
                answer = httpx.post(order, json={"delay_s": delay_s}, timeout=PATIENCE_S)
                assert answer.status_code == 200, answer.text

    with dev(tmp_path, "app.py", "--no-reload") as server:
        until(lambda: _state(server, "Buyer/b")["ended"] == ["success"] * (2 * ORDERS), "all outcomes")
        assert _state(server, "Shop/s") == {"sold": 2 * ORDERS}
        assert _state(server, "Buyer/b")["sent"] == 2 * ORDERS
