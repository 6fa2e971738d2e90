"""Both Python clients against a gate: results, errors, ids of every form, lost responses, restarts."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from goverse_client import (
    NEVER,
    BusinessError,
    ConnectionFailed,
    GoVerse,
    GoVerseSync,
    IdempotencyKeyMismatch,
    InvalidArguments,
    ObjectExists,
    ObjectNotFound,
    Options,
    UnknownMethod,
    UnknownType,
    VersionMismatch,
)
from tests.integration.cli.processes import Dev, application, dev, until
from tests.tcp_proxy import Way, proxy_to

pytestmark = pytest.mark.requirement("GATE-2")

APP = """
from goverse import BusinessError, Object, call


class Insufficient(BusinessError):
    status = 402
    code = "insufficient_funds"


class Account(Object, delete="anyone"):
    balance: int = 0

    async def on_create(self, balance: int = 0) -> None:
        self.balance = balance

    @call(raises=(Insufficient,))
    async def add(self, amount: int) -> int:
        if self.balance + amount < 0:
            raise Insufficient("too little is there", balance=self.balance)
        self.balance += amount
        return self.balance
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    folder = tmp_path_factory.mktemp("app")
    application(folder, APP)
    with dev(folder, "app.py", "--no-reload") as running:
        yield running


@pytest_asyncio.fixture
async def gv(server: Dev) -> AsyncIterator[GoVerse]:
    async with GoVerse(server.url) as client:
        yield client


async def test_an_object_is_created_called_read_listed_and_deleted(gv: GoVerse) -> None:
    account = gv.object("Account", "first/1")
    assert (await account.create(balance=5)).value == {"id": "first/1", "version": 1}
    assert await account.call("add", amount=2) == 7
    reply = await account.get_reply()
    assert (reply.value, reply.version, reply.replayed) == ({"balance": 7}, 2, False)
    assert reply.request_id
    assert [each async for each in gv.list("Account", prefix="first/")] == [{"id": "first/1", "version": 2}]
    await account.delete()
    with pytest.raises(ObjectNotFound) as caught:
        await account.get()
    assert (caught.value.status, caught.value.attempts) == (404, 1)


def test_the_synchronous_client_does_the_same(server: Dev) -> None:
    with GoVerseSync(server.url) as gv:
        account = gv.object("Account", "sync")
        assert account.create_new(balance=1).version == 1
        with pytest.raises(ObjectExists):
            account.create_new()
        assert account.call("add", amount=2) == 3
        assert account.get() == {"balance": 3}
        for number in range(5):
            gv.object("Account", f"listed-{number}").create()
        assert len(list(gv.list("Account", prefix="listed-", page_size=2))) == 5
        chosen = gv.create("Account", balance=9)
        assert chosen.get() == {"balance": 9}
        account.delete()
        with pytest.raises(ObjectNotFound):
            account.get()


@pytest.mark.parametrize("object_id", [".", "..", "a/b", "a//b", "ä?#%", " ", "%2F", "x" * 512, "+&=;", "日本"])
async def test_ids_of_every_form_arrive_as_they_are(gv: GoVerse, object_id: str) -> None:
    account = gv.object("Account", object_id)
    await account.call("add", amount=1)
    assert [each["id"] async for each in gv.list("Account", prefix=object_id) if each["id"] == object_id] == [object_id]


@pytest.mark.parametrize("object_id", ["", "x" * 513])
async def test_an_invalid_id_is_refused_by_the_client(gv: GoVerse, object_id: str) -> None:
    with pytest.raises(ValueError, match="1 to 512 bytes"):
        gv.object("Account", object_id)


async def test_errors_have_classes_codes_and_details(gv: GoVerse) -> None:
    account = gv.object("Account", "refusing")
    with pytest.raises(BusinessError, match="insufficient_funds: too little is there") as refused:
        await account.call("add", amount=-1)
    assert (refused.value.status, refused.value.code, refused.value.extra["balance"]) == (402, "insufficient_funds", 0)
    with pytest.raises(InvalidArguments) as invalid:
        await account.call("add", amount="much")
    assert [each["path"] for each in invalid.value.errors] == ["/amount"]
    with pytest.raises(UnknownMethod):
        await account.call("subtract")
    with pytest.raises(UnknownType):
        await gv.object("Acount", "x").call("add", amount=1)


async def test_keys_versions_and_positions_are_sent_and_returned(gv: GoVerse) -> None:
    account = gv.object("Account", "keyed")
    once = account.with_options(idempotency_key="order-7")
    first = await once.call_reply("add", amount=3)
    again = await once.call_reply("add", amount=3)
    assert (first.value, again.value, first.replayed, again.replayed) == (3, 3, False, True)
    with pytest.raises(IdempotencyKeyMismatch):
        await once.call("add", amount=4)
    with pytest.raises(VersionMismatch):
        await account.with_options(if_match=9).call("add", amount=1)
    assert first.commit_seq is not None
    assert await account.with_options(if_match=first.version, min_seq=first.commit_seq).call("add", amount=1) == 4
    assert await account.with_options(namespace="other").call("add", amount=1) == 1


async def test_a_call_whose_response_was_lost_is_retried_with_a_single_effect(server: Dev) -> None:
    async with (
        proxy_to(int(server.url.rpartition(":")[2])) as proxy,
        GoVerse(f"http://127.0.0.1:{proxy.port}") as gv,
        GoVerse(server.url) as direct,
    ):
        account = gv.object("Account", "lost")
        seen = direct.object("Account", "lost")
        await account.call("add", amount=1)
        proxy.hold(Way.BACK)
        calling = asyncio.create_task(account.call_reply("add", amount=10))
        while await seen.get() != {"balance": 11}:  # noqa: ASYNC110  # it is carried out; its answer is held
            await asyncio.sleep(0.01)
        proxy.cut()
        proxy.release()
        reply = await calling
    assert (reply.value, reply.replayed) == (11, True)


async def test_without_keys_a_lost_response_is_an_error(server: Dev) -> None:
    async with proxy_to(int(server.url.rpartition(":")[2])) as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        async with GoVerse(url, options=Options(make_keys=False)) as gv, GoVerse(server.url) as direct:
            account = gv.object("Account", "lost-keyless")
            proxy.hold(Way.BACK)
            calling = asyncio.create_task(account.call("add", amount=10))
            while not [each async for each in direct.list("Account", prefix="lost-keyless")]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            proxy.cut()
            with pytest.raises(ConnectionFailed, match="it is unknown whether the request ran"):
                await calling


async def test_an_unreachable_port_is_a_failed_connection() -> None:
    async with GoVerse("http://127.0.0.1:9", retries=NEVER) as gv:
        with pytest.raises(ConnectionFailed, match="ConnectError"):
            await gv.object("Account", "a").call("add", amount=1)


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://gate", "", "https://"])
def test_an_invalid_url_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(ValueError, match=r"https://gate\.example"):
        GoVerse(url)


@pytest.mark.parametrize("url", ["ftp://ann:s3cret@gate", "http://ann:s3cret@", "http://ann:s3cret@gate:port"])
def test_the_error_for_an_invalid_url_does_not_show_its_password(url: str) -> None:
    with pytest.raises(ValueError, match="invalid gate URL") as refused:
        GoVerse(url)

    assert "s3cret" not in str(refused.value)


async def test_calls_during_a_kill_and_a_restart_take_effect_once(tmp_path: Path) -> None:
    application(tmp_path, APP)
    with dev(tmp_path, "app.py", "--no-reload") as first:
        url, port = first.url, first.url.rpartition(":")[2]
        async with GoVerse(url, options=Options(timeout_s=60)) as gv:
            accounts = [gv.object("Account", f"a{number}") for number in range(8)]
            made = 0
            enough = False

            async def work(index: int) -> int:
                nonlocal made
                calls = 0
                while not enough:
                    calls += 1
                    assert await accounts[index].call("add", amount=1) == calls
                    made += 1
                return calls

            async with asyncio.TaskGroup() as group:
                workers = [group.create_task(work(index)) for index in range(8)]
                while made < 200:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                first.signal(signal.SIGKILL)
                first.wait()
                with dev(tmp_path, "app.py", "--no-reload", "--port", port) as second:
                    await asyncio.to_thread(until, lambda: made > 400, "calls after the restart")
                    enough = True
                    counts = [await worker for worker in workers]
                    states = [await account.get() for account in accounts]
                    assert second.url == url
            assert states == [{"balance": count} for count in counts]
