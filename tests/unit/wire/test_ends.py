"""A stream that is ending: its tasks are already cancelled, and its owner still uses it."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from goverse.ports.link import Readiness
from goverse.wire.connection import Connection
from goverse.wire.handshake import agree
from goverse.wire.incoming import Occupancy
from goverse.wire.options import WireOptions
from goverse.wire.outgoing import Outgoing
from goverse.wire.peer import Peer
from goverse.wire.stats import WireStats
from goverse.wire.v1 import wire_pb2 as messages
from tests.links import GATE, NODE
from tests.nodes import settle

pytestmark = pytest.mark.requirement("GATE-8")


class Stream:
    """Both sides of a stream that never carries a message."""

    async def read(self) -> bytes:
        await asyncio.Event().wait()
        raise AssertionError

    async def write(self, message: bytes) -> None:
        assert message

    def cancel(self) -> None:
        """Do nothing: no call is in progress."""

    def stream_stream(self, _method: str) -> Any:
        return lambda: self


class Silent:
    """A link that only reports that it is ready."""

    def readiness(self) -> Readiness:
        return Readiness(True, (), 0)


async def test_draining_continues_with_the_other_peers_when_one_closes() -> None:
    peer = Peer(
        GATE,
        agree(NODE, GATE),
        link=cast("Any", Silent()),
        options=WireOptions(),
        occupancy=Occupancy(10),
        stats=WireStats(),
    )
    running = asyncio.create_task(peer.run(cast("Any", Stream()), messages.Envelope()))
    await settle()
    peer.end()
    await asyncio.sleep(0)  # `run` noticed the end ...
    await asyncio.sleep(0)  # ... and cancelled its writer, which has not ended yet
    assert not running.done()

    peer.go_away("the node is shutting down")

    await running


async def test_a_request_submitted_while_its_connection_ends_is_sent_over_the_next_one() -> None:
    outgoing = Outgoing(inflight_max=10, bytes_max=1_000, body_bytes_max=1_000)
    connection = Connection(cast("Any", Stream()), outgoing, WireOptions(), on_goaway=lambda: None, stats=WireStats())
    running = asyncio.create_task(connection.run())
    await settle()
    running.cancel()
    await asyncio.sleep(0)
    assert not running.done()

    connection.wake_writer()

    assert isinstance((await asyncio.gather(running, return_exceptions=True))[0], asyncio.CancelledError)
