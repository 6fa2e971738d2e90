"""Numbers that stand for kinds of objects, that is for namespace and type together.

A kind's number is a hash, the same in every process, so that nobody has to ask for it; ``goverse.kinds`` says what it
stands for, and a process makes sure of that before its first commit for a kind.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b


@lru_cache(4096)
def kind_of(namespace: str, type_name: str) -> int:
    """Return the number of a kind, a signed 64-bit integer."""
    name = b"\x00".join((namespace.encode(), type_name.encode()))
    return int.from_bytes(blake2b(name, digest_size=8, person=b"goverse.kind").digest(), "big", signed=True)
