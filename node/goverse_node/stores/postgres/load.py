"""Load a dump into the database of a cluster, in one transaction.

Objects keep their versions and positions. The change feed continues after them in a new generation, so cursors from
before the load expire. Expired replies are left out. Replies under keys that a router generated are left out as well,
because only that router would send those keys again. Reliable calls are loaded by
``goverse_node.stores.postgres.load_calls``.

All nodes have to be stopped. A node that found an object missing before the load would keep answering that it does not
exist. A node that starts during the load waits until it has ended, because the load locks the tables for readers, too.
The load checks for connected nodes before it starts and again when it holds the lock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from goverse.errors import MalformedRequest, RestoreRefused, StoreError
from goverse.model.keys import ROUTER_KEY_PREFIX, ObjectKey, placement_of
from goverse_node.stores.dump_lines import Contents, Dumped, DumpedFloor, DumpedObject, DumpedReply, check, read
from goverse_node.stores.hashes import hash_column
from goverse_node.stores.postgres.kinds import kind_of
from goverse_node.stores.postgres.load_calls import COPY_TIMEOUT_S, LoadedCalls, keys_of
from goverse_node.stores.postgres.statements import query

Lines = Callable[[str], Iterable[bytes]]

OWNER: Final = "goverse load"
_DAYS: Final = 2
_TRIES_MAX: Final = 25
_PAUSE_S: Final = 0.2
_OBJECT_COLUMNS: Final = (
    *("kind", "id", "hash", "version", "generation", "commit_seq", "previous_seq", "anchor_seq"),
    *("modified_ms", "state_version", "state", "creation"),
)
_REPLY_COLUMNS: Final = ("day", "kind", "id", "idempotency_key", "fingerprint", "reply", "expires_ms", "commit_seq")


@dataclass(frozen=True, slots=True)
class LoadedIntoDatabase:
    """The result of a load.

    Attributes:
        commit_seq: the position of the load.
        contents: counts of the dump's contents.
        replies_left_out: the number of replies that were not loaded.
        calls_left_out: the number of finished calls that were not loaded, because they had expired.
    """

    commit_seq: int
    contents: Contents
    replies_left_out: int
    calls_left_out: int


async def load(connection: Any, lines: Lines, *, now_ms: int, shards: int, add: bool) -> LoadedIntoDatabase:
    """Load a dump completely or not at all. With ``add``, the database may contain other objects.

    Raises:
        DataDamaged: lines of the dump are invalid, or an id names a shard or node that the cluster does not have.
        RestoreRefused: the database is in use, it is not empty and ``add`` is False, or it already contains an object
            or a reliable call of the dump.
        StoreError: two types have the same number.
    """
    found = await connection.fetchrow("SELECT base, shards FROM goverse.cluster")
    base, shards = (found["base"], found["shards"]) if found is not None else (shards, shards)
    contents = check(lines("checking"), _PlacementCheck(base))
    await _refuse_others(connection)
    # Without a partition for their day, the loaded replies would go into the rest table.
    await connection.fetchval("SELECT goverse.prepare_days($1)", _DAYS)
    async with connection.transaction():
        await connection.execute(query("loading/begin"))
        await _refuse_others(connection, tries=1)
        if not add and await connection.fetchval(query("loading/holds")):
            raise RestoreRefused("the database is not empty; load into an empty one, or add to it with --add")
        await _copy_objects(connection, read(lines("objects")), base)
        replies, finished = await _copy_replies(connection, read(lines("replies")), now_ms), 0
        if contents.calls:
            calls = LoadedCalls(connection, base, shards, now_ms)
            finished = await calls.copy(read(lines("calls")))
            await _name_kinds(connection, calls.kinds)
        for what, found_by in (("objects", "loading/known"), ("reliable calls", "loading/known_calls")):
            if known := [row[0] for row in await connection.fetch(query(found_by))]:
                raise RestoreRefused(f"the database already contains {what} of the dump: {', '.join(known)}")
        await connection.execute(query("loading/take_over"))
        await connection.execute(query("loading/new_feed"), contents.last_seq)
        commit_seq = await connection.fetchval(query("loading/note_position"), OWNER)
    left_out = (contents.replies - replies, contents.finished - finished)
    return LoadedIntoDatabase(commit_seq, contents, *left_out)


class _PlacementCheck:
    """Refuses objects whose id names a node, or a shard that the cluster does not have."""

    def __init__(self, base: int) -> None:
        self._base = base

    def __call__(self, dumped: Dumped) -> None:
        if isinstance(dumped, DumpedObject):
            self._check(dumped.key)
        elif not isinstance(dumped, DumpedReply | DumpedFloor):
            for key in keys_of(dumped):
                self._check(key)

    def _check(self, key: ObjectKey) -> None:
        placement = placement_of(key.id)
        if placement.node is not None:
            raise MalformedRequest(f"{key} names a node; objects with such an id cannot be stored in a cluster")
        if placement.shard is not None and placement.shard >= self._base:
            raise MalformedRequest(f"{key} names a shard outside of the cluster's range 0 to {self._base - 1}")


async def _refuse_others(connection: Any, *, tries: int = _TRIES_MAX) -> None:
    """Check that no other GoVerse process is connected.

    The check is repeated up to ``tries`` times, because connections of a node that was just stopped close after a
    moment.

    Raises:
        RestoreRefused: other processes stay connected.
    """
    others = 0
    for left in reversed(range(tries)):
        others = await connection.fetchval(query("loading/others"))
        if not others:
            return
        if left:
            await asyncio.sleep(_PAUSE_S)
    raise RestoreRefused(f"the database is used by {others} other GoVerse connections; stop all nodes first")


async def _copy_objects(connection: Any, dumped: Iterator[Dumped], base: int) -> None:
    kinds: set[tuple[str, str]] = set()

    def rows() -> Iterator[tuple[Any, ...]]:
        for each in dumped:
            if isinstance(each, DumpedObject):
                kinds.add(each.key[:2])
                number, object_id = kind_of(*each.key[:2]), each.key.id.encode()
                versions = (each.version, each.generation, each.commit_seq, 0, 0)
                written = (each.modified_ms, each.state_version, each.state, each.creation)
                yield (number, object_id, hash_column(each.key, base), *versions, *written)

    await _copy(connection, "loaded_objects", _OBJECT_COLUMNS, rows())
    await _name_kinds(connection, kinds)


async def _name_kinds(connection: Any, kinds: Collection[tuple[str, str]]) -> None:
    for namespace, type_name in sorted(kinds):
        number = kind_of(namespace, type_name)
        named = await connection.fetchrow(query("name_kind"), number, namespace, type_name)
        if tuple(named) != (namespace, type_name):
            raise StoreError(
                f"type {type_name!r} has the same number as {named['type']!r} ({number}); rename one of them"
            )


async def _copy_replies(connection: Any, dumped: Iterator[Dumped], now_ms: int) -> int:
    """Copy the replies that a retry can still ask for. Returns their number."""
    today, count = await connection.fetchval("SELECT goverse.today()"), 0

    def rows() -> Iterator[tuple[Any, ...]]:
        nonlocal count
        for each in dumped:
            if not isinstance(each, DumpedReply) or each.reply.expires_ms <= now_ms:
                continue
            if not each.idempotency_key.startswith(ROUTER_KEY_PREFIX):
                count += 1
                name = (kind_of(*each.key[:2]), each.key.id.encode(), each.idempotency_key.encode())
                kept = each.reply
                yield (today, *name, kept.fingerprint, kept.reply, kept.expires_ms, kept.commit_seq)

    await _copy(connection, "loaded_replies", _REPLY_COLUMNS, rows())
    return count


async def _copy(connection: Any, table: str, columns: tuple[str, ...], rows: Iterator[tuple[Any, ...]]) -> None:
    await connection.copy_records_to_table(table, records=rows, columns=columns, timeout=COPY_TIMEOUT_S)
