"""The gRPC channel to one etcd member, replaced when certificates change.

gRPC binds certificates to a channel when it is created, and reconnects with the same ones. After a change a second
channel is therefore opened beside the first. It takes over as soon as it is connected, or as soon as the first one has
lost its connection. Requests in progress on the old channel are finished, or retried like any request whose connection
broke.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, cast

import grpc

_ASIDE_S: Final = 2.0  # time for requests in progress on a channel that was replaced
_ASK_WHY_S: Final = 0.25
_READY: Final = grpc.ChannelConnectivity.READY

logger = logging.getLogger("goverse.etcd")


class RenewedChannel:
    """A channel that uses the newest valid certificates.

    Attributes:
        current: the channel for requests.
        replaced: how many times ``current`` was replaced.
    """

    def __init__(self, address: str, open_channel: Callable[[], grpc.aio.Channel], connect_timeout_s: float) -> None:
        """Open the first channel. Logs a warning if a new one does not connect within ``connect_timeout_s``."""
        self.current = open_channel()
        self.replaced = 0
        self._address = address
        self._open = open_channel
        self._connect_timeout_s = connect_timeout_s
        self._renewing: asyncio.Task[None] | None = None

    def renew(self) -> None:
        """Start to use the newest certificates."""
        if self._renewing is not None:
            self._renewing.cancel()
        self._renewing = asyncio.get_running_loop().create_task(self._renew(), name="goverse-etcd-renew")

    async def close(self) -> None:
        """Close the channel; requests in progress fail."""
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
                fields = {"member": self._address, "reason": await why(fresh)}
                logger.warning("cannot connect with new TLS certificates; still using the previous ones", extra=fields)
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
    """Return why a channel is not connected, or "" if it may be."""
    call = cast("Any", channel).unary_unary("/goverse.etcd/Why")  # never sent: it fails as the connection did
    try:
        await call(b"", timeout=_ASK_WHY_S)
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            return (error.details() or "").removeprefix("failed to connect to all addresses; last error: ")
    except grpc.aio.UsageError:  # the channel was closed
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
