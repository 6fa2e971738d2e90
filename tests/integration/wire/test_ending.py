"""The end of a link server: drains, closed links and stops; its health service; an address in use."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from goverse.errors import ConfigError
from goverse.model.keys import ObjectKey
from goverse.testing.link_objects import Door
from goverse.wire import codec
from goverse.wire.connection import METHOD
from goverse.wire.link_state import LinkPhase
from goverse.wire.server import SERVICE, LinkServer
from goverse.wire.v1 import wire_pb2 as messages
from tests.integration.wire.asking import ask, outcome
from tests.links import GATE, NODE, ledgers, link_to, pair, server_of
from tests.nodes import until

pytestmark = pytest.mark.requirement("GATE-8")


@pytest.fixture(autouse=True)
def shut_door() -> None:
    Door.waiting = []


async def test_a_draining_server_refuses_new_requests_and_finishes_running_ones() -> None:
    async with pair() as ends:
        running = ask(ends.link, "add_later")
        await until(lambda: bool(Door.waiting))
        draining = asyncio.create_task(ends.server.drain(10.0, "moving house"))
        await until(lambda: ends.link.state.draining)

        assert outcome(await ask(ends.link, "add", "b")) == ("draining", "no")
        assert ends.link.readiness().reasons == ("moving house",)
        Door.open()
        assert (await running).body == b"1"
        await draining
        await until(lambda: ends.link.state.phase is LinkPhase.BROKEN)
        assert outcome(await ask(ends.link, "add", "b")) == ("unavailable", "no")


async def test_a_draining_server_accepts_requests_that_its_turns_wait_for() -> None:
    async with pair() as ends:
        running = ask(ends.link, "add_later")
        await until(lambda: bool(Door.waiting))
        draining = asyncio.create_task(ends.server.drain(10.0))
        await until(lambda: ends.link.state.draining)

        helping = await ask(ends.link, "add", "b", chain=(ObjectKey("default", "Ledger", "a"),))

        assert helping.body == b"1"
        Door.open()
        assert (await running).body == b"1"
        await draining


async def test_requests_in_transit_when_a_drain_begins_are_answered_and_none_is_unknown() -> None:
    async with pair() as ends:
        answers = [ask(ends.link, "add", f"o{index}") for index in range(300)]
        draining = asyncio.create_task(ends.server.drain(10.0))
        for index in range(200):
            answers.append(ask(ends.link, "add", f"p{index}"))
            await asyncio.sleep(0)
        found = {outcome(await future) for future in answers}
        await draining

        assert found <= {("", None), ("draining", "no"), ("unavailable", "no")}
        assert ("draining", "no") in found


async def test_a_drain_waits_for_requests_sent_before_the_peer_knew_of_it() -> None:
    async with (
        ledgers() as node,
        server_of(node) as (server, address),
        grpc.aio.insecure_channel(address) as channel,
    ):
        call = cast("Any", channel).stream_stream(METHOD)()
        hello = messages.Envelope()
        codec.write_hello(GATE, hello.hello)
        await call.write(hello.SerializeToString())
        await until(lambda: len(server.peers) == 1)
        draining = asyncio.create_task(server.drain(10.0))
        while not (told := messages.Envelope.FromString(await call.read())).HasField("goaway"):
            continue
        await asyncio.wait([draining], timeout=0.1)
        assert not draining.done()
        request = messages.Request(
            id=1, operation=messages.OPERATION_CALL, namespace="default", type="Ledger", object_id="a", method="add"
        )
        await call.write(messages.Envelope(requests=[request]).SerializeToString())
        answered = messages.Envelope.FromString(await call.read())
        await call.write(messages.Envelope(pong=told.ping).SerializeToString())
        await draining

        assert answered.replies[0].problem.code == "draining"
        assert await call.read() is grpc.aio.EOF


async def test_a_drain_ends_in_time_although_calls_go_on() -> None:
    async with pair() as ends:
        stuck = ask(ends.link, "add_later")
        await until(lambda: bool(Door.waiting))
        await asyncio.wait_for(ends.server.drain(0.05), 10)

        assert outcome(await stuck) == ("unavailable", "unknown")
        assert ends.server.inflight == 0


async def test_a_link_that_connects_during_a_drain_is_notified_of_it() -> None:
    async with pair() as ends:
        running = ask(ends.link, "add_later")
        await until(lambda: bool(Door.waiting))
        draining = asyncio.create_task(ends.server.drain(10.0, "moving house"))
        await until(lambda: ends.link.state.draining)
        async with link_to(ends.address) as late:
            assert late.state.draining
            assert outcome(await ask(late, "add", "b")) == ("draining", "no")
        Door.open()
        await asyncio.gather(running, draining)


async def test_after_a_drain_the_link_finds_the_server_that_took_its_place() -> None:
    async with pair() as ends:
        await ends.server.drain(1.0)
        async with server_of(ends.node, address=ends.address):
            await until(lambda: ends.link.state.phase is LinkPhase.CONNECTED and not ends.link.state.draining)

            assert (await ask(ends.link, "add")).body == b"1"


async def test_a_closing_link_waits_for_its_requests() -> None:
    async with pair() as ends:
        running = ask(ends.link, "add_later")
        await until(lambda: bool(Door.waiting))
        closing = asyncio.create_task(ends.link.close(10.0))
        await until(lambda: outcome_now(ends.link) == ("draining", "no"))
        Door.open()

        assert (await running).body == b"1"
        await closing


def outcome_now(link: Any) -> tuple[str, str | None]:
    """Return the outcome of a request that is refused immediately, or ("", None) while it waits."""
    future = ask(link, "add", "b")
    return outcome(future.result()) if future.done() else ("", None)


async def test_stopping_twice_or_before_the_start_has_no_effect() -> None:
    async with ledgers() as node:
        server = LinkServer(node, NODE)
        await server.abort()
        await server.start("127.0.0.1:0")
        await server.drain(0.1)
        await server.drain(0.1)
        await server.abort()

        assert server.peers == ()


async def test_an_address_that_is_taken_is_a_configuration_error() -> None:
    async with ledgers() as node, server_of(node) as (_, address):
        second = LinkServer(node, NODE)
        with pytest.raises(ConfigError, match=address):
            await second.start(address)


async def test_health_follows_the_node() -> None:
    async with ledgers() as node, server_of(node) as (server, address):
        async with grpc.aio.insecure_channel(address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)

            states = health_pb2.HealthCheckResponse
            for service in ("", SERVICE):
                answer: Any = await cast("Any", stub).Check(health_pb2.HealthCheckRequest(service=service))
                assert answer.status == states.SERVING
            changes: Any = cast("Any", stub).Watch(health_pb2.HealthCheckRequest(service=SERVICE))
            assert (await changes.read()).status == states.SERVING
            await node.stop(0.0)
            assert (await asyncio.wait_for(changes.read(), 10)).status == states.NOT_SERVING
            changes.cancel()
        assert server.peers == ()
