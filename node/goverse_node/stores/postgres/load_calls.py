"""Loading of the pending calls, receipts and finished calls of a dump, in the transaction of the load.

Calls keep their numbers: an outbox and the receipts of its calls go together. Pending calls get the shards of their
senders in the cluster. Finished calls that have expired are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

from goverse.model.effects import FinishedCall, PendingCall, encode_call
from goverse.model.keys import ObjectKey, shard_at
from goverse.model.receipts import place_of
from goverse_node.stores.dump_calls import DumpedCall, DumpedReceipt
from goverse_node.stores.dump_lines import Dumped
from goverse_node.stores.hashes import hash_column, unsigned
from goverse_node.stores.postgres.kinds import kind_of

COPY_TIMEOUT_S: Final = 86_400.0
_ROWS_AT_A_TIME: Final = 5_000
_OUTBOX_COLUMNS: Final = (
    *("shard", "seq", "part", "hash", "sender_kind", "sender_id", "receiver_kind", "receiver_id"),
    *("due_ms", "expires_ms", "attempts", "void", "content"),
)
_RECEIPT_COLUMNS: Final = (
    *("receiver_kind", "receiver_id", "sender_kind", "sender_id"),
    *("hash", "last", "numbers", "outcomes"),
)
_FINISHED_COLUMNS: Final = (
    *("day", "sender_kind", "sender_id", "receiver_kind", "receiver_id", "id", "state", "attempts"),
    *("finished_ms", "expires_ms", "content", "outcome"),
)


def keys_of(dumped: DumpedCall) -> tuple[ObjectKey, ObjectKey]:
    """Return the sender and the receiver that a line names."""
    if isinstance(dumped, DumpedReceipt):
        return dumped.sender, dumped.receiver
    return dumped.sender, dumped.call.receiver


class LoadedCalls:
    """Copies the calls of a dump into the temporary tables of the load.

    Attributes:
        kinds: the kinds of all objects that the calls name.
    """

    def __init__(self, connection: Any, base: int, shards: int, now_ms: int) -> None:
        """Prepare for a cluster with so many ``shards``, which was created with ``base``."""
        self.kinds: set[tuple[str, str]] = set()
        self._connection = connection
        self._base = base
        self._shards = shards
        self._now_ms = now_ms
        self._tables: dict[str, tuple[str, ...]] = {
            "loaded_outbox": _OUTBOX_COLUMNS,
            "loaded_receipts": _RECEIPT_COLUMNS,
            "loaded_finished_calls": _FINISHED_COLUMNS,
        }
        self._rows: dict[str, list[tuple[Any, ...]]] = {table: [] for table in self._tables}

    async def copy(self, dumped: Iterator[Dumped]) -> int:
        """Copy all calls. Returns the number of the finished ones."""
        finished = 0
        for each in dumped:
            if isinstance(each, PendingCall):
                await self._add("loaded_outbox", each, self._pending(each))
            elif isinstance(each, DumpedReceipt):
                await self._add("loaded_receipts", each, _receipt(each, self._base))
            elif isinstance(each, FinishedCall) and each.expires_ms > self._now_ms:
                finished += 1
                await self._add("loaded_finished_calls", each, _finished(each))
        for table in self._tables:
            await self._flush(table)
        return finished

    async def _add(self, table: str, dumped: DumpedCall, row: tuple[Any, ...]) -> None:
        self.kinds.update(key[:2] for key in keys_of(dumped))
        self._rows[table].append(row)
        if len(self._rows[table]) == _ROWS_AT_A_TIME:
            await self._flush(table)

    async def _flush(self, table: str) -> None:
        await self._connection.copy_records_to_table(
            table, records=self._rows[table], columns=self._tables[table], timeout=COPY_TIMEOUT_S
        )
        self._rows[table].clear()

    def _pending(self, pending: PendingCall) -> tuple[Any, ...]:
        call, hashed = pending.call, hash_column(pending.sender, self._base)
        place = (shard_at(unsigned(hashed), self._shards), *place_of(pending.number), hashed)
        times = (call.due_ms, call.expires_ms)
        names = (*_name(pending.sender), *_name(call.receiver))
        return (*place, *names, *times, pending.attempts, pending.void, encode_call(call))


def _receipt(dumped: DumpedReceipt, base: int) -> tuple[Any, ...]:
    receipt, hashed = dumped.receipt, hash_column(dumped.sender, base)
    kept = (list(map(Decimal, receipt.outcomes)), list(receipt.outcomes.values()))
    return (*_name(dumped.receiver), *_name(dumped.sender), hashed, Decimal(receipt.last), *kept)


def _finished(end: FinishedCall) -> tuple[Any, ...]:
    names = (*_name(end.sender), *_name(end.call.receiver), end.call.id.encode(), end.state)
    return (0, *names, end.attempts, end.finished_ms, end.expires_ms, encode_call(end.call), end.outcome)


def _name(key: ObjectKey) -> tuple[int, bytes]:
    return kind_of(key[0], key[1]), key[2].encode()
