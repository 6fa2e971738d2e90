"""The codec: frames survive encoding, and no input raises an untyped error."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from hypothesis import given
from hypothesis import strategies as st

from goverse.errors import AccessDenied, Executed, GoverseError, MalformedRequest, PeerError
from goverse.limits import CALL_TIMEOUT_S_MAX
from goverse.model.call_ids import place_of_call
from goverse.model.caller import SYSTEM, Caller, identified
from goverse.model.frames import Operation, Problem, Reply, Request
from goverse.model.keys import ObjectKey
from goverse.model.receipts import PARTS, Delivery, number_of
from goverse.model.records import ObjectSummary
from goverse.ports.link import Readiness
from goverse.wire import codec
from goverse.wire.handshake import Hello
from goverse.wire.peer_role import PeerRole
from goverse.wire.problems import read_problem, write_problem
from goverse.wire.v1 import wire_pb2 as messages
from tests.unit.wire import frames

NOW = 1_000.0


def sent(envelope: messages.Envelope) -> messages.Envelope:
    return codec.parse(envelope.SerializeToString())


def through(*requests: Request) -> list[Request]:
    envelope = messages.Envelope()
    assert codec.write_requests(enumerate(requests, 1), NOW, envelope) == []
    reader = codec.RequestReader()
    return [reader.read(message, NOW) for message in sent(envelope).requests]


def through_reply(reply: Reply) -> Reply:
    envelope = messages.Envelope()
    codec.write_replies([(7, reply)], envelope)
    (message,) = sent(envelope).replies
    assert message.id == 7
    return codec.read_reply(message)


@given(st.lists(frames.any_requests, max_size=5))
def test_requests_survive_encoding(requests: list[Request]) -> None:
    arrived = through(*requests)

    for before, after in zip(requests, arrived, strict=True):
        left_s = min(max(0.0, before.deadline - NOW), CALL_TIMEOUT_S_MAX)
        assert left_s - 1e-6 <= after.deadline - NOW <= left_s + 0.002
        after.deadline = before.deadline
        assert after == before


@given(frames.replies)
def test_replies_survive_encoding(reply: Reply) -> None:
    assert through_reply(reply) == reply


@given(st.binary(max_size=300))
def test_random_bytes_give_an_envelope_or_a_typed_error(data: bytes) -> None:
    with suppress(PeerError):
        assert read_everything(codec.parse(data))


@given(st.data())
def test_damaged_envelopes_give_frames_or_typed_errors(data: st.DataObject) -> None:
    envelope = messages.Envelope()
    codec.write_requests(enumerate(data.draw(st.lists(frames.any_requests, max_size=3)), 1), NOW, envelope)
    codec.write_replies(enumerate(data.draw(st.lists(frames.replies, max_size=3)), 1), envelope)
    raw = bytearray(envelope.SerializeToString() or b"\x00")
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with suppress(PeerError):
        assert read_everything(codec.parse(bytes(raw)))


def read_everything(envelope: messages.Envelope) -> bool:
    """Decode everything in an envelope; only typed errors may be raised."""
    reader = codec.RequestReader()
    for request in envelope.requests:
        with suppress(MalformedRequest):
            assert isinstance(reader.read(request, NOW), Request)
    for reply in envelope.replies:
        with suppress(PeerError):
            assert isinstance(codec.read_reply(reply), Reply)
    with suppress(PeerError):
        assert isinstance(codec.read_hello(envelope), Hello)
    return isinstance(codec.read_readiness(envelope.readiness), Readiness)


@pytest.mark.requirement("QUA-6")
def test_fields_of_a_newer_peer_are_ignored() -> None:
    envelope = messages.Envelope()
    codec.write_requests([(1, frames.request(b"{}"))], NOW, envelope)
    unknown_field = b"\xfa\x07\x05hello"  # number 127, five bytes
    inner = envelope.requests[0].SerializeToString() + unknown_field
    raw = b"\x12" + bytes([len(inner)]) + inner + unknown_field

    (message,) = codec.parse(raw).requests

    assert codec.RequestReader().read(message, NOW).body == b"{}"


def test_an_unknown_operation_fails_its_own_request_only() -> None:
    message = messages.Request(id=1, namespace="default", type="Counter", object_id="c1")
    message.operation = 99  # type: ignore[assignment]  # as a newer release may send it

    with pytest.raises(MalformedRequest, match="99"):
        codec.RequestReader().read(message, NOW)


@pytest.mark.parametrize(
    ("namespace", "type_name", "object_id", "method"),
    [
        ("", "Counter", "c1", "add"),
        ("de fault", "Counter", "c1", "add"),
        ("default", "", "c1", "add"),
        ("default", "_Counter", "c1", "add"),
        ("default", "Counter", "", "add"),
        ("default", "Counter", "é" * 257, "add"),
        ("default", "Counter", "c1", "no name"),
        ("default", "Counter", "c1", "_private"),
    ],
)
def test_invalid_names_are_refused(namespace: str, type_name: str, object_id: str, method: str) -> None:
    message = messages.Request(
        operation=messages.OPERATION_CALL, namespace=namespace, type=type_name, object_id=object_id, method=method
    )

    with pytest.raises(MalformedRequest):
        codec.RequestReader().read(message, NOW)


@pytest.mark.parametrize(
    "unsendable",
    [
        frames.request(idempotency_key="\ud800"),
        frames.request(if_match=2**70),
        frames.request(chain=(ObjectKey("default", "Counter", "\udfff"),)),
    ],
)
def test_a_request_that_cannot_be_encoded_fails_alone(unsendable: Request) -> None:
    envelope = messages.Envelope()

    failed = codec.write_requests(
        [(1, frames.request(b"1")), (2, unsendable), (3, frames.request(b"3"))], NOW, envelope
    )

    assert [(number, error.code, error.link_verdict) for number, error in failed] == [
        (2, "malformed_request", Executed.NO)
    ]
    assert [(message.id, message.body) for message in sent(envelope).requests] == [(1, b"1"), (3, b"3")]


def test_a_reply_that_cannot_be_encoded_becomes_a_problem() -> None:
    envelope = messages.Envelope()

    codec.write_replies([(1, Reply(b"1")), (2, Reply(version=-1)), (3, Reply(b"3"))], envelope)

    first, second, third = (codec.read_reply(message) for message in sent(envelope).replies)
    assert (first.body, third.body) == (b"1", b"3")
    assert second.problem is not None
    assert second.problem.code == "internal_error"


@pytest.mark.parametrize(
    ("extra", "arrives"),
    [
        ({"large": 2**80}, {"large": 2**80}),
        ({"odd": object, "kept": "no"}, {"odd": "<class 'object'>", "kept": "no"}),
        ({"half": float("nan"), "kept": "no"}, {"half": None, "kept": "no"}),
        ({"\ud800": 1, "kept": "no", "n": 2**80}, {"\ud800": 1, "kept": "no", "n": 2**80}),
    ],
)
def test_members_that_are_not_plain_json_are_converted(extra: dict[str, object], arrives: dict[str, object]) -> None:
    reply = through_reply(Reply(problem=Problem("c", "d", extra=extra)))

    assert reply.problem is not None
    assert reply.problem.extra == arrives


def test_members_without_a_json_form_are_dropped_and_named() -> None:
    endless: dict[str, object] = {"kept": "unknown"}
    endless["self"] = endless

    reply = through_reply(Reply(problem=Problem("c", "half a \ud800 character", extra=endless)))

    assert reply.problem is not None
    assert (reply.problem.detail, reply.problem.extra) == (
        "half a ? character",
        {"kept": "unknown", "truncated": ["self"]},
    )


@pytest.mark.parametrize("extra", [b"{", b"[1]", b"\xff", b"[" * 100_000])
def test_a_problem_with_invalid_members_is_a_violation(extra: bytes) -> None:
    with pytest.raises(PeerError):
        read_problem(messages.Problem(code="c", extra=extra))


def problem_through(problem: Problem) -> Problem:
    message = messages.Problem()
    write_problem(problem, message)
    return read_problem(message)


def test_a_problem_without_a_code_is_a_violation() -> None:
    with pytest.raises(PeerError, match="code"):
        read_problem(messages.Problem(detail="d"))


def test_an_error_whose_code_an_application_emptied_is_written_with_one() -> None:
    assert problem_through(Problem("", "d")).code == "internal_error"


def test_hellos_listings_and_readiness_survive_encoding() -> None:
    hello = Hello(kind="node", id="n1", incarnation="i", release="0.9", features=frozenset({"x", "y"}))
    readiness = Readiness(False, ("claimed 1 of 2 shards", "the node is starting"), 2**63)
    items = [ObjectSummary("a", 1), ObjectSummary("é/b", 2**60)]
    envelope = messages.Envelope()
    codec.write_hello(hello, envelope.hello)
    codec.write_readiness(readiness, envelope.readiness)
    codec.write_items(items, envelope.list_replies.add(id=3))

    arrived = sent(envelope)

    assert codec.read_hello(arrived) == hello
    assert codec.read_readiness(arrived.readiness) == readiness
    assert codec.read_items(arrived.list_replies[0]) == items


def test_a_listing_that_cannot_be_encoded_is_a_malformed_request() -> None:
    message = codec.write_listing(1, ("default", "Counter"), prefix="é", after=None, limit=10**12)
    assert (message.prefix, message.HasField("after"), message.limit) == ("é", False, 1000)

    with pytest.raises(GoverseError) as refused:
        codec.write_listing(1, ("default", "Counter"), prefix="\ud800", after=None, limit=1)
    assert refused.value.code == "malformed_request"


@pytest.mark.requirement("GATE-6")
@pytest.mark.parametrize(
    ("seconds", "milliseconds"),
    [
        (-5.0, 0),
        (0.0, 0),
        (0.0001, 1),
        (1.0, 1001),
        (float("inf"), codec.REMAINING_MS_MAX),
        (1e300, codec.REMAINING_MS_MAX),
    ],
)
def test_the_remaining_time_is_rounded_up(seconds: float, milliseconds: int) -> None:
    assert codec.remaining_ms(seconds) == milliseconds


def test_operations_have_the_same_numbers_on_the_wire() -> None:
    assert {f"OPERATION_{operation.name}": operation.value for operation in Operation} == {
        name: number for name, number in messages.Operation.items() if number
    }


LINK = ObjectKey("default", "Counter", "c")


@pytest.mark.parametrize(
    ("further", "code"),
    [
        ({"idempotency_key": ""}, "malformed_request"),
        ({"idempotency_key": "k" * 256}, "malformed_request"),
        ({"idempotency_key": "k\r\nx: y"}, "malformed_request"),
        ({"idempotency_key": "schl\u00fcssel"}, "malformed_request"),
        ({"caller": identified("c" * 1025)}, "malformed_request"),
        ({"chain": (LINK,) * 33}, "deadlock"),
        ({"chain": (LINK._replace(id="i" * 513),)}, "malformed_request"),
        ({"chain": (LINK._replace(type="no name"),)}, "malformed_request"),
    ],
)
def test_a_request_beyond_a_gates_bounds_is_refused(further: dict[str, Any], code: str) -> None:
    with pytest.raises(GoverseError) as refused:
        through(frames.request(**further))
    assert refused.value.code == code
    assert len(refused.value.detail) < 200


@pytest.mark.requirement("SEC-3")
@pytest.mark.parametrize(
    "further",
    [{"chain": (LINK,)}, {"idempotency_key": "~0f"}, {"idempotency_key": "gv-~0f"}],
)
def test_a_gate_cannot_send_the_requests_of_an_object(further: dict[str, Any]) -> None:
    envelope = messages.Envelope()
    codec.write_requests([(1, frames.request(**further))], NOW, envelope)

    with pytest.raises(AccessDenied, match="which only nodes send") as refused:
        codec.RequestReader(role=PeerRole.GATE).read(envelope.requests[0], NOW)
    assert refused.value.link_verdict is Executed.NO


@given(frames.requests.map(lambda request: replace(request, chain=())))
def test_a_gate_sends_all_requests_from_outside(request: Request) -> None:
    if (request.idempotency_key or "").startswith(("~", "gv-~")):
        return
    envelope = messages.Envelope()
    codec.write_requests([(1, request)], NOW, envelope)
    (message,) = envelope.requests
    assert codec.RequestReader(role=PeerRole.GATE).read(message, NOW) == codec.RequestReader().read(message, NOW)


def test_an_invalid_request_id_of_a_peer_is_refused() -> None:
    for request_id in ("r" * 129, "r\n1"):
        request = frames.request()
        request.request_id = request_id
        with pytest.raises(MalformedRequest):
            through(request)


def test_the_longest_allowed_chain_and_key_are_accepted() -> None:
    longest = frames.request(idempotency_key="k" * 255, chain=(LINK,) * 32)
    assert through(longest)[0] == replace(longest, deadline=through(longest)[0].deadline)


def test_a_deadline_is_reduced_to_the_longest_allowed_one() -> None:
    (arrived,) = through(frames.request(deadline=NOW + 49 * 86_400))
    assert arrived.deadline == NOW + CALL_TIMEOUT_S_MAX


@pytest.mark.requirement("OBJ-8")
def test_of_the_caller_the_subject_passes() -> None:
    """Peers of every release read and write it in the same field."""
    admin = Caller(kind="client", subject="ann", roles=frozenset({"admin"}), token_id="t1")
    arrived = [request.caller for request in through(*(frames.request(caller=each) for each in (admin, SYSTEM)))]
    assert arrived == [identified("ann"), identified("")]
    written = messages.Request(
        id=1, operation=messages.OPERATION_CALL, namespace="default", type="Counter", object_id="c", caller="ann"
    )
    assert codec.RequestReader().read(written, NOW).caller == identified("ann")


def test_an_invalid_trace_context_is_ignored() -> None:
    arrived = through(frames.request(traceparent="0" * 1000, tracestate="a=1"))[0]
    assert (arrived.traceparent, arrived.tracestate) == ("", "")
    arrived = through(frames.request(traceparent=frames.TRACE, tracestate="A=1"))[0]
    assert (arrived.traceparent, arrived.tracestate) == (frames.TRACE, "")


@pytest.mark.requirement("QUA-6")
def test_reserved_fields_are_ignored() -> None:
    envelope = messages.Envelope()
    codec.write_requests([(1, frames.request(b"{}", traceparent=frames.TRACE, tracestate="a=1"))], NOW, envelope)
    identity = b"\x92\x01\x03abc"  # number 18, three bytes
    inner = envelope.requests[0].SerializeToString() + identity
    raw = b"\x12" + bytes([len(inner) & 0x7F | 0x80, len(inner) >> 7]) + inner

    (message,) = codec.parse(raw).requests

    assert message.ByteSize() == len(inner), "the fields were sent"
    assert codec.RequestReader().read(message, NOW) == codec.RequestReader().read(envelope.requests[0], NOW)


@pytest.mark.requirement("QUA-6")
def test_numbers_of_later_fields_are_reserved() -> None:
    declared = messages.Request.DESCRIPTOR.fields_by_name
    assert (declared["tracestate"].number, declared["delivery"].number) == (17, 19)
    proto = messages.DESCRIPTOR.serialized_pb
    reserved = {
        name: (span.start, span.end)
        for message in FileDescriptorProto.FromString(proto).message_type
        if message.name == "Request"
        for name, span in zip(message.reserved_name, message.reserved_range, strict=True)
    }
    assert reserved == {"identity": (18, 19)}


# --- deliveries of reliable calls -------------------------------------------------------------------------------------

DELIVERY = Delivery(LINK, number_of(7, 3), number_of(6, 0), number_of(5, 1), 2, id="c_1", sent_ms=1_800_000_000_000)


@pytest.mark.requirement("DUR-3")
def test_numbers_of_deliveries_beyond_64_bits_survive() -> None:
    number = number_of(2**63 - 1, PARTS - 1)
    (arrived,) = through(frames.request(delivery=replace(DELIVERY, number=number, prev=number - 1, head=number)))

    assert number.bit_length() > 64
    assert arrived.delivery == replace(DELIVERY, number=number, prev=number - 1, head=number)


@pytest.mark.requirement("SEC-3", "DUR-3")
def test_a_gate_cannot_deliver_a_reliable_call() -> None:
    envelope = messages.Envelope()
    codec.write_requests([(1, frames.request(delivery=DELIVERY))], NOW, envelope)

    with pytest.raises(AccessDenied, match="the delivery of a reliable call, which only nodes send") as refused:
        codec.RequestReader(role=PeerRole.GATE).read(envelope.requests[0], NOW)
    assert refused.value.link_verdict is Executed.NO


@pytest.mark.requirement("DUR-3", "QUA-6")
def test_no_delivery_is_written_for_a_peer_that_would_run_it_as_an_ordinary_call() -> None:
    envelope = messages.Envelope()
    both = [(1, frames.request(delivery=DELIVERY)), (2, frames.request(b"2"))]

    ((number, error),) = codec.write_requests(both, NOW, envelope, takes_deliveries=False)

    assert (number, error.code, error.retryable, error.link_verdict) == (1, "unavailable", True, Executed.NO)
    assert [message.body for message in sent(envelope).requests] == [b"2"]


@pytest.mark.requirement("DUR-3")
def test_a_submission_keeps_its_delay_and_a_request_about_calls_the_place_of_a_call() -> None:
    place = place_of_call("default", 2**64 - 1)
    submitted = frames.request(operation=Operation.SEND, delay_ms=366 * 86_400_000)
    asked = frames.request(b"{}", operation=Operation.CALLS, key=place, method="show")

    arrived = through(submitted, asked)

    assert [(each.operation, each.key, each.delay_ms) for each in arrived] == [
        (Operation.SEND, submitted.key, 366 * 86_400_000),
        (Operation.CALLS, place, 0),
    ]


@pytest.mark.requirement("DUR-3")
@pytest.mark.parametrize(
    ("further", "complaint"),
    [
        ({"operation": Operation.SEND, "delay_ms": 366 * 86_400_000 + 1}, "the delay has"),
        ({"operation": Operation.CALLS, "key": ObjectKey("default", "", "c1")}, "'c1' is not a place"),
        ({"operation": Operation.CALLS, "key": ObjectKey("no namespace", "", "0" * 16)}, "namespace"),
        ({"operation": Operation.CALL, "key": place_of_call("default", 7)}, "invalid type name"),
        ({"operation": Operation.SEND, "key": place_of_call("default", 7)}, "invalid type name"),
    ],
)
def test_a_request_about_calls_is_checked(further: dict[str, Any], complaint: str) -> None:
    with pytest.raises(MalformedRequest, match=complaint):
        through(frames.request(**further))


@pytest.mark.requirement("DUR-3", "QUA-6")
@pytest.mark.parametrize("operation", [Operation.SEND, Operation.CALLS])
def test_a_peer_of_an_earlier_release_gets_no_submission_and_no_request_about_calls(operation: Operation) -> None:
    envelope = messages.Envelope()
    both = [(1, frames.request(operation=operation)), (2, frames.request(b"2"))]

    ((number, error),) = codec.write_requests(both, NOW, envelope, takes_deliveries=False)

    assert (number, error.code, error.retryable, error.link_verdict) == (1, "unavailable", True, None)
    assert error.extra == {"retry_after_s": 5}
    assert [message.body for message in sent(envelope).requests] == [b"2"]


@pytest.mark.requirement("DUR-3")
@pytest.mark.parametrize(
    "further",
    [
        {"delivery": replace(DELIVERY, sender=LINK._replace(id=""))},
        {"delivery": replace(DELIVERY, sender=LINK._replace(type="no name"))},
        {"delivery": replace(DELIVERY, number=0, prev=0, head=0)},
        {"delivery": replace(DELIVERY, prev=DELIVERY.number)},
        {"delivery": replace(DELIVERY, head=DELIVERY.number + 1)},
        {"delivery": replace(DELIVERY, number=number_of(2**63, 0))},
        {"delivery": replace(DELIVERY, id="i" * 1025)},
        {"delivery": DELIVERY, "chain": (LINK,)},
        {"delivery": DELIVERY, "idempotency_key": "k"},
    ],
)
def test_an_invalid_delivery_is_refused(further: dict[str, Any]) -> None:
    with pytest.raises(MalformedRequest) as refused:
        through(frames.request(**further))
    assert refused.value.link_verdict is Executed.NO


@pytest.mark.parametrize("part", ["part", "prev_part", "head_part"])
def test_a_part_that_no_commit_has_is_refused(part: str) -> None:
    envelope = messages.Envelope()
    codec.write_requests([(1, frames.request(delivery=DELIVERY))], NOW, envelope)
    setattr(envelope.requests[0].delivery, part, PARTS)

    with pytest.raises(MalformedRequest, match="too large"):
        codec.RequestReader().read(envelope.requests[0], NOW)


@pytest.mark.parametrize("operation", [operation for operation in Operation if operation is not Operation.CALL])
def test_only_a_call_can_be_a_delivery(operation: Operation) -> None:
    request = frames.request(delivery=DELIVERY)
    request.operation = operation

    with pytest.raises(MalformedRequest, match="must be a call"):
        through(request)


@pytest.mark.parametrize("what", ["kind", "id", "incarnation", "release"])
def test_a_peer_whose_hello_is_too_long_is_refused(what: str) -> None:
    envelope = messages.Envelope()
    setattr(envelope.hello, what, "x" * 100_000)
    with pytest.raises(PeerError) as refused:
        codec.read_hello(envelope)
    assert len(refused.value.detail) < 200


@pytest.mark.parametrize(
    "wrong",
    [
        {"namespace": ""},
        {"type": "no name"},
        {"prefix": "p" * 513},
        {"after": "a" * 513},
        {"limit": 0},
        {"limit": 1001},
    ],
)
def test_a_listing_beyond_a_gates_bounds_is_refused(wrong: dict[str, Any]) -> None:
    wanted: dict[str, Any] = {"id": 1, "namespace": "default", "type": "Counter", "limit": 1000}
    codec.check_listing(messages.ListRequest(**wanted))
    with pytest.raises(MalformedRequest):
        codec.check_listing(messages.ListRequest(**{**wanted, **wrong}))
