"""The bound on kept replies: how many bytes they take in memory, all together and for each object.

A reply that is kept under an idempotency key cannot be dropped before its time: the call that it answers would take
effect a second time. So a store that has no room for further replies refuses new keyed calls (``overloaded``) before
they run, and goes on answering repetitions of the earlier ones. Calls without a key, and readonly calls, are not
concerned: their replies are not kept.

A call is refused by what is kept when it arrives, so replies of calls under way by then may exceed the bound.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from goverse.errors import Overloaded
from goverse.limits import KEPT_REPLIES_BYTES_MAX, KEPT_REPLIES_OBJECT_BYTES_MAX, KIB, MIB

REPLY_OVERHEAD_BYTES: Final = 128
"""What a kept reply takes beside its bytes and those of its key: Python's headers, its place in a table."""

HEAVY_BYTES: Final = 16 * KIB
"""Replies from this size on are counted for their object; smaller ones meet the bound of all first."""

_RETRY_AFTER_S: Final = 60


class KeptBounds(NamedTuple):
    """Bytes of kept replies: of all together, and of those of one object that are large (``HEAVY_BYTES``)."""

    bytes_max: int = KEPT_REPLIES_BYTES_MAX
    object_bytes_max: int = KEPT_REPLIES_OBJECT_BYTES_MAX


def no_room(kept_bytes: int, bytes_max: int, setting: str, whose: str) -> Overloaded:
    """Return the error for a keyed call whose reply there is no room for."""
    return Overloaded(
        f"the replies kept for idempotency keys of {whose} take {kept_bytes / MIB:.0f} MiB, and {bytes_max / MIB:.0f} "
        f"MiB are allowed ({setting}); they are kept for node.idempotency_retention_s. Repetitions are answered, new "
        "calls with a key are refused. Declare methods that change nothing readonly: their replies are not kept",
        retry_after_s=_RETRY_AFTER_S,
    )
