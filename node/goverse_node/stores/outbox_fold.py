"""Folding of outboxes, receipts and finished calls (``goverse_node.stores.wal.fold``)."""

from __future__ import annotations

from collections.abc import Mapping

from goverse.model.effects import CallState
from goverse_node.stores.encoding import FINISHED, FULL, MARK, OUTCOME, PENDING, RECEIPT, STATE_AT
from goverse_node.stores.outbox_encoding import (
    NUMBER_SIZE,
    expiry_of,
    is_alive,
    last_of,
    outcome_number,
    owner_of,
    pair_in,
    receipt_value,
    sender_of,
    sub_name_of,
    value_of,
)
from goverse_node.stores.receipt_rounds import Floors


def entry_name(entry: bytes) -> bytes:
    """Return the sort key of an entry: the names of its object, its sub-name, the lengths of the names, its type."""
    _, namespace_len, type_len, id_len, _, value_len, sub_len, *_ = FULL.unpack_from(entry)
    sub_at = STATE_AT + value_len
    at = sub_at + sub_len
    type_at = at + namespace_len
    id_at = type_at + type_len
    names = (entry[at:type_at], entry[type_at:id_at], entry[id_at : id_at + id_len], entry[sub_at:at])
    return b"\0".join((*names, entry[1:6] + entry[:1]))


class Kept:
    """Decides which entries a snapshot keeps.

    The entries arrive in the order of their names, so a mark comes after its call, and an outcome after its receipt.
    """

    def __init__(self, now_ms: int, floors: Floors, most_ms: Mapping[CallState, int]) -> None:
        """Begin with the first entry.

        Finished calls that have expired by ``now_ms``, also by the limits ``most_ms``, are left out, and receipts up to
        the floors of their senders.
        """
        self._now_ms = now_ms
        self._floors = floors
        self._most_ms = most_ms
        self._call = b""
        self._pair = b""
        self._low = 0

    def keeps(self, entry: bytes) -> bool:
        """True if the snapshot keeps the entry, the newest of its name."""
        what = entry[0]
        if what == FINISHED:
            return is_alive(entry) and expiry_of(entry, self._most_ms) > self._now_ms
        sub_name = sub_name_of(entry)
        if what in (PENDING, MARK):
            call = owner_of(entry) + sub_name[: 1 + NUMBER_SIZE]
            if what == MARK:
                return call == self._call
            self._call = call if is_alive(entry) else b""
            return bool(self._call)
        pair = owner_of(entry) + pair_in(sub_name)
        if what == RECEIPT:
            value = value_of(entry)
            needed = last_of(value) > self._floors.of(sender_of(pair))
            self._pair, self._low = pair if needed else b"", receipt_value(value)[1]
            return needed
        return what == OUTCOME and pair == self._pair and outcome_number(sub_name) >= self._low
