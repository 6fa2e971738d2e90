"""Numbers for kinds. A *kind* is a namespace and a type together.

The number of a kind is a hash of the two names. Every process computes the same number, without asking the database.
The table ``goverse.kinds`` maps it back to the names. A process adds its row, or checks it for a hash collision, before
its first commit for a kind.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b


@lru_cache(4096)
def kind_of(namespace: str, type_name: str) -> int:
    """Return the number of a kind, as a signed 64-bit integer."""
    name = b"\x00".join((namespace.encode(), type_name.encode()))
    return int.from_bytes(blake2b(name, digest_size=8, person=b"goverse.kind").digest(), "big", signed=True)
