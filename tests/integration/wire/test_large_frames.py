"""Frames that are too large: each is answered or refused, and the stream stays open for all others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest

from goverse import BusinessError, Object, call
from goverse.errors import TooLarge
from goverse.limits import (
    ID_BYTES_MAX,
    LIST_LIMIT_MAX,
    PROBLEM_DETAIL_BYTES_MAX,
    PROBLEM_FIELD_BYTES_MAX,
    PROBLEM_FIELDS_MAX,
    PROBLEM_MEMBERS_BYTES_MAX,
)
from goverse.model.frames import Operation, Problem, Reply, Request
from goverse.model.keys import ObjectKey
from goverse.model.records import ObjectSummary
from goverse.objects.registry import Registry
from goverse.testing.link_objects import Door
from goverse.wire.link import GrpcLink
from goverse_node.node import Node
from goverse_node.stores.memory import MemoryStore
from tests.gate.link import PlainLink
from tests.links import QUICK, link_to, server_of
from tests.nodes import problem, until

MIB = 1024 * 1024


class Verbose(BusinessError):
    """An error with a very long text."""

    status = 409
    code = "verbose_in_large_frames"


class Table(Object):
    refusals: int = 0

    @call
    async def fill(self, rows: dict[str, list[int]]) -> int:
        return len(rows)

    @call
    async def refuse(self, size: int) -> None:
        raise Verbose("d" * size, first="kept", huge="x" * size, odd=["y" * size], last="kept as well")

    @call
    async def refuse_oddly(self, what: str, value: Any) -> None:
        error = Verbose("no")
        setattr(error, what, value)
        raise error

    @call(raises=(ValueError,))
    async def fail(self, size: int) -> None:
        raise ValueError("v" * size)

    @call
    async def wait(self) -> str:
        await Door.wait()
        return "answered"


def _ask(link: GrpcLink, method: str, body: bytes, **further: Any) -> asyncio.Future[Reply]:
    deadline = asyncio.get_running_loop().time() + 30.0
    key = ObjectKey("default", further.pop("type", "Table"), further.pop("id", "t"))
    return link.submit(Request(Operation.CALL, key, method, body, deadline, "r", **further))


def _size(found: Problem) -> int:
    return len(found.detail.encode()) + len(orjson.dumps(dict(found.extra)))


class Loud(PlainLink):
    """A node that answers with a reply chosen by the test, and lists very many long ids."""

    def __init__(self, answer: Reply) -> None:
        super().__init__()
        self.answer = answer

    def carry(self, request: Request, waiter: Any) -> None:
        waiter.set_result(self.answer if request.method == "loud" else Reply(b"quiet"))

    async def list(
        self, namespace: str, type_name: str, *, prefix: str, after: str | None, limit: int
    ) -> Sequence[ObjectSummary]:
        await Door.wait()
        return [ObjectSummary(f"{n:04}".ljust(ID_BYTES_MAX, "x"), n) for n in range(LIST_LIMIT_MAX)]


@pytest.mark.requirement("GATE-9")
async def test_bad_values_under_a_long_path_get_a_short_error_and_other_requests_are_not_affected() -> None:
    store = MemoryStore()
    await store.open()
    node = Node(Registry([Table]), store)
    await node.start()
    rows = {"k" * 900_000: ["bad"] * 20}
    async with server_of(node) as (server, address), link_to(address) as link:
        Door.waiting = []
        innocents = [_ask(link, "wait", b"", id=f"i{n}") for n in range(20)]
        await until(lambda: len(Door.waiting) == 20)

        poison = [await _ask(link, "fill", orjson.dumps({"rows": rows})) for _ in range(3)]
        Door.open()

        assert [(await each).body for each in innocents] == [b'"answered"'] * 20
        assert len(server.peers) == 1
        for found in map(problem, poison):
            assert (found.code, len(found.extra["errors"])) == ("invalid_arguments", PROBLEM_FIELDS_MAX)
            assert all(len(text) <= PROBLEM_FIELD_BYTES_MAX for each in found.extra["errors"] for text in each.values())
            assert _size(found) <= PROBLEM_DETAIL_BYTES_MAX + PROBLEM_MEMBERS_BYTES_MAX
    await node.stop(0.0)
    await store.close()


@pytest.mark.requirement("GATE-9")
async def test_errors_of_an_application_are_truncated_with_a_mark_before_they_are_stored() -> None:
    store = MemoryStore()
    await store.open()
    node = Node(Registry([Table]), store)
    await node.start()
    async with server_of(node) as (server, address), link_to(address) as link:
        first = await _ask(link, "refuse", b'{"size":20000000}', idempotency_key="k")
        again = await _ask(link, "refuse", b'{"size":20000000}', idempotency_key="k", attempt=1)
        failed = problem(await _ask(link, "fail", b'{"size":20000000}'))

        refused = problem(first)
        assert (refused.code, refused.status, again.replayed, again.problem) == (
            "verbose_in_large_frames",
            409,
            True,
            refused,
        )
        assert refused.detail.endswith("(cut)")
        assert refused.extra["first"] == "kept"
        assert refused.extra["huge"].endswith("(cut)")
        assert (refused.extra["last"], refused.extra["truncated"]) == ("kept as well", ["odd"])
        assert failed.detail.endswith("(cut)")
        assert max(_size(refused), _size(failed)) <= PROBLEM_DETAIL_BYTES_MAX + PROBLEM_MEMBERS_BYTES_MAX
        kept = store.recall(ObjectKey("default", "Table", "t"), "k")
        assert kept is not None
        assert len(kept.reply) <= PROBLEM_DETAIL_BYTES_MAX + PROBLEM_MEMBERS_BYTES_MAX + 1024
        assert len(server.peers) == 1
    await node.stop(0.0)
    await store.close()


@pytest.mark.parametrize(
    ("what", "value", "code"),
    [
        ("detail", 7, "verbose_in_large_frames"),
        ("detail", None, "verbose_in_large_frames"),
        ("code", "", "method_failed"),
        ("code", 7, "method_failed"),
        ("code", "c" * 500_000, "method_failed"),
        ("status", "409", "method_failed"),
        ("extra", 7, "method_failed"),
    ],
)
async def test_an_error_that_an_application_spoiled_ends_its_own_call_only(what: str, value: Any, code: str) -> None:
    store = MemoryStore()
    await store.open()
    node = Node(Registry([Table]), store)
    await node.start()
    async with server_of(node) as (server, address), link_to(address) as link:
        odd = _ask(link, "refuse_oddly", orjson.dumps({"what": what, "value": value}))
        plain = _ask(link, "fill", b'{"rows":{}}', id="other")

        assert problem(await odd).code == code
        assert (await plain).body == b"0"
        assert len(server.peers) == 1
    await node.stop(0.0)
    await store.close()


LARGE = {
    "detail": Problem("unavailable", "d" * 20 * MIB, True),
    "members": Problem("conflict", "d", extra={"x": ["y" * 20 * MIB], "z": 1}),
    "code": Problem("c" * 20 * MIB, "d"),
    "no code": Problem("", "d"),
}


@pytest.mark.parametrize("kind", LARGE)
async def test_a_problem_of_any_origin_is_cut_on_the_wire(kind: str) -> None:
    async with server_of(Loud(Reply(problem=LARGE[kind]))) as (server, address), link_to(address) as link:
        replies = [_ask(link, method, b"") for method in ("loud", "still", "loud", "still")]

        loud = problem(await replies[0])
        assert _size(loud) <= PROBLEM_DETAIL_BYTES_MAX + PROBLEM_MEMBERS_BYTES_MAX
        assert [(await replies[1]).body, (await replies[3]).body] == [b"quiet"] * 2
        assert len(server.peers) == 1


async def test_a_request_that_fits_into_no_message_is_refused_once_and_others_go_on() -> None:
    async with server_of(Loud(Reply())) as (server, address), link_to(address) as link:
        replies = [_ask(link, "m" * 17 * MIB, b""), _ask(link, "still", b""), _ask(link, "q", b"", type="T" * 17 * MIB)]
        listing = asyncio.ensure_future(link.list("default", "T" * 17 * MIB, prefix="", after=None, limit=1))

        refused = [problem(await replies[0]), problem(await replies[2])]
        assert [(each.code, each.executed) for each in refused] == [("too_large", "no")] * 2
        with pytest.raises(TooLarge):
            await listing
        assert (await replies[1]).body == b"quiet"
        assert len(server.peers) == 1


async def test_listings_that_are_too_large_together_arrive_one_after_the_other() -> None:
    options = replace(QUICK, message_bytes_max=2 * MIB)
    async with (
        server_of(Loud(Reply()), options=options) as (server, address),
        link_to(address, options=options) as link,
    ):
        Door.waiting = []
        listings = [
            asyncio.ensure_future(link.list("default", "T", prefix="", after=None, limit=LIST_LIMIT_MAX))
            for _ in range(32)
        ]
        await until(lambda: len(Door.waiting) == 32)
        Door.open()

        assert {len(found) for found in await asyncio.gather(*listings)} == {LIST_LIMIT_MAX}
        assert len(server.peers) == 1
