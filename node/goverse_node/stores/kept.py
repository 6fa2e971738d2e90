"""Limits on the memory of kept replies: one for all replies together, one for the large replies of each object.

A reply that is kept under an idempotency key must not be dropped before it expires. If it were, a retry with the same
key would run the call a second time. When a limit is reached, the store therefore refuses new calls that carry a key
(``overloaded``) before they run, and still answers retries of earlier calls. Calls without a key and readonly calls are
not affected, because their replies are not kept.

The limit is checked when a call arrives. Calls that are already running are not stopped, so their replies can exceed
the limit.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from goverse.errors import Overloaded
from goverse.limits import KEPT_REPLIES_BYTES_MAX, KEPT_REPLIES_OBJECT_BYTES_MAX, KIB, MIB

REPLY_OVERHEAD_BYTES: Final = 128
"""Estimated memory of a kept reply in addition to the bytes of the reply and of its key: Python's object headers and
the entry in a table."""

HEAVY_BYTES: Final = 16 * KIB
"""Minimum size of a reply that counts towards the limit of its object. Smaller replies reach the limit for all replies
first."""

_RETRY_AFTER_S: Final = 60


class KeptBounds(NamedTuple):
    """Limits on kept replies, in bytes.

    Attributes:
        bytes_max: for all replies together.
        object_bytes_max: for the large replies (``HEAVY_BYTES``) of one object.
    """

    bytes_max: int = KEPT_REPLIES_BYTES_MAX
    object_bytes_max: int = KEPT_REPLIES_OBJECT_BYTES_MAX


def no_room(kept_bytes: int, bytes_max: int, setting: str, whose: str) -> Overloaded:
    """Return the error for a call with an idempotency key whose reply would exceed a limit."""
    return Overloaded(
        f"kept replies of {whose} take {kept_bytes / MIB:.0f} MiB, the limit is {bytes_max / MIB:.0f} MiB ({setting}). "
        "Retries of earlier calls are answered; new calls with an idempotency key are refused until replies expire "
        "(node.idempotency_retention_s). Declare methods that change nothing as readonly: their replies are not kept",
        retry_after_s=_RETRY_AFTER_S,
    )
