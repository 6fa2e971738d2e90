"""Encoding of a stored record. The log, the snapshots and the table in memory use the same bytes, called the *body*.

    head    record type, lengths of the names, of the state and of the kept reply
    core    version, position, time, state_version, flags
    state   digest of the creation arguments (16 bytes, only with the flag DIGEST), then JSON; absent for a tombstone
    reply   expiry time, time of keeping, position, fingerprint, encoded reply; absent without an idempotency key
    names   namespace, type, id, idempotency key (UTF-8)

``core + state`` is one slice of the body, and the reply is another. The table keeps these two slices, so reading a log
back copies bytes and decodes no JSON. All integers are little endian.

In a file, each body follows a PREFIX with its length and its checksum. The CRC-32 is seeded with the length, so it
covers the length as well. The body itself contains no checksum.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple
from zlib import crc32

from goverse.model.keys import ObjectKey
from goverse.model.records import StoredObject, StoredReply

COMMIT: Final = 1
"""Record type: the commit of a turn. In a snapshot: the part of it that is still needed."""
FLOOR: Final = 2
"""Record type, in snapshots only: the highest version of the forgotten tombstones of a type."""

OBJECT: Final = 1
"""Flag: the record writes the object. Without it, the record only keeps a reply."""
ALIVE: Final = 2
"""Flag: the object has a state. Without it, the record is a tombstone."""
PLAIN: Final = 4
"""Flag: the object was created without arguments."""
DIGEST: Final = 8
"""Flag: the digest of the arguments that the object was created with precedes the JSON of its state."""
DIGEST_SIZE: Final = 16

FULL: Final = Struct("<BBBHBIIQQQIB")
HEAD: Final = Struct("<BBBHBII")
CORE: Final = Struct("<QQQIB")
REPLY: Final = Struct("<QQQB")
"""Both times are in running time (``RunningTime``)."""
U64: Final = Struct("<Q")
PREFIX: Final = Struct("<II")
"""The length and the checksum of a body, in front of it in a file."""
CORE_AT: Final = HEAD.size
STATE_AT: Final = FULL.size
SEQ_AT: Final = HEAD.size + U64.size
TIME_AT: Final = SEQ_AT + U64.size
FLAGS_IN_BLOB: Final = CORE.size - 1

assert FULL.size == HEAD.size + CORE.size


class Body(NamedTuple):
    """A decoded record body.

    Attributes:
        what: COMMIT or FLOOR.
        namespace, type, id: the object's key.
        idempotency_key: None if no reply is kept.
        object: ``core + state``, as the table keeps it.
        reply: the reply, as the table keeps it; empty if there is none.
        version, seq, at_ms, state_version, flags: the fields of the core.
    """

    what: int
    namespace: str
    type: str
    id: str
    idempotency_key: str | None
    object: bytes
    reply: bytes
    version: int
    seq: int
    at_ms: int
    state_version: int
    flags: int

    @property
    def key(self) -> ObjectKey:
        """The object's key."""
        return ObjectKey(self.namespace, self.type, self.id)

    @property
    def state(self) -> bytes | None:
        """The state, or None for a tombstone."""
        return self.object[_json_at(self.flags) :] if self.flags & ALIVE else None

    @property
    def creation(self) -> bytes | None:
        """The digest of the creation arguments: empty if there were none, None if it is unknown."""
        return _creation(self.object, self.flags)


def decode(body: bytes) -> Body:
    """Decode a body. The caller has verified its checksum.

    Raises:
        ValueError: the lengths are inconsistent, or a name is not UTF-8.
    """
    if len(body) < STATE_AT:
        raise ValueError(f"the record has {len(body)} bytes, fewer than its fixed part of {STATE_AT}")
    what, namespace_len, type_len, id_len, idem_len, state_len, reply_len, *core = FULL.unpack_from(body)
    reply_at = STATE_AT + state_len
    names_at = reply_at + reply_len
    type_at = names_at + namespace_len
    id_at = type_at + type_len
    idem_at = id_at + id_len
    if idem_at + idem_len != len(body):
        raise ValueError("the lengths in the record do not match its size")
    return Body(
        what,
        body[names_at:type_at].decode(),
        body[type_at:id_at].decode(),
        body[id_at:idem_at].decode(),
        body[idem_at:].decode() if reply_len else None,
        body[CORE_AT:reply_at],
        body[reply_at:names_at],
        *core,
    )


def encode_floor(namespace: str, type_name: str, version: int) -> bytes:
    """Encode a FLOOR record: versions of this type stay above ``version``."""
    first, second = namespace.encode(), type_name.encode()
    return FULL.pack(FLOOR, len(first), len(second), 0, 0, 0, 0, version, 0, 0, 0, 0) + first + second


def decode_reply(blob: bytes) -> StoredReply:
    """Decode a reply as the table keeps it."""
    expires_ms, _, seq, fingerprint_len = REPLY.unpack_from(blob)
    at = REPLY.size + fingerprint_len
    return StoredReply(blob[REPLY.size : at], blob[at:], expires_ms, seq)


def decode_object(blob: bytes) -> StoredObject:
    """Decode an object (``core + state``) as the table keeps it."""
    version, seq, at_ms, state_version, flags = CORE.unpack_from(blob)
    state = blob[_json_at(flags) :] if flags & ALIVE else None
    return StoredObject(version, state, state_version, seq, at_ms, _creation(blob, flags))


def _json_at(flags: int) -> int:
    """Return the offset of the JSON in ``core + state``."""
    return CORE.size + DIGEST_SIZE if flags & DIGEST else CORE.size


def object_flags(state: bytes | None, creation: bytes | None) -> int:
    """Return the flags of a record that writes an object, or a tombstone if ``state`` is None."""
    if state is None:
        return OBJECT
    if creation is None:
        return OBJECT | ALIVE
    return OBJECT | ALIVE | (DIGEST if creation else PLAIN)


def _creation(blob: bytes, flags: int) -> bytes | None:
    if flags & DIGEST:
        return blob[CORE.size : CORE.size + DIGEST_SIZE]
    return b"" if flags & PLAIN else None


def seq_of(body: bytes) -> int:
    """Return the position of a record, without decoding the rest."""
    seq: int = U64.unpack_from(body, SEQ_AT)[0]
    return seq


def at_ms_of(body: bytes) -> int:
    """Return the time of a record, without decoding the rest."""
    at_ms: int = U64.unpack_from(body, TIME_AT)[0]
    return at_ms


def framed(body: bytes) -> bytes:
    """Return the body with its PREFIX, as it is written to a file."""
    return PREFIX.pack(len(body), crc32(body, len(body))) + body
