"""How a reply is kept under an idempotency key, and what tells two requests with one key apart.

A kept reply is one format byte, the object's version as eight bytes big-endian, one byte that says whether a result
(0), the result of a creating request (1) or a problem (2) follows, and that, as JSON.
"""

from __future__ import annotations

from hashlib import blake2b
from struct import Struct
from typing import Final

from goverse.errors import DataNewer
from goverse.model import json_values
from goverse.model.frames import Operation, Problem, Reply, Request
from goverse.model.json_text import means_nothing

_FORMAT: Final = 1
_HEAD: Final = Struct(">BQB")
_RESULT, _CREATED, _PROBLEM = range(3)
_FINGERPRINT: Final = blake2b(digest_size=16, person=b"goverse.request")
_OPERATIONS: Final = {operation: b"\x00%d\x00" % operation for operation in Operation}
_SHORT: Final = 8  # a body of null, also with a line's end, has fewer bytes; longer ones are not looked at


def fingerprint(request: Request) -> bytes:
    """Return 16 bytes that are equal for requests with the same operation, method and body.

    An empty body, ``null`` and ``{}`` all mean no arguments, so they are the same. Otherwise bodies are compared byte
    for byte.
    """
    body = request.body
    if len(body) < _SHORT and means_nothing(body):
        body = b"{}"
    digest = _FINGERPRINT.copy()  # a third of the time that a new one takes
    digest.update(body + _OPERATIONS[request.operation] + request.method.encode())
    return digest.digest()


def encode_reply(reply: Reply) -> bytes:
    """Return ``reply`` as bytes to keep; its position is not part of them."""
    if reply.problem is None:
        return _HEAD.pack(_FORMAT, reply.version, _CREATED if reply.created else _RESULT) + reply.body
    problem = reply.problem
    members = {
        "code": problem.code,
        "detail": problem.detail,
        "retryable": problem.retryable,
        "extra": dict(problem.extra),
        "status": problem.status,
        "request_id": problem.request_id,
    }
    return _HEAD.pack(_FORMAT, reply.version, _PROBLEM) + json_values.encode(members)


def decode_reply(kept: bytes, commit_seq: int) -> Reply:
    """Return the reply that ``kept`` holds, marked as replayed.

    Raises:
        DataNewer: a newer release wrote it.
    """
    form, version, kind = _HEAD.unpack_from(kept)
    if form != _FORMAT:
        raise DataNewer(f"a kept reply has format {form}; this program knows {_FORMAT}")
    content = kept[_HEAD.size :]
    if kind == _PROBLEM:
        return Reply(
            version=version, commit_seq=commit_seq, replayed=True, problem=Problem(**json_values.decode(content))
        )
    return Reply(content, version, commit_seq, kind == _CREATED, replayed=True)
