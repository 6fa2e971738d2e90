"""Removal of receipts that no delivery can need any more, in the stores that keep them in memory.

A receipt is needed while its last call, or an earlier one of the same sender, is pending. Pending calls are looked at
by groups of senders, because there can be a million of them: the *floor* of a group is below all of its pending calls.
Notes are left out: they can stay for months, and no delivery of them needs a receipt.
A receipt up to the floor of its sender can go. A delivery of a call that was settled can still be on its way then, so
the table refuses settlements up to the floor.

A *round* looks at all pending calls, and then at all receipts, a few at a time. Floors stay below the position at which
the round before began, so pairs that are in use keep their receipts.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Final, NamedTuple
from zlib import crc32

from goverse.model.receipts import number_of
from goverse_node.stores import outbox_encoding as entries_of

ROUND_MS: Final = 900_000
"""The time from the beginning of one round to the next."""
GROUPS: Final = 1_024


class Floors(NamedTuple):
    """The numbers up to which no call is pending.

    Attributes:
        floor: of all groups of senders but those in ``held``.
        held: the lower floors of groups in which older calls are pending.
    """

    floor: int = 0
    held: Mapping[int, int] = {}

    def of(self, names: bytes) -> int:
        """Return the floor of the sender with these names (``outbox_encoding.sender_names``)."""
        return self.held.get(group_of(names), self.floor) if self.held else self.floor


def group_of(names: bytes) -> int:
    """Return the group of a sender."""
    return crc32(names) % GROUPS


class ReceiptRounds:
    """The rounds over one table.

    Attributes:
        floors: the floors of the latest round. They stay true, because later calls have higher numbers.
    """

    def __init__(self, pending: Mapping[int, bytes], receipts: MutableMapping[bytes, bytes]) -> None:
        """Search the receipts of a table, with its pending calls by number."""
        self.floors = Floors()
        self._pending = pending
        self._receipts = receipts
        self._newest_seq = 0
        self._mark = self._limit = 0
        self._numbers: list[int] | None = None
        self._held: dict[int, int] = {}
        self._pairs: list[bytes] = []
        self._began_ms: int | None = None

    def committed(self, seq: int) -> None:
        """Note the position of a durable record with effects."""
        self._newest_seq = seq

    def step(self, now_ms: int, limit: int) -> None:
        """Look at up to ``limit`` calls and receipts, if a round is running or due."""
        if not self._is_running:
            if self._began_ms is None:
                self._began_ms = now_ms
            if now_ms - self._began_ms < ROUND_MS:
                return
            self._began_ms = now_ms
            self._begin()
        self._advance(limit)

    def complete(self) -> int:
        """Finish a round that is running, then make another one. Returns the number of receipts that it removed."""
        self._finish()
        before = len(self._receipts)
        self._begin()
        self._finish()
        return before - len(self._receipts)

    def _finish(self) -> None:
        while self._is_running:
            self._advance(GROUPS)

    @property
    def _is_running(self) -> bool:
        return self._numbers is not None or bool(self._pairs)

    def _begin(self) -> None:
        self._limit, self._mark = self._mark, number_of(self._newest_seq + 1, 0) if self._newest_seq else 0
        self._held = {}
        self._numbers = [number for number in self._pending if number < self._limit]

    def _advance(self, limit: int) -> None:
        if self._numbers is None:
            self._forget(limit)
            return
        for number in self._numbers[-limit:]:
            entry = self._pending.get(number)
            if entry is not None and not entries_of.is_note(entry):
                group = group_of(entries_of.sender_names(entry))
                self._held[group] = min(number - 1, self._held.get(group, number))
        del self._numbers[-limit:]
        if not self._numbers:
            self._numbers = None
            self.floors = Floors(max(0, self._limit - 1), self._held)
            self._pairs = list(self._receipts) if self._limit else []

    def _forget(self, limit: int) -> None:
        for pair in self._pairs[-limit:]:
            stored = self._receipts.get(pair)
            if stored is not None and entries_of.last_of(stored) <= self.floors.of(entries_of.sender_of(pair)):
                del self._receipts[pair]
        del self._pairs[-limit:]
