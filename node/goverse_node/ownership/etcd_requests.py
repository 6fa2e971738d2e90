"""Errands: the requests to etcd and the store that ownership and leadership ask for, each measured.

Every answer goes back to the rules, however the request ended. A claim that the store does not answer by the time at
which the leader would give the shards to somebody else counts as denied: the epochs it may have raised harm nobody.
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


class Errands:
    """Carries out one request each; the caller decides which run at the same time."""

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
        """Ask ``coordinator`` and ``authority`` in the name of ``node``, and tell ``ownership`` and ``leader``."""
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
        """Write the node's own key."""
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
            logger.warning("the node could not be registered", extra={"reason": error.detail})
        finally:
            self._ownership.registered(action.lease_id if revision is not None else None, self._now())

    async def claim(self, action: Claim) -> None:
        """Have the store raise epochs."""
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
        """Write the claims."""
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
        """Ask the store which epochs are still ours."""
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
            logger.warning("no campaign for the leadership", extra={"reason": error.detail})
        finally:
            election.answered(self._now())

    async def write_targets(self, write: WriteTargets) -> None:
        """Write the plan."""
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
