"""A wait ends with a reply, at its deadline, or when its client disconnects, with one timer for all waits."""

from __future__ import annotations

import asyncio
from asyncio import Event, Future

import pytest

from goverse.model.frames import Reply
from goverse_gate.exchange import Message
from goverse_gate.timeouts import ClientGone, Expired, LinkBroken, Timeouts

FAR_S = 60.0


class Client:
    """A client that stays connected until a test disconnects it."""

    def __init__(self) -> None:
        self.gone = Event()
        self.asked = 0
        self.watched = Event()

    async def receive(self) -> Message:
        self.asked += 1
        self.watched.set()
        await self.gone.wait()
        return {"type": "http.disconnect"}


@pytest.fixture
async def timeouts() -> Timeouts:
    return Timeouts(period_s=0.005)


def future() -> Future[Reply]:
    return asyncio.get_running_loop().create_future()


def in_s(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


async def test_a_quick_reply_never_watches_the_client(timeouts: Timeouts) -> None:
    client, reply = Client(), future()
    asyncio.get_running_loop().call_soon(reply.set_result, Reply(b"1"))
    assert (await timeouts.reply(reply, in_s(FAR_S), client.receive)).body == b"1"
    assert client.asked == 0


@pytest.mark.requirement("GATE-6")
async def test_the_wait_ends_at_the_deadline_if_the_link_never_replies(timeouts: Timeouts) -> None:
    reply = future()
    with pytest.raises(Expired):
        await timeouts.reply(reply, in_s(0.02), Client().receive)
    assert reply.cancelled()


@pytest.mark.requirement("GATE-6")
async def test_after_a_stall_a_reply_that_arrived_during_it_counts(timeouts: Timeouts) -> None:
    loop, reply = asyncio.get_running_loop(), future()
    wait = asyncio.create_task(timeouts.reply(reply, in_s(0.01), Client().receive))
    loop.call_later(0.05, reply.set_result, Reply(b"1"))
    await asyncio.sleep(0)
    stands_until = loop.time() + 0.1
    while loop.time() < stands_until:
        pass  # a method that blocks the loop
    assert (await wait).body == b"1"


async def test_the_wait_ends_when_the_client_disconnects_and_the_future_is_cancelled(timeouts: Timeouts) -> None:
    client, reply = Client(), future()
    task = asyncio.create_task(timeouts.reply(reply, in_s(FAR_S), client.receive))
    client.gone.set()
    with pytest.raises(ClientGone):
        await task
    assert reply.cancelled()


async def test_a_late_reply_is_taken_and_the_watch_ends(timeouts: Timeouts) -> None:
    client, reply = Client(), future()
    task = asyncio.create_task(timeouts.reply(reply, in_s(FAR_S), client.receive))
    await client.watched.wait()
    reply.set_result(Reply(b"late"))
    assert (await task).body == b"late"
    assert asyncio.all_tasks() - {asyncio.current_task()} == set()


async def test_a_link_that_cancels_the_future_raises_link_broken(timeouts: Timeouts) -> None:
    reply = future()
    asyncio.get_running_loop().call_soon(reply.cancel)
    with pytest.raises(LinkBroken):
        await timeouts.reply(reply, in_s(FAR_S), Client().receive)


async def test_a_cancellation_by_the_server_is_passed_on(timeouts: Timeouts) -> None:
    task = asyncio.create_task(timeouts.reply(future(), in_s(FAR_S), Client().receive))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_missing_message_ends_the_wait_and_not_the_task(timeouts: Timeouts) -> None:
    async def read() -> str:
        try:
            await timeouts.message(Client().receive, in_s(0.02))
        except Expired:
            await asyncio.sleep(0)  # the task continues normally
            return "expired"
        return "came"

    assert await asyncio.create_task(read()) == "expired"


async def test_a_server_without_disconnect_messages_does_not_keep_the_loop_busy(timeouts: Timeouts) -> None:
    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    with pytest.raises(Expired):
        await timeouts.reply(future(), in_s(0.02), receive)


async def test_thousands_wait_with_one_timer(timeouts: Timeouts) -> None:
    loop = asyncio.get_running_loop()
    replies = [future() for _ in range(2_000)]
    tasks = [loop.create_task(timeouts.reply(reply, in_s(0.05), Client().receive)) for reply in replies]
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {Expired}
    assert all(reply.cancelled() for reply in replies)
