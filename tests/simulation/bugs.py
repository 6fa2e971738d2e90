"""Bugs for the simulation to find. Each breaks one rule of the product; the simulation itself stays as it is.

Those of reliable calls are in ``tests.simulation.call_bugs``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

import pytest

from goverse.cluster.parking import Parking
from goverse.errors import Executed
from goverse.model.frames import Problem
from goverse.model.keys import ROUTER_KEY_PREFIX
from goverse.ports.coordinator import Coordinator, Guard, Put
from goverse.routing.links import Links
from goverse.routing.router import Router
from goverse.wire import problems
from goverse.wire.outgoing import Outgoing, Overdue
from goverse.wire.v1 import wire_pb2 as messages
from goverse_node.evacuation import Emptied, Evacuation
from goverse_node.ownership.etcd_requests import EtcdRequests
from goverse_node.ownership.keeper import Keeper
from goverse_node.stores.memory import MemoryStore
from tests.simulation.call_bugs import CALL_BUGS
from tests.simulation.faults import PLANNED
from tests.simulation.planting import Bug, from_list
from tests.simulation.settings import Settings

PLAIN: Final = Settings(senders=0)
SPLITS: Final = replace(
    PLAIN, faults=("split_for_long",), faults_s=14.0, fault_every_s=10.0, reads=0.8, think_s=0.05, clients=12
)
EMPTIED: Final = replace(SPLITS, faults=("empty_etcd_behind_a_split",))
REPLACED: Final = replace(PLAIN, faults=("split", "pause", "cut_from_etcd"), think_s=0.1)
DEAD: Final = replace(
    PLAIN, faults=("crash", "cut_gate_from_node", "etcd_outage"), fault_every_s=0.5, reads=0.0, think_s=0.05
)
BROKEN: Final = replace(PLAIN, faults=("break_streams", "cut_gate_from_node", "crash"), fault_every_s=0.5)
MOVING: Final = replace(PLAIN, faults=PLANNED, think_s=0.1)
LAGS: Final = replace(
    PLAIN, faults=("lag_watch", "drain", "pin"), faults_s=20.0, fault_every_s=0.3, reads=0.7, think_s=0.05, clients=8
)
STORES: Final = replace(PLAIN, faults=("very_slow_store", "crash", "pause", "cut_from_store"), think_s=0.1, reads=0.5)


def _ignore_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryStore, "_is_fenced", lambda *_: False)


def _send_without_key(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Router._send

    def send(self: Router, call: Any, route: Any) -> None:
        key = call.request.idempotency_key
        if key is not None and key.startswith(ROUTER_KEY_PREFIX):
            call.request.idempotency_key, call.request.fresh_key = None, False
        original(self, call, route)

    monkeypatch.setattr(Router, "_send", send)


def _forget_parked_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Parking, "moved", lambda *_: [])


def _drop_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    original = problems.write_problem

    def write_problem(problem: Problem, message: messages.Problem) -> None:
        original(problem, message)
        message.ClearField("executed")

    for module in ("goverse.wire.problems", "goverse.wire.codec", "goverse.wire.peer"):
        monkeypatch.setattr(f"{module}.write_problem", write_problem)


def _say_that_lost_requests_were_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Outgoing.lose

    def lose(self: Outgoing) -> Any:
        return [(entry, Executed.NO) for entry, _ in original(self)]

    monkeypatch.setattr(Outgoing, "lose", lose)


def _enforce_no_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Outgoing, "overdue", lambda *_: Overdue([], []))


def _give_away_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Evacuation.close

    def close(self: Evacuation, shards: Iterable[int], cancel_at: float, emptied: Emptied) -> None:
        shards = tuple(shards)
        for shard in shards:
            emptied(shard)
        original(self, shards, cancel_at, lambda _: None)

    monkeypatch.setattr(Evacuation, "close", close)


def _publish_without_guards(monkeypatch: pytest.MonkeyPatch) -> None:
    original = EtcdRequests.publish

    async def publish(self: EtcdRequests, action: Any) -> None:
        with monkeypatch.context() as during:
            during.setattr(self, "_coordinator", _Unguarded(self._coordinator))
            await original(self, action)

    monkeypatch.setattr(EtcdRequests, "publish", publish)


class _Unguarded:
    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator

    async def write(self, _guards: list[Guard], changes: list[Put]) -> int | None:
        return await self._coordinator.write([], changes)


def _leave_links_open(monkeypatch: pytest.MonkeyPatch) -> None:
    async def close(_self: Links) -> None:
        pass

    monkeypatch.setattr(Links, "close", close)


def _plan_and_claim_at_once_in_a_new_etcd(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Keeper.__init__

    def init(self: Keeper, *arguments: Any, **options: Any) -> None:
        original(self, *arguments, **options)
        self.leader.limits = replace(self.leader.limits, history_pause_s=0.0)

    monkeypatch.setattr(Keeper, "__init__", init)
    from_list("shards-are-claimed-at-once-after-etcd-was-restored")(monkeypatch)


TWICE: Final = "took effect twice"
STALE: Final = "does not see what"
LOST: Final = "was acknowledged and is lost"

BUGS: Final[dict[str, Bug]] = {
    "old-epochs-may-commit": Bug(_ignore_epochs, REPLACED, "the newest one is"),
    "retries-have-no-key": Bug(_send_without_key, BROKEN, TWICE, 14),
    "lost-requests-count-as-unsent": Bug(_say_that_lost_requests_were_not_sent, DEAD, "took effect", 9),
    "replies-are-not-kept": Bug(from_list("replies-are-not-kept"), BROKEN, TWICE, 14),
    "verdicts-are-dropped": Bug(_drop_verdicts, MOVING, "calls failed at the first attempt"),
    "parked-calls-are-forgotten": Bug(_forget_parked_calls, MOVING, "calls failed at the first attempt"),
    "links-enforce-no-deadline": Bug(_enforce_no_deadline, REPLACED, "had no answer by its deadline"),
    "links-stay-open": Bug(_leave_links_open, MOVING, "left a task"),
    "shards-are-given-away-before-they-are-empty": Bug(_give_away_at_once, MOVING, "were fenced in planned moves"),
    "claims-are-published-whatever-the-targets-are": Bug(_publish_without_guards, LAGS, STALE, 4),
    "replies-leave-before-their-commit": Bug(from_list("replies-leave-before-their-commit"), STORES, LOST, 1),
    "a-reply-without-a-commit-leaves-at-once": Bug(
        from_list("a-reply-without-a-commit-leaves-at-once"), STORES, "saw", 2
    ),
    "leases-are-ignored": Bug(from_list("readonly-calls-from-memory-after-the-lease"), SPLITS, STALE),
    "reads-from-memory-after-the-lease": Bug(from_list("reads-from-memory-after-the-lease"), SPLITS, STALE, 9),
    "unconfirmed-replies-leave-after-the-lease": Bug(
        from_list("unconfirmed-replies-leave-after-the-lease"), SPLITS, STALE
    ),
    "a-lease-is-counted-from-its-answer": Bug(from_list("a-lease-is-counted-from-its-answer"), SPLITS, STALE, 2),
    "a-lost-etcd-is-not-noticed": Bug(from_list("a-lost-etcd-is-not-noticed"), EMPTIED, "", 6),
    "shards-are-claimed-at-once-after-etcd-was-restored": Bug(_plan_and_claim_at_once_in_a_new_etcd, EMPTIED, STALE),
    **CALL_BUGS,
}
