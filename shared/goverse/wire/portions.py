"""Envelopes that are larger than what the peer takes, in portions that it does take.

gRPC refuses a message beyond the bound and ends the stream, with everything that is under way on it. Envelopes stay far
below the bound as a rule: a message is closed at 256 KiB, and a body that fits into none is refused where it is queued.
What is left is rare, so it is looked at only when an envelope has been encoded and is too large: many listings that
became ready together, or a frame whose names are as long as a body. Such an envelope is divided. A frame that fits into
no message at all is replaced by a problem (a reply) or handed back to be refused (a request).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from goverse.errors import Executed, TooLarge, known
from goverse.model.frames import Problem
from goverse.wire.problems import write_problem
from goverse.wire.v1 import wire_pb2 as messages

_FRAME_HEAD_BYTES: Final = 16  # the tag and the length of a frame
_ENVELOPE_BYTES: Final = 1024  # what else an envelope of frames holds


class Portions(NamedTuple):
    """An envelope, divided.

    Attributes:
        messages: encoded, in the order in which they have to leave.
        requests: ids of requests that fit into no message.
        listings: ids of list requests that fit into no message.
    """

    messages: list[bytes]
    requests: list[int]
    listings: list[int]


def divide(envelope: messages.Envelope, bytes_max: int) -> Portions:
    """Divide an envelope into messages of at most ``bytes_max`` bytes; its frames keep their order.

    An introduction leaves first. Everything that is no frame leaves last: a pong promises that nothing comes behind it.
    """
    found = Portions([], [], [])
    part, size, room = messages.Envelope(), 0, bytes_max - _ENVELOPE_BYTES
    if envelope.HasField("hello"):
        part.hello.CopyFrom(envelope.hello)
        envelope.ClearField("hello")
        size = part.ByteSize()
    for kind, frame in _frames(envelope, room, found):
        frame_size = frame.ByteSize() + _FRAME_HEAD_BYTES
        if size and size + frame_size > room:
            found.messages.append(part.SerializeToString())
            part, size = messages.Envelope(), 0
        getattr(part, kind).append(frame)
        size += frame_size
    del envelope.requests[:], envelope.replies[:], envelope.list_requests[:], envelope.list_replies[:]
    if size and size + envelope.ByteSize() > bytes_max:
        found.messages.append(part.SerializeToString())
        part = messages.Envelope()
    part.MergeFrom(envelope)
    found.messages.append(part.SerializeToString())
    return found


_Frame = messages.Request | messages.Reply | messages.ListRequest | messages.ListReply


def _frames(envelope: messages.Envelope, room: int, found: Portions) -> Iterator[tuple[str, _Frame]]:
    """Go through the frames that fit; note those that do not."""
    for request in envelope.requests:
        if request.ByteSize() + _FRAME_HEAD_BYTES <= room:
            yield "requests", request
        else:
            found.requests.append(request.id)
    for asked in envelope.list_requests:
        if asked.ByteSize() + _FRAME_HEAD_BYTES <= room:
            yield "list_requests", asked
        else:
            found.listings.append(asked.id)
    for reply in envelope.replies:
        if (size := reply.ByteSize() + _FRAME_HEAD_BYTES) <= room:
            yield "replies", reply
        else:
            unfit = messages.Reply(id=reply.id, version=reply.version, commit_seq=reply.commit_seq)
            write_problem(_too_large(size, room), unfit.problem)
            yield "replies", unfit
    for listed in envelope.list_replies:
        if (size := listed.ByteSize() + _FRAME_HEAD_BYTES) <= room:
            yield "list_replies", listed
        else:
            shorter = messages.ListReply(id=listed.id)
            write_problem(_too_large(size, room), shorter.problem)
            yield "list_replies", shorter


def _too_large(size: int, room: int) -> Problem:
    error = TooLarge(f"a reply of {size} bytes does not fit into a message; {room} bytes do")
    return Problem.of(known(error, Executed.UNKNOWN))


def unsendable(bytes_max: int) -> TooLarge:
    """Return the error for a request that fits into no message of ``bytes_max`` bytes."""
    return known(TooLarge(f"the request does not fit into a message of {bytes_max} bytes"), Executed.NO)
