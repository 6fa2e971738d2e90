"""One member's channel, and the one that replaces it when certificates change.

gRPC gives a channel its certificates once, and connects it again with the same ones. So a change opens another channel
beside the first; it takes over as soon as it ready, or as soon as the first one ready no more. What is under way on
the first one is finished, or repeated like anything whose connection broke.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, cast

import grpc

_ASIDE_S: Final = 2.0  # for what is under way on the channel that is replaced
_ASK_WHY_S: Final = 0.25
_READY: Final = grpc.ChannelConnectivity.READY

logger = logging.getLogger("goverse.etcd")


class RenewedChannel:
    """A channel made with the newest certificates that it could be made with.

    Attributes:
        current: what requests go over.
        replaced: how often that became another one.
    """

    def __init__(self, address: str, open_channel: Callable[[], grpc.aio.Channel], connect_timeout_s: float) -> None:
        """Use what ``open_channel`` opens; say so where the next one does not stand within ``connect_timeout_s``."""
        self.current = open_channel()
        self.replaced = 0
        self._address = address
        self._open = open_channel
        self._connect_timeout_s = connect_timeout_s
        self._renewing: asyncio.Task[None] | None = None

    def renew(self) -> None:
        """Certificates changed: begin to use them."""
        if self._renewing is not None:
            self._renewing.cancel()
        self._renewing = asyncio.get_running_loop().create_task(self._renew(), name="goverse-etcd-renew")

    async def close(self) -> None:
        """Hang up; what is under way fails."""
        if self._renewing is not None:
            self._renewing.cancel()
            with suppress(asyncio.CancelledError):
                await self._renewing
        await self.current.close()

    async def _renew(self) -> None:
        old, fresh = self.current, self._open()
        ready, left = asyncio.ensure_future(_until_ready(fresh)), asyncio.ensure_future(_until_left(old))
        try:
            if not await _first(ready, left, self._connect_timeout_s):
                told = {"member": self._address, "reason": await why(fresh)}
                logger.warning("new certificates do not do for a connection; the one from before is used", extra=told)
                await _first(ready, left, None)
            self.current, fresh = fresh, old
            self.replaced += 1
            if not left.done():
                await asyncio.wait((left,), timeout=_ASIDE_S)
        finally:
            for waiting in (ready, left):
                waiting.cancel()
            await fresh.close()


async def why(channel: grpc.aio.Channel) -> str:
    """Return why a channel does not stand, "" where it may."""
    call = cast("Any", channel).unary_unary("/goverse.etcd/Why")  # never sent: it fails as the connection did
    try:
        await call(b"", timeout=_ASK_WHY_S)
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            return (error.details() or "").removeprefix("failed to connect to all addresses; last error: ")
    except grpc.aio.UsageError:  # closed meanwhile
        return ""
    return ""


async def _first(ready: asyncio.Future[None], left: asyncio.Future[None], timeout_s: float | None) -> bool:
    done, _ = await asyncio.wait((ready, left), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    return bool(done)


async def _until_ready(channel: grpc.aio.Channel) -> None:
    while (state := channel.get_state(try_to_connect=True)) is not _READY:
        await channel.wait_for_state_change(state)


async def _until_left(channel: grpc.aio.Channel) -> None:
    if channel.get_state() is _READY:
        await channel.wait_for_state_change(_READY)
