"""The keeper: carries out the actions of ``Ownership`` and ``Leader`` on etcd, the store and the node's activations.

One loop runs ``step`` of both after every input and at their wake times. Each request to etcd or the store runs in its
own task, and its result is an input. The keeper is also the node's ``ShardAccess``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, NamedTuple, Protocol

from goverse.cluster.election import Election
from goverse.cluster.member import Member, MemberState
from goverse.cluster.table import ShardTable
from goverse.cluster.view import ClusterView
from goverse.errors import MalformedRequest
from goverse.model.catalog import Catalog, encode_catalog
from goverse.model.keys import ObjectKey, placement_hash
from goverse.ports.authority import Authority
from goverse.ports.clock import boot_time
from goverse.ports.coordinator import Coordinator
from goverse.routing.cluster_watch import ClusterWatch
from goverse.routing.lease_keeper import LeaseKeeper
from goverse_node.evacuation import Evacuation
from goverse_node.ownership.abandoned import Abandoned
from goverse_node.ownership.actions import Action, Check, Claim, Close, Drop, Publish, Register
from goverse_node.ownership.etcd_requests import EtcdRequests
from goverse_node.ownership.leader import Leader, LeaderLimits
from goverse_node.ownership.loads import LoadPublisher, Measure
from goverse_node.ownership.ownership import Ownership
from goverse_node.ownership.phases import OwnershipLimits
from goverse_node.ownership.shutdown import Shutdown

_IDLE_S: Final = 1.0  # the longest time between two rounds of the loop

logger = logging.getLogger("goverse.node.ownership")


class Deliverer(Protocol):
    """Delivers the reliable calls of open shards (``goverse_node.messages.dispatcher``)."""

    def open(self, shards: Collection[int], interrupted: Collection[int], /) -> None:
        """Read the outboxes of ``shards`` and deliver their calls.

        The last owner of those in ``interrupted`` may have ended without giving them away.
        """
        ...

    def close(self, shards: Collection[int], /) -> None:
        """Start no further delivery from ``shards``."""
        ...


class Progress(NamedTuple):
    """Progress of a node in taking over its shards.

    Attributes:
        claimed: number of shards that it serves.
        wanted: number of shards that are assigned to it.
        contended: number of assigned shards that it does not serve because another node still claims them.
        lease_s: seconds for which its lease is certain to live.
    """

    claimed: int
    wanted: int
    contended: int
    lease_s: float


class Keeper:
    """The role of one node in its cluster. Implements ``goverse_node.shard_access.ShardAccess``.

    Attributes:
        ownership, leader: the rules, with their counters.
        requests: the requests to etcd and the store, with their durations.
        loads: reports the node's load to the leader.
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
        now: Callable[[], float] = boot_time,
    ) -> None:
        """Prepare without shards; ``watch`` must update ``table`` before the keeper. ``now`` is the lease's clock."""
        self._member, self._watch = member, watch
        self._now = now
        self._leases = LeaseKeeper(coordinator, lease_ttl_s, changed=self._wake, now=now)
        self._table = table
        self._news, self._left = asyncio.Event(), asyncio.Event()
        self._tasks: dict[asyncio.Task[None], None] = {}  # a set of tasks would have a random order
        self._loop_task: asyncio.Task[None] | None = None
        self._evacuation: Evacuation | None = None
        self._deliverer: Deliverer | None = None
        self._abandoned = Abandoned(member.incarnation)
        self.ownership = Ownership(member, watch.view, self._leases.lease, limits=limits)
        leads_by = replace(leader_limits or LeaderLimits(), history_pause_s=lease_ttl_s)
        self.leader = Leader(watch.view, table, limits=leads_by)
        self._election = Election(member.id, member.incarnation)
        self.requests = EtcdRequests(
            self.ownership,
            self.leader,
            coordinator=coordinator,
            authority=authority,
            view=watch.view,
            node=member.id,
            catalog=encode_catalog(catalog) if catalog is not None else None,
            claim_timeout_s=(limits or OwnershipLimits()).stuck_after_s,
            now=now,
        )
        self.loads = LoadPublisher(coordinator, watch.view, self._leases.lease, node=member.id, now=now)
        watch.add(self._follow)

    # --- life ---------------------------------------------------------------------------------------------------------

    def start(self, evacuation: Evacuation, measure: Measure | None = None, deliverer: Deliverer | None = None) -> None:
        """Join the cluster.

        ``evacuation`` empties the node's shards, ``measure`` returns the load to report, and ``deliverer`` delivers
        the reliable calls of the shards while they are open.
        """
        self._evacuation, self._deliverer = evacuation, deliverer
        if measure is not None:
            self._spawn(self.loads.run(measure))
        self._follow(self._watch.view)
        self._leases.start()
        self._loop_task = asyncio.create_task(self._run(), name="goverse-ownership")

    async def leave(self, how: Shutdown, timeout_s: float) -> bool:
        """Release all shards in the way that ``how`` names. Return False if that took longer than ``timeout_s``."""
        self.ownership.shut_down(how)
        self._wake()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._left.wait()
        if not self._left.is_set():
            self.requests.times.timeouts.count("drain")
        return self._left.is_set()

    async def stop(self) -> None:
        """Stop all tasks and revoke the lease, so that other nodes do not have to wait until it expires."""
        for task in (self._loop_task, *self._tasks):
            if task is not None:
                task.cancel()
        if waiting := [task for task in (self._loop_task, *self._tasks) if task is not None]:
            await asyncio.wait(waiting)
        await self._leases.stop(revoke=True)

    # --- ShardAccess -------------------------------------------------------------------------------------------------

    def shard_of(self, key: ObjectKey) -> int:
        """Return the shard of an object.

        Raises:
            MalformedRequest: the id names a shard that does not exist, or a node.
        """
        if key.id.startswith("node#"):
            raise MalformedRequest(
                f"the id {key.id!r} names a node, which is not supported in a cluster because shards move between "
                "nodes; use shard#N/name"
            )
        return self._table.shard_of(key)

    def hash_of(self, key: ObjectKey) -> int:
        """Return the placement hash of an object.

        Raises:
            MalformedRequest: the id names a shard that does not exist.
        """
        return placement_hash(key, self._table.base)

    def epoch(self, shard: int) -> int | None:
        """Return the epoch for new commits, or None if the shard is not open here."""
        return self.ownership.epoch(shard)

    def may_answer(self, shard: int, epoch: int) -> bool:
        """Return True if a state that was read under ``epoch`` may be returned without a check in the store."""
        return self.ownership.may_answer(shard, epoch, self._now())

    def fenced(self, shard: int, epoch: int) -> None:
        """Give up the shard, because another node has a newer epoch."""
        self.ownership.fenced(shard, epoch, self._now())
        self._wake()

    def reclaim(self) -> None:
        """Drop every shard immediately and claim it again, because the store lost commits that it had acknowledged."""
        now = self._now()
        for shard, held in tuple(self.ownership.shards.items()):
            self.ownership.fenced(shard, held.epoch, now)
        self._wake()

    # --- status -------------------------------------------------------------------------------------------------------

    @property
    def leads(self) -> bool:
        """True while this node is the leader."""
        return self._election.leads is not None and self._leases.lease.alive(self._now())

    def progress(self) -> Progress:
        """Return the node's progress in taking over its shards."""
        claimed, wanted = self.ownership.progress()
        lease_s = max(0.0, self._leases.lease.deadline - self._now())
        return Progress(claimed, wanted, self._contended() if claimed < wanted else 0, lease_s)

    def _contended(self) -> int:
        view = self._watch.view
        assigned = view.targets.shards_of(self._member.id) if view.targets is not None else set[int]()
        missing = assigned - self.ownership.shards.keys()
        others = (claims.epochs for node, claims in view.claims.items() if node != self._member.id)
        return sum(len(missing & epochs.keys()) for epochs in others)

    def stuck(self) -> int:
        """Return the number of stuck moves; 0 while this node is not the leader."""
        return len(self.leader.moves.stuck(self._now()))

    def reasons(self) -> tuple[str, ...]:
        """Return the reasons for which the node is not ready; empty if it serves all shards assigned to it."""
        view, progress = self._watch.view, self.progress()
        registered = view.nodes.get(self._member.id)
        if self.ownership.waits_for_id():
            return (f"an earlier process is registered as {self._member.id!r}; its lease has to end first",)
        if self.ownership.shutdown is not None:
            return ("the node is giving its shards away",)
        if registered is None:
            return ("the node is not registered in etcd",)
        if view.targets is None:
            return ("no shard is placed yet",)
        if progress.claimed < progress.wanted:
            return (f"claimed {progress.claimed} of {progress.wanted} shards",)
        if not progress.wanted and self._member.id not in view.drains and len(view.nodes) <= len(self._table):
            return ("no shard is meant for this node yet",)
        return ()

    # --- the loop -----------------------------------------------------------------------------------------------------

    def _follow(self, view: ClusterView) -> None:
        self._leases.follow(view)
        self._abandoned.follow(view)
        leader = view.leader
        self._election.seen(None if leader is None else leader.value, 0 if leader is None else leader.create_revision)
        self._wake()

    def _wake(self) -> None:
        self._news.set()

    async def _run(self) -> None:
        while True:
            self._news.clear()
            now = self._now()
            try:
                self._step(now)
            except Exception:
                logger.exception("error in the ownership loop")
            if self.ownership.left:
                self._left.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s()):
                    await self._news.wait()

    def _pause_s(self) -> float:
        now = self._now()
        times = [self.ownership.wake_at(now), self.leader.wake_at()]
        return max(0.001, min([now + _IDLE_S, *(at for at in times if at is not None)]) - now)

    def _step(self, now: float) -> None:
        for action in self.ownership.step(now):
            self._carry_out(action)
        if self._election.campaigns(now, eligible=self._is_eligible(now)):
            self._spawn(self.requests.campaign(self._election, self._leases.lease))
        written = self.leader.step(self._election.leads if self._leases.lease.alive(now) else None, now)
        if written is not None:
            self._spawn(self.requests.write_targets(written))

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
        self._tasks[task] = None
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        self._wake()
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("error in an ownership task", exc_info=error)

    # --- actions ------------------------------------------------------------------------------------------------------

    def _carry_out(self, action: Action) -> None:
        requests = self.requests
        if isinstance(action, Register):
            self._spawn(requests.register(action))
        elif isinstance(action, Claim):
            self._spawn(requests.claim(action))
        elif isinstance(action, Publish):
            self._spawn(requests.publish(action))
        elif isinstance(action, Check):
            self._spawn(requests.check())
        elif isinstance(action, Close):
            self._stop_delivering(action.shards)
            self._close(action)
        elif isinstance(action, Drop):
            self._stop_delivering(action.shards)
            logger.warning(
                "dropped shards that were fenced or did not close in time", extra={"shards": len(action.shards)}
            )
            requests.times.dropped(action.shards, self._now())
            if self._evacuation is not None:
                self._evacuation.drop(action.shards)
        elif self._deliverer is not None:
            self._deliverer.open(action.shards, self._abandoned.take(action.shards))

    def _stop_delivering(self, shards: Collection[int]) -> None:
        if self._deliverer is not None:
            self._deliverer.close(shards)

    def _close(self, action: Close) -> None:
        if self._evacuation is None:
            return

        def emptied(shard: int) -> None:
            self.requests.times.closed(shard, self._now())
            self.ownership.emptied((shard,))
            self._wake()

        self.requests.times.closing(action.shards, self._now())
        left_s = action.cancel_at - self._now()
        self._evacuation.close(action.shards, asyncio.get_running_loop().time() + left_s, emptied)
