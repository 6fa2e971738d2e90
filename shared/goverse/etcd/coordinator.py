"""``EtcdCoordinator``: the ``Coordinator`` port on etcd."""

from __future__ import annotations

import math
import random as randomness
from collections.abc import AsyncGenerator, Callable, Sequence
from weakref import WeakValueDictionary

from goverse.errors import CoordinatorError
from goverse.etcd.client import Client
from goverse.etcd.cursor import WatchCursor
from goverse.etcd.failures import LEASE_ENDED
from goverse.etcd.methods import LEASE_GRANT, LEASE_KEEP_ALIVE, LEASE_REVOKE, RANGE, TXN
from goverse.etcd.options import EtcdOptions
from goverse.etcd.ranges import Names, Range
from goverse.etcd.v3 import etcd_pb2 as messages
from goverse.etcd.watch import Watch
from goverse.ports.coordinator import (
    Changed,
    Delete,
    Granted,
    Guard,
    Put,
    Reloaded,
    Snapshot,
    check_write,
)
from goverse.tls.credentials import Credentials


class EtcdCoordinator:
    """Keys, leases and watches in etcd. All methods must be called on the event loop that created the object."""

    def __init__(
        self,
        options: EtcdOptions,
        *,
        random: Callable[[], float] = randomness.random,
        credentials: Credentials | None = None,
    ) -> None:
        """Create the coordinator; connections are opened on demand.

        ``random`` spreads clients over members and attempts over time. ``credentials`` are those of ``options`` if the
        caller keeps them up to date; otherwise they are created here.

        Raises:
            ConfigError: a certificate is unusable.
        """
        self._client = Client(options, random=random, credentials=credentials)
        self._names = Names(options.namespace)
        self._cluster_id = 0
        self._last_read: tuple[str, Snapshot] | None = None
        self._cursors: WeakValueDictionary[Range, WatchCursor] = WeakValueDictionary()

    async def read(self, prefix: str) -> Snapshot:
        """Return all keys that begin with ``prefix``.

        Raises:
            Unavailable: no answer.
            CoordinatorError: etcd refused.
        """
        snapshot, self._cluster_id = await self._read(self._names.below(prefix))
        self._last_read = prefix, snapshot
        return snapshot

    async def _read(self, keys: Range, revision: int = 0) -> tuple[Snapshot, int]:
        """Return the current keys, or those as of ``revision`` without values, and the etcd cluster's id."""
        request = messages.RangeRequest(key=keys.first, range_end=keys.end, revision=revision, keys_only=revision > 0)
        answer = await self._client.call(RANGE, request)
        return Snapshot(answer.header.revision, list(map(self._names.entry, answer.kvs))), answer.header.cluster_id

    async def write(self, guards: Sequence[Guard], changes: Sequence[Put | Delete]) -> int | None:
        """Apply the changes if every guard holds.

        Raises:
            Unavailable: no answer; the write may have been applied.
            CoordinatorError: etcd refused.
        """
        check_write(guards, changes)
        request = messages.TxnRequest(
            compare=[comparison for guard in guards for comparison in self._comparisons(guard)],
            success=map(self._operation, changes),
        )
        try:
            answer = await self._client.call(TXN, request)
        except CoordinatorError as error:
            if error.extra.get("words") == LEASE_ENDED:
                return None
            raise
        return answer.header.revision if answer.succeeded else None

    async def grant(self, ttl_s: float) -> Granted:
        """Create a lease; etcd rounds the TTL up to whole seconds.

        Raises:
            Unavailable: no answer.
            CoordinatorError: etcd refused.
        """
        answer = await self._client.call(LEASE_GRANT, messages.LeaseGrantRequest(TTL=math.ceil(ttl_s)))
        return Granted(answer.ID, float(answer.TTL))

    async def refresh(self, lease_id: int) -> float | None:
        """Extend a lease.

        Raises:
            Unavailable: no answer.
            CoordinatorError: etcd refused.
        """
        answer = await self._client.call(LEASE_KEEP_ALIVE, messages.LeaseKeepAliveRequest(ID=lease_id))
        if answer.TTL <= 0 or await self._is_restored(answer.header):
            return None
        return float(answer.TTL)

    async def _is_restored(self, header: messages.ResponseHeader) -> bool:
        """True if the refreshed lease is a copy in a restored etcd, which is older than what the watches have seen."""
        for keys, cursor in tuple(self._cursors.items()):
            if cursor.cluster_id not in (0, header.cluster_id):
                return True
            if header.revision < cursor.after:  # the history may be older, or only this member is behind
                request = messages.RangeRequest(key=keys.first, range_end=keys.end, limit=1)
                return (await self._client.call(RANGE, request)).header.revision < cursor.after
        return False

    async def revoke(self, lease_id: int) -> None:
        """End a lease.

        Raises:
            Unavailable: no answer.
            CoordinatorError: etcd refused.
        """
        try:
            await self._client.call(LEASE_REVOKE, messages.LeaseRevokeRequest(ID=lease_id))
        except CoordinatorError as error:
            if error.extra.get("words") != LEASE_ENDED:
                raise

    def watch(self, prefix: str, after: int) -> AsyncGenerator[Changed | Reloaded]:
        """Yield the changes after ``after``.

        Raises:
            CoordinatorError: etcd refused.
        """
        keys = self._names.below(prefix)
        known = self._last_read[1] if self._last_read and self._last_read[0] == prefix else None
        self._last_read = None
        if known is not None and known.revision != after:
            known = None
        cursor = WatchCursor(self._names, after, self._cluster_id, known)
        self._cursors[keys] = cursor
        return Watch(self._client, keys, cursor, lambda revision: self._read(keys, revision)).changes()

    async def close(self) -> None:
        await self._client.close()

    def _comparisons(self, guard: Guard) -> list[messages.Compare]:
        key = self._names.inside(guard.key)
        comparisons: list[messages.Compare] = []
        if guard.create_revision is not None:
            comparisons.append(
                messages.Compare(key=key, target=messages.Compare.CREATE, create_revision=guard.create_revision)
            )
        if guard.mod_revision is not None:
            comparisons.append(messages.Compare(key=key, target=messages.Compare.MOD, mod_revision=guard.mod_revision))
        return comparisons

    def _operation(self, change: Put | Delete) -> messages.RequestOp:
        key = self._names.inside(change.key)
        if isinstance(change, Put):
            return messages.RequestOp(
                request_put=messages.PutRequest(key=key, value=change.value, lease=change.lease_id)
            )
        return messages.RequestOp(request_delete_range=messages.DeleteRangeRequest(key=key))
