"""The history of objects: single changes, found by their positions.

The changes of an object form a chain. It begins at the position of the newest one, which ``Store.load`` returns as
``commit_seq``. ``Change.previous_seq`` leads to the change before. ``Change.anchor_seq`` leads to the latest one whose
version is a multiple of 64, so a version far back is found in few steps: from version 1 000, version 40 is 15 anchors
and 24 single steps away.

Rules that every implementation keeps (``goverse.testing.history_contract`` checks them on each):

1. The chain of an object has every version that the feed still has, each once, in falling order.
2. Both links of a change are older than the change. A link to a change that is no longer kept leads to None.
3. The deletion of an object and the creation under the same key after it are changes of the same chain. Each life has
   a higher ``generation`` than the one before.
4. The cause of a change is the one in its commit record.
"""

from __future__ import annotations

from typing import Protocol

from goverse.model.keys import ObjectKey
from goverse.model.records import Change


class History(Protocol):
    """Access to past changes by position. All methods are called on one event loop."""

    async def change(self, key: ObjectKey, commit_seq: int) -> Change | None:
        """Return the change of ``key`` at a position; None if there is none, or if it is no longer kept.

        Raises:
            Unavailable: the store is unavailable.
        """
        ...
