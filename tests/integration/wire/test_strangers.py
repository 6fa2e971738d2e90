"""Peers that are older, newer, broken or malicious."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, cast

import grpc
import pytest

from goverse.errors import Unavailable
from goverse.ports.link import Readiness
from goverse.wire import codec
from goverse.wire.connection import METHOD
from goverse.wire.handshake import CANCEL, FEATURES, LIST, READINESS, RESERVED, Hello
from goverse.wire.link_state import LinkPhase
from goverse.wire.v1 import wire_pb2 as messages
from tests.integration.wire.asking import ask, outcome
from tests.links import GATE, NODE, QUICK, ledgers, link_to, server_of, stranger
from tests.nodes import until

PLAIN = frozenset[str]()


@asynccontextmanager
async def stream_to(address: str) -> AsyncIterator[Any]:
    """Open a raw stream, on which a test can break the protocol."""
    async with grpc.aio.insecure_channel(address) as channel:
        call = cast("Any", channel).stream_stream(METHOD)()
        yield call
        call.cancel()


def hello(said: Hello = GATE) -> messages.Envelope:
    envelope = messages.Envelope()
    codec.write_hello(said, envelope.hello)
    return envelope


async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    """Read until the stream ends, and return its status and details."""
    with suppress(grpc.aio.AioRpcError):
        while await asyncio.wait_for(call.read(), 10) is not grpc.aio.EOF:
            continue
    return await call.code(), await call.details()


# --- mixed versions ---------------------------------------------------------------------------------------------------


@pytest.mark.requirement("QUA-6")
@pytest.mark.parametrize("older", ["gate", "node"])
async def test_a_peer_without_any_feature_is_served(older: str) -> None:
    gate = replace(GATE, features=PLAIN if older == "gate" else FEATURES | {"telepathy"})
    node = replace(NODE, features=PLAIN if older == "node" else FEATURES | {"telepathy"})
    async with (
        ledgers() as hosted,
        server_of(hosted, hello=node) as (server, address),
        link_to(address, hello=gate) as link,
    ):
        assert (await ask(link, "add")).body == b"1"
        assert link.readiness().ready
        with pytest.raises(Unavailable, match="does not support listings"):
            await link.list("default", "Ledger", prefix="", after=None, limit=1)
        running = ask(link, "add_later")
        await until(lambda: server.inflight == 1)
        running.cancel()
        assert (await ask(link, "add", "other")).body == b"1"
        assert link.state.phase is LinkPhase.CONNECTED


@pytest.mark.requirement("QUA-6")
@pytest.mark.parametrize("newer", ["gate", "node"])
async def test_a_peer_with_reserved_features_is_served(newer: str) -> None:
    gate = replace(GATE, features=FEATURES | RESERVED if newer == "gate" else FEATURES)
    node = replace(NODE, features=FEATURES | RESERVED if newer == "node" else FEATURES)
    async with ledgers() as hosted, server_of(hosted, hello=node) as (_, address), link_to(address, hello=gate) as link:
        assert (await ask(link, "add")).body == b"1"
        assert await link.list("default", "Ledger", prefix="", after=None, limit=1)


@pytest.mark.requirement("QUA-6")
async def test_a_peer_without_a_common_version_is_refused_and_the_error_names_both() -> None:
    future_node = replace(NODE, versions=(7,), release="9.0")
    async with (
        ledgers() as hosted,
        server_of(hosted, hello=future_node) as (_, address),
        link_to(address, connected=False) as link,
    ):
        assert outcome(await ask(link, "add")) == ("unavailable", "no")
        assert "supports 1" in link.state.reason
        assert "node n1 (9.0) supports 7" in link.state.reason


@pytest.mark.requirement("QUA-6")
async def test_both_sides_know_the_identity_of_the_other() -> None:
    async with ledgers() as hosted, server_of(hosted) as (server, address), link_to(address) as link:
        assert link.state.peer is not None
        assert (link.state.peer.id, link.state.peer.incarnation) == ("n1", "i1")
        assert [peer.id for peer in server.peers] == ["g1"]


# --- readiness --------------------------------------------------------------------------------------------------------


async def test_readiness_follows_the_node() -> None:
    async with ledgers() as hosted, server_of(hosted) as (_, address), link_to(address) as link:
        await until(lambda: link.readiness().ready)
        await hosted.stop(0.0)
        await until(lambda: link.readiness().reasons == ("the node is shutting down",))
        assert not link.readiness().ready


async def test_a_position_seen_in_a_reply_counts_immediately() -> None:
    async with ledgers() as hosted, server_of(hosted) as (_, address), link_to(address) as link:
        for _ in range(20):
            reply = await ask(link, "add")
            assert link.readiness().commit_seq >= reply.commit_seq > 0


# --- peers that break the rules ---------------------------------------------------------------------------------------

Say = Callable[[Any], Awaitable[None]]


async def _nonsense_first(call: Any) -> None:
    await call.write(b"\xff\xff\xff")


async def _no_hello(call: Any) -> None:
    await call.write(messages.Envelope(ping=1).SerializeToString())


async def _nonsense_later(call: Any) -> None:
    await call.write(hello().SerializeToString())
    await call.write(b"\x12\xff")


async def _an_id_twice(call: Any) -> None:
    envelope = hello()
    for _ in range(2):
        envelope.requests.add(
            id=5, operation=messages.OPERATION_CALL, namespace="default", type="Ledger", object_id="a"
        )
    await call.write(hello().SerializeToString())
    await call.write(envelope.SerializeToString())


async def _cancels_without_the_feature(call: Any) -> None:
    await call.write(hello(replace(GATE, features=frozenset({LIST}))).SerializeToString())
    await call.write(messages.Envelope(cancels=[1]).SerializeToString())


async def _lists_without_the_feature(call: Any) -> None:
    await call.write(hello(replace(GATE, features=frozenset({CANCEL, READINESS}))).SerializeToString())
    await call.write(messages.Envelope(list_requests=[messages.ListRequest(id=1)]).SerializeToString())


@pytest.mark.parametrize(
    "say",
    [
        _nonsense_first,
        _no_hello,
        _nonsense_later,
        _an_id_twice,
        _cancels_without_the_feature,
        _lists_without_the_feature,
    ],
)
async def test_a_peer_that_breaks_a_rule_is_cut_off_and_other_peers_are_not_affected(say: Say) -> None:
    async with ledgers() as hosted, server_of(hosted) as (server, address), link_to(address) as link:
        async with stream_to(address) as call:
            await say(call)
            code, details = await refusal(call)

        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert details
        assert (await ask(link, "add")).body == b"1"
        assert [peer.id for peer in server.peers] == ["g1"]


async def test_a_silent_peer_is_refused() -> None:
    async with ledgers() as hosted, server_of(hosted, options=replace(QUICK, connect_timeout_s=0.1)) as (_, address):
        async with stream_to(address) as call:
            code, details = await refusal(call)

        assert (code, "in time" in details) == (grpc.StatusCode.INVALID_ARGUMENT, True)


async def test_a_message_beyond_the_bound_ends_the_stream() -> None:
    async with ledgers() as hosted, server_of(hosted) as (_, address), link_to(address) as link:
        async with stream_to(address) as call:
            await call.write(hello().SerializeToString())
            await call.write(bytes(QUICK.message_bytes_max + 1))
            code, _ = await refusal(call)

        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await ask(link, "add")).body == b"1"


async def test_a_bad_request_among_good_ones_is_answered_alone() -> None:
    async with ledgers() as hosted, server_of(hosted) as (_, address), stream_to(address) as call:
        envelope = hello()
        for number, name in enumerate(("Ledger", "no name", "Ledger"), 1):
            envelope.requests.add(
                id=number, operation=messages.OPERATION_CALL, namespace="default", type=name, object_id="a",
                method="add", remaining_ms=10_000,
            )  # fmt: skip
        await call.write(hello().SerializeToString())
        await call.write(envelope.SerializeToString())
        replies: dict[int, messages.Reply] = {}
        while len(replies) < 3:
            arrived = messages.Envelope.FromString(await asyncio.wait_for(call.read(), 10))
            replies |= {reply.id: reply for reply in arrived.replies}

        assert (replies[1].body, replies[2].problem.code, replies[3].body) == (b"1", "malformed_request", b"2")


def _damaged(envelope: messages.Envelope) -> bytes:
    envelope.replies.add(id=1).problem.detail = "a problem without a code"
    return envelope.SerializeToString()


@pytest.mark.parametrize(
    ("rubbish", "code"), [(b"\xff\xff", "unavailable"), (_damaged(messages.Envelope()), "peer_error")]
)
async def test_requests_to_a_server_that_replies_with_garbage_are_unknown(rubbish: bytes, code: str) -> None:
    async def connect(_requests: object, context: Any) -> None:
        await context.read()
        await context.write(hello(NODE).SerializeToString())
        await context.read()
        await context.write(rubbish)
        await asyncio.Event().wait()

    async with stranger(connect) as address, link_to(address) as link:
        assert outcome(await ask(link, "add")) == (code, "unknown")


def test_readiness_is_false_before_the_node_reported_it() -> None:
    assert codec.read_readiness(messages.Readiness()) == Readiness(False, (), 0)
