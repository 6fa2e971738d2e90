"""A test host delivers reliable calls on request."""

from __future__ import annotations

from datetime import timedelta

import pytest

from goverse import GoverseError, Object, call, handler
from goverse.testing import ObjectHost

pytestmark = pytest.mark.requirement("DUR-3")


class Bell(Object):
    rung: int = 0

    @handler
    async def ring(self, echo: int = 0) -> None:
        self.rung += 1
        if echo:
            self.send(self.ring, echo=echo - 1)

    @handler
    async def crack(self) -> None:
        raise RuntimeError("a bug")


class Rope(Object):
    @call
    async def pull(self, echo: int) -> None:
        self.send(self.ref(Bell, "b").ring, echo=echo)
        self.sending(delay=timedelta(hours=1))(self.ref(Bell, "b").ring)

    @call
    async def tear(self) -> None:
        self.send(self.ref(Bell, "b").crack)


async def test_calls_and_those_that_they_send_are_delivered_without_delayed_ones() -> None:
    async with ObjectHost(Bell, Rope) as host:
        await host.ref(Rope, "r").pull(echo=5)
        await host.deliver()
        assert await host.state(Bell, "b") == {"rung": 6}


async def test_calls_that_are_pending_at_a_restart_are_delivered_afterwards() -> None:
    async with ObjectHost(Bell, Rope) as host:
        await host.ref(Rope, "r").pull(echo=5)
        await host.restart()
        await host.deliver()
        assert await host.state(Bell, "b") == {"rung": 6}


async def test_an_error_names_the_calls_that_wait_and_the_reason() -> None:
    async with ObjectHost(Bell, Rope, timeout_s=0.5) as host:
        await host.ref(Rope, "r").tear()
        with pytest.raises(GoverseError, match=r"Bell/b\.crack from .*Rope/r .*the last attempt: method_failed"):
            await host.deliver()
