"""The keeper: carries out what ``Ownership`` and ``Leader`` say, over etcd, the store and the node's activations.

One loop looks at both after every input and at their wake times; each request to etcd or the store runs in a task of
its own and comes back as an input. The keeper is also the node's ``Tenure``: what it may serve now.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final

from goverse.cluster.election import Election
from goverse.cluster.member import Member, MemberState
from goverse.cluster.table import ShardTable
from goverse.cluster.view import ClusterView
from goverse.errors import GoverseError, MalformedRequest
from goverse.model.catalog import Catalog, encode_catalog
from goverse.model.keys import ObjectKey, shard_of
from goverse.ports.authority import Authority
from goverse.ports.coordinator import Coordinator, Guard, Put
from goverse.routing.cluster_watch import ClusterWatch
from goverse.routing.lease_keeper import LeaseKeeper
from goverse_node.evacuation import Evacuation
from goverse_node.ownership.actions import Action, Check, Claim, Close, Drop, Leave, Publish, Register
from goverse_node.ownership.leader import Leader, LeaderLimits, WriteTargets
from goverse_node.ownership.ownership import Ownership, OwnershipLimits, Shutdown

_IDLE_S: Final = 1.0  # the longest time between two looks

logger = logging.getLogger("goverse.node.ownership")


class Keeper:
    """One node's part in its cluster; implements ``goverse_node.tenure.Tenure``.

    Attributes:
        ownership, leader: the rules, with what they count.
    """

    def __init__(
        self,
        member: Member,
        watch: ClusterWatch,
        coordinator: Coordinator,
        authority: Authority,
        *,
        table: ShardTable,
        lease_ttl_s: float,
        catalog: Catalog | None = None,
        limits: OwnershipLimits | None = None,
        leader_limits: LeaderLimits | None = None,
    ) -> None:
        """Own nothing yet; ``table`` follows ``watch`` before the keeper does."""
        self._member = member
        self._watch = watch
        self._coordinator = coordinator
        self._authority = authority
        self._leases = LeaseKeeper(coordinator, lease_ttl_s, changed=self._look_soon)
        self._shard_count = len(table)
        self._catalog = encode_catalog(catalog) if catalog is not None else None
        self._news = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop_task: asyncio.Task[None] | None = None
        self._left = asyncio.Event()
        self._evacuation: Evacuation | None = None
        self.ownership = Ownership(member, watch.view, self._leases.lease, limits=limits)
        self.leader = Leader(watch.view, table, limits=leader_limits)
        self._election = Election(member.id, member.incarnation)
        watch.add(self._follow)

    # --- life ---------------------------------------------------------------------------------------------------------

    def start(self, evacuation: Evacuation) -> None:
        """Take part; ``evacuation`` empties the node's shards."""
        self._evacuation = evacuation
        self._now = asyncio.get_running_loop().time
        self._follow(self._watch.view)
        self._leases.start()
        self._loop_task = asyncio.create_task(self._run(), name="goverse-ownership")

    async def leave(self, how: Shutdown, timeout_s: float) -> bool:
        """Give the shards away as ``how`` says; tell whether that was done in time."""
        self.ownership.shut_down(how)
        self._look_soon()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._left.wait()
        return self._left.is_set()

    async def stop(self) -> None:
        """Take no part any more, and end the lease, so that the others need not wait for it."""
        for task in (self._loop_task, *self._tasks):
            if task is not None:
                task.cancel()
        if waiting := [task for task in (self._loop_task, *self._tasks) if task is not None]:
            await asyncio.wait(waiting)
        await self._leases.stop(revoke=True)

    # --- Tenure -------------------------------------------------------------------------------------------------------

    def shard_of(self, key: ObjectKey) -> int:
        """Return the shard of an object.

        Raises:
            MalformedRequest: the id names a shard that does not exist, or a node.
        """
        if key.id.startswith("node#"):
            raise MalformedRequest(
                "ids that name a node have no place in a cluster whose shards move; use shard#N/name"
            )
        return shard_of(key, self._shard_count)

    def epoch(self, shard: int) -> int | None:
        """Return the epoch of new commits; None where the shard is not open here."""
        return self.ownership.epoch(shard)

    def may_answer(self, shard: int, epoch: int) -> bool:
        """Tell whether what was read may be told without asking the store."""
        return self.ownership.may_answer(shard, epoch, self._now())

    def fenced(self, shard: int, epoch: int) -> None:
        """Take note that somebody else has a newer epoch."""
        self.ownership.fenced(shard, epoch, self._now())
        self._look_soon()

    # --- the loop -----------------------------------------------------------------------------------------------------

    def _follow(self, view: ClusterView) -> None:
        leader = view.leader
        self._election.seen(None if leader is None else leader.value, 0 if leader is None else leader.create_revision)
        self._look_soon()

    def _look_soon(self) -> None:
        self._news.set()

    async def _run(self) -> None:
        while True:
            self._news.clear()
            now = self._now()
            try:
                self._look(now)
            except Exception:
                logger.exception("a look at the cluster failed")
            if self.ownership.left:
                self._left.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s()):
                    await self._news.wait()

    def _pause_s(self) -> float:
        now = self._now()
        times = [self.ownership.wake_at(now), self.leader.wake_at()]
        return max(0.001, min([now + _IDLE_S, *(at for at in times if at is not None)]) - now)

    def _look(self, now: float) -> None:
        for action in self.ownership.step(now):
            self._carry_out(action)
        if self._election.campaigns(now, eligible=self._is_eligible(now)):
            self._spawn(self._campaign())
        written = self.leader.step(self._election.leads if self._leases.lease.alive(now) else None, now)
        if written is not None:
            self._spawn(self._write_targets(written))

    def _is_eligible(self, now: float) -> bool:
        member = self._watch.view.nodes.get(self._member.id)
        return (
            self._leases.lease.alive(now)
            and self.ownership.shutdown is None
            and member is not None
            and member.incarnation == self._member.incarnation
            and member.state is MemberState.SERVING
        )

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._look_soon()
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a step of the cluster failed", exc_info=error)

    # --- actions ------------------------------------------------------------------------------------------------------

    def _carry_out(self, action: Action) -> None:
        if isinstance(action, Register):
            self._spawn(self._register(action))
        elif isinstance(action, Claim):
            self._spawn(self._claim(action))
        elif isinstance(action, Publish):
            self._spawn(self._publish(action))
        elif isinstance(action, Check):
            self._spawn(self._check())
        elif isinstance(action, Close):
            self._close(action)
        elif isinstance(action, Drop):
            logger.warning("shards were lost to another node", extra={"shards": len(action.shards)})
            if self._evacuation is not None:
                self._evacuation.drop(action.shards)
        else:
            assert isinstance(action, Leave)

    def _close(self, action: Close) -> None:
        if self._evacuation is None:
            return

        def emptied(shard: int) -> None:
            self.ownership.emptied((shard,))
            self._look_soon()

        self._evacuation.close(action.shards, action.cancel_at, emptied)

    async def _register(self, action: Register) -> None:
        layout = self._watch.view.layout
        key = layout.node(action.member.id)
        changes = [Put(key, action.member.encode(), action.lease_id)]
        if self._catalog is not None:
            changes.append(Put(layout.catalog(action.member.id), self._catalog, action.lease_id))
        try:
            await self._coordinator.write([Guard(key, mod_revision=action.own_revision)], changes)
        except GoverseError as error:
            logger.warning("the node could not be registered", extra={"reason": error.detail})
        finally:
            self.ownership.registered(self._now())

    async def _claim(self, action: Claim) -> None:
        try:
            epochs = await self._authority.claim(action.shards, self._member.id)
        except GoverseError as error:
            logger.warning("shards could not be claimed", extra={"reason": error.detail, "shards": len(action.shards)})
            self.ownership.denied(action.shards, self._now())
        except BaseException:
            self.ownership.denied(action.shards, self._now())
            raise
        else:
            self.ownership.claimed(epochs)

    async def _publish(self, action: Publish) -> None:
        layout = self._watch.view.layout
        revision: int | None = None
        try:
            revision = await self._coordinator.write(
                [
                    Guard(layout.targets, mod_revision=action.targets_revision),
                    Guard(layout.claims(self._member.id), mod_revision=action.own_revision),
                ],
                [Put(layout.claims(self._member.id), action.claims.encode(), action.lease_id)],
            )
        except GoverseError as error:
            logger.warning("claims could not be published", extra={"reason": error.detail})
        finally:
            self.ownership.published(revision, self._now())

    async def _check(self) -> None:
        try:
            holdings = await self._authority.holdings()
        except GoverseError as error:
            logger.warning("claims could not be checked", extra={"reason": error.detail})
            self.ownership.unchecked(self._now())
        except BaseException:
            self.ownership.unchecked(self._now())
            raise
        else:
            own = {shard: held.epoch for shard, held in holdings.items() if held.owner == self._member.id}
            self.ownership.checked(own)

    # --- leading ------------------------------------------------------------------------------------------------------

    async def _campaign(self) -> None:
        lease_id = self._leases.lease.id
        key = self._watch.view.layout.leader
        try:
            if lease_id is not None:
                guard = Guard(key, create_revision=0)
                await self._coordinator.write([guard], [Put(key, self._election.value, lease_id)])
        except GoverseError as error:
            logger.warning("no campaign for the leadership", extra={"reason": error.detail})
        finally:
            self._election.answered(self._now())

    async def _write_targets(self, write: WriteTargets) -> None:
        layout = self._watch.view.layout
        revision: int | None = None
        try:
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
            self.leader.written(revision, self._now())
