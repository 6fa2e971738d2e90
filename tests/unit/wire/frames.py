"""Hypothesis strategies and shortcuts for frames."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from goverse.model.caller import identified
from goverse.model.frames import MUST_EXIST, Operation, Problem, Reply, Request
from goverse.model.keys import ObjectKey
from goverse.model.receipts import PARTS, Delivery, number_of

UINT32, UINT64 = 2**32 - 1, 2**64 - 1
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
printables = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40)
names = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,20}", fullmatch=True)
namespaces = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)
keys = st.builds(ObjectKey, namespaces, names, ids)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def _without_lone_state(request: Request) -> Request:
    """Return the request as it arrives: a state without a trace is not sent."""
    return request if request.traceparent else replace(request, tracestate="")


requests = st.builds(
    Request,
    operation=st.sampled_from(Operation),
    key=keys,
    method=st.just("") | names,
    body=st.binary(max_size=200),
    deadline=st.floats(0.0, 1e6),
    request_id=printables,
    idempotency_key=st.none() | printables.filter(len),
    if_match=st.none() | st.just(MUST_EXIST) | st.integers(0, 2**62),
    caller=printables.map(identified),
    traceparent=st.just("") | st.just(TRACE),
    chain=st.lists(keys, max_size=4).map(tuple),
    attempt=st.integers(0, 1000),
    fresh_key=st.booleans(),
    reads_only=st.booleans(),
    tracestate=st.just("congo=t61,rojo=00f"),
).map(_without_lone_state)
numbers = st.builds(number_of, st.integers(1, 2**63 - 1), st.integers(0, PARTS - 1))


@st.composite
def deliveries(draw: st.DrawFn) -> Delivery:
    prev, head, number = sorted(draw(st.sets(numbers, min_size=3, max_size=3)))
    return Delivery(
        draw(keys),
        number,
        draw(st.sampled_from([0, prev])),
        draw(st.sampled_from([head, number])),
        draw(st.integers(1, UINT32)),
        draw(st.booleans()),
        draw(texts),
        draw(st.integers(0, UINT64)),
    )


def _delivered(request: Request, delivery: Delivery) -> Request:
    return replace(request, operation=Operation.CALL, idempotency_key=None, chain=(), delivery=delivery)


delivered = st.builds(_delivered, requests, deliveries())
any_requests = requests | delivered
problems = st.builds(
    Problem,
    code=names,
    detail=texts,
    retryable=st.booleans(),
    extra=st.dictionaries(texts, json_values, max_size=4),
    status=st.none() | st.integers(400, 499),
    request_id=texts,
)
replies = st.builds(
    Reply,
    body=st.binary(max_size=200),
    version=st.integers(0, UINT64),
    commit_seq=st.integers(0, UINT64),
    created=st.booleans(),
    replayed=st.booleans(),
    problem=st.none() | problems,
    settled=st.booleans(),
)


def request(body: bytes = b"", *, deadline: float = 100.0, **further: Any) -> Request:
    """Return an ordinary request."""
    plain = Request(Operation.CALL, ObjectKey("default", "Counter", "c1"), "add", body, deadline, "r1")
    return replace(plain, **further)


class Slot:
    """A waiter for one reply, without an event loop."""

    def __init__(self) -> None:
        self.reply: Reply | None = None
        self.given_up = False

    def done(self) -> bool:
        return self.given_up or self.reply is not None

    def set_result(self, result: Reply, /) -> None:
        self.reply = result
