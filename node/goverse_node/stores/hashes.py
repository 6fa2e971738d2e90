"""The hash of an object as a column of signed integers keeps it.

``goverse.model.keys`` computes an unsigned 64-bit number, whose top bits are the number of the shard. PostgreSQL has
signed integers only, so a column holds the number minus 2**63. The order stays the same: the objects of a shard are one
range in both forms.
"""

from __future__ import annotations

from typing import Final

from goverse.model.keys import ObjectKey, placement_hash

_MIDDLE: Final = 1 << 63


def hash_column(key: ObjectKey, base: int) -> int:
    """Return the hash of an object for its column; ``base`` as for ``placement_hash``."""
    return signed(placement_hash(key, base))


def signed(hashed: int) -> int:
    """Return a hash in the form of the column."""
    return hashed - _MIDDLE


def unsigned(stored: int) -> int:
    """Return the hash that a column holds."""
    return stored + _MIDDLE
