"""The answering side of a stream: refusals, pending replies, and pauses in reading."""

from __future__ import annotations

import pytest

from goverse.errors import Executed, GoverseError, PeerError
from goverse.limits import STATE_BYTES_MAX
from goverse.model.frames import Reply
from goverse.model.keys import ObjectKey
from goverse.wire.incoming import Incoming, Occupancy
from goverse.wire.options import WireOptions
from goverse.wire.outgoing import FRAME_OVERHEAD_BYTES
from tests.unit.wire.frames import request


def incoming(occupancy: Occupancy | None = None, **options: int) -> Incoming:
    return Incoming(WireOptions(**options), occupancy or Occupancy(100))


def refused(error: GoverseError | None) -> tuple[str, Executed | None]:
    assert error is not None
    return error.code, error.link_verdict


async def test_ids_must_grow() -> None:
    side = incoming()
    assert side.refusal(3, request()) is None
    for number in (3, 2, 0):
        with pytest.raises(PeerError):
            side.refusal(number, request())


async def test_requests_of_one_stream_are_limited() -> None:
    side = incoming(inflight_max=1)
    side.hold(1, 0)
    assert refused(side.refusal(2, request())) == ("overloaded", "no")
    side.release(1)

    assert side.refusal(3, request()) is None


async def test_requests_of_all_streams_are_limited_together() -> None:
    occupancy = Occupancy(1)
    one, other = incoming(occupancy), incoming(occupancy)
    one.hold(1, 0)
    assert refused(other.refusal(1, request())) == ("overloaded", "no")
    one.release_all()

    assert other.refusal(2, request()) is None
    assert occupancy.requests == 0


async def test_an_ended_stream_holds_nothing() -> None:
    side = incoming()
    side.hold(1, 5)
    side.answer(2, Reply(b"x" * 100))
    side.release_all()
    assert not side.owes
    assert not side.holds(1)
    assert not side.has_replies


async def test_bodies_in_progress_are_limited() -> None:
    side = incoming(requests_bytes_max=10)
    side.hold(1, 8)
    assert refused(side.refusal(2, request(b"xyz"))) == ("overloaded", "no")
    assert side.refusal(3, request(b"x")) is None


@pytest.mark.requirement("GATE-8")
async def test_while_draining_only_requests_that_a_turn_may_wait_for_are_accepted() -> None:
    occupancy = Occupancy(10)
    side = incoming(occupancy)
    occupancy.draining = "bye"

    assert refused(side.refusal(1, request())) == ("draining", "no")
    assert side.refusal(2, request(chain=(request().key,))) is None


async def test_a_request_is_released_once() -> None:
    side = incoming()
    side.hold(1, 5)
    assert side.owes
    assert side.holds(1)

    assert side.release(1)
    assert not side.release(1)
    assert not side.holds(1)
    assert not side.owes


async def test_replies_are_split_into_messages_in_order() -> None:
    side = incoming(message_bytes=3 * FRAME_OVERHEAD_BYTES)
    for number in range(7):
        side.answer(number, Reply())

    taken = [side.take_replies() for _ in range(4)]
    assert [[number for number, _ in replies] for replies in taken] == [[0, 1, 2], [3, 4, 5], [6], []]
    assert not side.owes


async def test_unread_replies_pause_reading_and_then_end_the_stream() -> None:
    side = incoming(replies_bytes=1_000, replies_bytes_max=3_000)
    assert (side.is_full, side.overflows) == (False, False)
    side.answer(1, Reply(b"x" * 1_000))
    assert (side.is_full, side.overflows) == (True, False)
    side.answer(2, Reply(b"x" * 2_000))
    assert (side.is_full, side.overflows) == (True, True)
    side.take_replies()
    assert (side.is_full, side.overflows) == (False, False)


async def test_a_reply_that_fits_into_no_message_becomes_a_problem() -> None:
    side = incoming()
    side.answer(1, Reply(bytes(WireOptions().body_bytes_max + 1), version=7))

    ((_, reply),) = side.take_replies()
    assert reply.problem is not None
    assert (reply.problem.code, reply.problem.executed, reply.version) == ("too_large", "unknown", 7)


async def test_bodies_from_objects_may_be_larger_than_bodies_from_a_gate() -> None:
    side = incoming(outside_body_bytes_max=100)
    assert side.refusal(1, request(b"x" * 100)) is None
    assert refused(side.refusal(2, request(b"x" * 101))) == ("too_large", "no")
    nested = request(b"x" * 101, chain=(ObjectKey("default", "Counter", "c2"),))
    assert side.refusal(3, nested) is None
    nested.body = b"x" * (STATE_BYTES_MAX + 1)
    assert refused(side.refusal(4, nested)) == ("too_large", "no")
