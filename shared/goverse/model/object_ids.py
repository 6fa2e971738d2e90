"""Generated ids for objects that are created without one."""

from __future__ import annotations

import uuid
from hashlib import blake2b


def time_ordered_id(wall_ms: int, entropy: bytes) -> str:
    """Return a version 7 UUID, which sorts by time; ``entropy`` is 10 random bytes."""
    return _uuid((wall_ms & 0xFFFF_FFFF_FFFF).to_bytes(6, "big") + entropy, version=7)


def derived_id(namespace: str, type_name: str, idempotency_key: str) -> str:
    """Return the id for a create with this idempotency key; every repetition gets the same id."""
    parts = b"\x00".join(part.encode() for part in (namespace, type_name, idempotency_key))
    return _uuid(blake2b(parts, digest_size=16, person=b"goverse.newid").digest(), version=8)


def _uuid(raw: bytes, *, version: int) -> str:
    value = bytearray(raw)
    value[6] = (value[6] & 0x0F) | (version << 4)
    value[8] = (value[8] & 0x3F) | 0x80
    return str(uuid.UUID(bytes=bytes(value)))
