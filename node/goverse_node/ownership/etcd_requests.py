"""Requests to etcd and the store, on behalf of ``Ownership`` and ``Leader``, each with its duration measured.

The result of every request is passed back to the rules, however the request ended. A claim counts as denied if the
store does not answer within the time after which the leader assigns the shards to another node. Epochs that it may have
raised nevertheless do no damage.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from goverse.cluster.election import Election
from goverse.cluster.lease import Lease
from goverse.cluster.view import ClusterView
from goverse.errors import GoverseError
from goverse.ports.authority import Authority
from goverse.ports.coordinator import Coordinator, Guard, Put
from goverse_node.ownership.actions import Claim, Publish, Register
from goverse_node.ownership.leader import Leader, WriteTargets
from goverse_node.ownership.ownership import Ownership
from goverse_node.ownership.times import ShardTimes

logger = logging.getLogger("goverse.node.ownership")


class EtcdRequests:
    """One method per kind of request. The caller decides which requests run concurrently.

    Attributes:
        times: durations of the requests.
    """

    def __init__(
        self,
        ownership: Ownership,
        leader: Leader,
        *,
        coordinator: Coordinator,
        authority: Authority,
        view: ClusterView,
        node: str,
        catalog: bytes | None,
        claim_timeout_s: float,
        now: Callable[[], float],
    ) -> None:
        """Send requests to ``coordinator`` and ``authority`` for ``node``; report to ``ownership`` and ``leader``."""
        self.times = ShardTimes()
        self._ownership = ownership
        self._leader = leader
        self._coordinator = coordinator
        self._authority = authority
        self._view = view
        self._node = node
        self._catalog = catalog
        self._claim_timeout_s = claim_timeout_s
        self._now = now

    async def register(self, action: Register) -> None:
        """Write the node's key, and the catalog of its types if there is one."""
        layout = self._view.layout
        key = layout.node(action.member.id)
        changes = [Put(key, action.member.encode(), action.lease_id)]
        if self._catalog is not None:
            changes.append(Put(layout.catalog(action.member.id), self._catalog, action.lease_id))
        revision: int | None = None
        try:
            with self.times.durations.measure("register"):
                revision = await self._coordinator.write([Guard(key, mod_revision=action.own_revision)], changes)
        except GoverseError as error:
            logger.warning("the node could not register in etcd", extra={"reason": error.detail})
        finally:
            self._ownership.registered(action.lease_id if revision is not None else None, self._now())

    async def claim(self, action: Claim) -> None:
        """Raise the epochs of shards in the store."""
        self.times.wanted(action.shards, self._now())
        try:
            with self.times.durations.measure("shard_claim"):
                async with asyncio.timeout(self._claim_timeout_s):
                    epochs = await self._authority.claim(action.shards, self._node)
        except (GoverseError, TimeoutError) as error:
            if isinstance(error, TimeoutError):
                self.times.timeouts.count("shard_claim")
            reason = error.detail if isinstance(error, GoverseError) else "the store did not answer in time"
            logger.warning("shards could not be claimed", extra={"reason": reason, "shards": len(action.shards)})
            self._ownership.denied(action.shards, self._now())
        except BaseException:
            self._ownership.denied(action.shards, self._now())
            raise
        else:
            self._ownership.claimed(epochs)

    async def publish(self, action: Publish) -> None:
        """Write the node's claims key."""
        layout = self._view.layout
        revision: int | None = None
        try:
            with self.times.durations.measure("shard_publish"):
                revision = await self._coordinator.write(
                    [
                        Guard(layout.targets, mod_revision=action.targets_revision),
                        Guard(layout.claims(self._node), mod_revision=action.own_revision),
                    ],
                    [Put(layout.claims(self._node), action.claims.encode(), action.lease_id)],
                )
        except GoverseError as error:
            logger.warning("claims could not be published", extra={"reason": error.detail})
        finally:
            now = self._now()
            self._ownership.published(revision, now)
            opened = self.times.opened(self._ownership, now) if revision is not None else 0
            if opened:
                serving, _ = self._ownership.progress()
                logger.info("shards opened", extra={"shards": opened, "serving": serving})

    async def check(self) -> None:
        """Read from the store which epochs still belong to this node."""
        try:
            with self.times.durations.measure("shard_check"):
                holdings = await self._authority.holdings()
        except GoverseError as error:
            logger.warning("claims could not be checked", extra={"reason": error.detail})
            self._ownership.unchecked(self._now())
        except BaseException:
            self._ownership.unchecked(self._now())
            raise
        else:
            self._ownership.checked({shard: held.epoch for shard, held in holdings.items() if held.owner == self._node})

    async def campaign(self, election: Election, lease: Lease) -> None:
        """Try to become the leader."""
        key = self._view.layout.leader
        try:
            if lease.id is not None:
                guard = Guard(key, create_revision=0)
                with self.times.durations.measure("campaign"):
                    await self._coordinator.write([guard], [Put(key, election.value, lease.id)])
        except GoverseError as error:
            logger.warning("the leader campaign failed", extra={"reason": error.detail})
        finally:
            election.answered(self._now())

    async def write_targets(self, write: WriteTargets) -> None:
        """Write the targets of a plan, and log the reassigned shards."""
        layout = self._view.layout
        revision: int | None = None
        try:
            with self.times.durations.measure("write_targets"):
                revision = await self._coordinator.write(
                    [
                        Guard(layout.leader, create_revision=write.leader_revision),
                        Guard(layout.targets, mod_revision=write.targets_revision),
                    ],
                    [Put(layout.targets, write.targets.encode())],
                )
        except GoverseError as error:
            logger.warning("targets could not be written", extra={"reason": error.detail})
        finally:
            for change in self._leader.written(revision, self._now()):
                logger.info("shards reassigned", extra=change)
