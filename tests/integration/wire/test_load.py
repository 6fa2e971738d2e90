"""Many requests, large bodies, and peers that stop reading: memory and queues stay bounded."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any, cast

import grpc
import pytest

from goverse.model.frames import Operation, Reply, Request
from goverse.model.keys import ObjectKey
from goverse.testing.link_objects import Door
from goverse.wire import codec
from goverse.wire.connection import METHOD
from goverse.wire.v1 import wire_pb2 as messages
from tests.gate.link import PlainLink
from tests.integration.wire.asking import ask, outcome
from tests.links import GATE, QUICK, ledgers, link_to, pair, server_of, stranger
from tests.nodes import until

MIB = 1024 * 1024


async def test_ten_thousand_requests_at_once_are_all_answered() -> None:
    async with pair() as ends:
        replies = await asyncio.gather(*(ask(ends.link, "add", f"o{index % 1000}") for index in range(10_000)))

        assert Counter(int(reply.body) for reply in replies) == dict.fromkeys(range(1, 11), 1000)


async def test_large_bodies_beside_small_ones() -> None:
    async with pair() as ends:
        text = "x" * (MIB - 100)
        large = [ask(ends.link, "repeat", f"o{index}", arguments={"text": text}) for index in range(32)]
        small = [ask(ends.link, "add", "small") for _ in range(100)]

        assert [int((await future).body) for future in small] == list(range(1, 101))
        assert {len((await future).body) for future in large} == {len(text) + 2}


async def test_more_requests_than_a_server_takes_are_refused_and_not_executed() -> None:
    async with ledgers() as node:
        few = replace(QUICK, inflight_max=10)
        async with server_of(node, options=few) as (server, address), link_to(address) as link:
            Door.waiting = []
            replies = [ask(link, "add_later", f"o{index}") for index in range(15)]
            await until(lambda: server.inflight == 10)
            refused = [future for future in replies if future.done()]
            await until(lambda: len(Door.waiting) == 10)
            Door.open()

            assert Counter([outcome(await future) for future in replies]) == {("", None): 10, ("overloaded", "no"): 5}
            assert len(refused) == 5


async def test_all_streams_of_a_server_share_one_bound() -> None:
    options = replace(QUICK, inflight_total_max=4)
    async with (
        ledgers() as node,
        server_of(node, options=options) as (server, address),
        link_to(address) as one,
        link_to(address) as other,
    ):
        Door.waiting = []
        held = [ask(one, "add_later", f"o{index}") for index in range(4)]
        await until(lambda: server.inflight == 4)

        assert outcome(await ask(other, "add")) == ("overloaded", "no")
        await until(lambda: len(Door.waiting) == 4)
        Door.open()
        await asyncio.gather(*held)
        assert (await ask(other, "add")).body == b"1"


async def test_more_streams_than_a_server_serves_are_turned_away() -> None:
    options = replace(QUICK, streams_max=1)
    async with (
        ledgers() as node,
        server_of(node, options=options) as (_, address),
        link_to(address),
        link_to(address, connected=False) as second,
    ):
        assert outcome(await ask(second, "add")) == ("unavailable", "no")
        await until(lambda: "too many streams" in second.state.reason)  # gRPC may lose the reason of one attempt


def _large_replies() -> PlainLink:
    link = PlainLink()
    link.replies = lambda request: Reply(bytes(MIB))
    return link


def _requests(count: int) -> bytes:
    """Return an envelope of a peer that does not limit the number of its requests."""
    envelope = messages.Envelope()
    codec.write_hello(GATE, envelope.hello)
    request = Request(Operation.CALL, ObjectKey("default", "Counter", "c"), "read", b"", 100.0, "r")
    codec.write_requests([(number, request) for number in range(1, count + 1)], 0.0, envelope)
    return envelope.SerializeToString()


@pytest.mark.requirement("GATE-9")
async def test_a_peer_that_takes_no_replies_is_cut_off_before_they_fill_the_memory() -> None:
    options = replace(QUICK, replies_bytes=16 * MIB, replies_bytes_max=64 * MIB)
    async with (
        server_of(_large_replies(), options=options) as (server, address),
        grpc.aio.insecure_channel(address) as channel,
    ):
        call = cast("Any", channel).stream_stream(METHOD)()
        await call.write(_hello())
        await call.write(_requests(200))
        await until(lambda: len(server.peers) == 1)
        await until(lambda: server.peers == ())

        assert server.inflight == 0
        received = 0
        while (data := await asyncio.wait_for(call.read(), 10)) is not grpc.aio.EOF:
            received += len(data)
        assert received < 64 * MIB


@pytest.mark.requirement("GATE-9")
async def test_nothing_more_is_read_from_a_peer_that_does_not_take_its_replies() -> None:
    link = _large_replies()
    options = replace(QUICK, replies_bytes=4 * MIB)
    async with (
        server_of(link, options=options) as (_, address),
        grpc.aio.insecure_channel(address, options=[("grpc.max_receive_message_length", -1)]) as channel,
    ):
        call = cast("Any", channel).stream_stream(METHOD)()
        await call.write(_hello())
        for number in range(1, 41):
            await call.write(_one_request(number))
        await until(lambda: len(link.requests) >= 4)
        taken = await _standstill(lambda: len(link.requests))
        assert taken < 40

        answered = 0
        while answered < 40:
            envelope = messages.Envelope.FromString(await call.read())
            answered += len(envelope.replies)
        assert len(link.requests) == 40
        call.cancel()


def _hello() -> bytes:
    envelope = messages.Envelope()
    codec.write_hello(GATE, envelope.hello)
    return envelope.SerializeToString()


def _one_request(number: int) -> bytes:
    envelope = messages.Envelope()
    request = Request(Operation.CALL, ObjectKey("default", "Counter", "c"), "read", b"", 100.0, "r")
    codec.write_requests([(number, request)], 0.0, envelope)
    return envelope.SerializeToString()


async def _standstill(count: Any) -> int:
    """Wait until a number has not changed for half a second, and return it."""
    loop = asyncio.get_running_loop()
    last, since = count(), loop.time()

    def stands() -> bool:
        nonlocal last, since
        if count() != last:
            last, since = count(), loop.time()
        return loop.time() - since > 0.5

    await until(stands)
    return int(last)


async def test_a_server_that_takes_nothing_is_cut_off_and_sending_is_bounded() -> None:
    """The server completes the handshake and then stops reading."""
    stop = asyncio.Event()

    async def connect(_requests: object, context: Any) -> None:
        await context.read()
        envelope = messages.Envelope()
        codec.write_hello(GATE, envelope.hello)
        await context.write(envelope.SerializeToString())
        await stop.wait()

    options = replace(QUICK, requests_bytes_max=8 * MIB, write_stall_timeout_s=0.5, tick_s=0.02)
    async with stranger(connect) as address, link_to(address, options=options) as link:
        body = {"text": "x" * (MIB - 100)}
        first = [ask(link, "repeat", arguments=body) for _ in range(8)]
        outcomes = Counter([outcome(await future) for future in [*first, ask(link, "repeat", arguments=body)]])

        assert outcomes[("overloaded", "no")] >= 1
        assert outcomes[("unavailable", "unknown")] >= 1
        assert outcomes[("unavailable", "no")] >= 1
        stop.set()
