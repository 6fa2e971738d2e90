"""Splitting of envelopes that exceed the peer's message size limit.

gRPC refuses a message beyond the limit and ends the stream, with all requests in progress on it. Envelopes normally
stay far below the limit: a message is closed at 256 KiB, and a body that fits into no message is refused when it is
queued. Two rare cases remain: many listings that become ready at the same time, and a frame whose names are as long as
a body. The size is therefore checked only after encoding. An envelope that is too large is split. A frame that fits
into no message is replaced by a problem (a reply) or returned to be refused (a request).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from goverse.errors import Executed, TooLarge, known
from goverse.model.frames import Problem
from goverse.wire.problems import write_problem
from goverse.wire.v1 import wire_pb2 as messages

_FRAME_HEAD_BYTES: Final = 16  # the tag and the length of a frame
_ENVELOPE_BYTES: Final = 1024  # room for everything in an envelope besides its frames


class Portions(NamedTuple):
    """A split envelope.

    Attributes:
        messages: encoded messages, in the order in which they must be sent.
        requests: ids of requests that fit into no message.
        listings: ids of list requests that fit into no message.
    """

    messages: list[bytes]
    requests: list[int]
    listings: list[int]


def divide(envelope: messages.Envelope, bytes_max: int) -> Portions:
    """Split an envelope into messages of at most ``bytes_max`` bytes; frames keep their order.

    A hello is sent first. Everything that is not a frame is sent last, because a pong promises that everything before
    it was sent.
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
    """Yield the frames that fit into a message; record those that do not."""
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
    error = TooLarge(f"a reply of {size} bytes exceeds the limit of {room} bytes")
    return Problem.of(known(error, Executed.UNKNOWN))


def unsendable(bytes_max: int) -> TooLarge:
    """Return the error for a request that exceeds ``bytes_max``."""
    return known(TooLarge(f"the request exceeds the message limit of {bytes_max} bytes"), Executed.NO)
