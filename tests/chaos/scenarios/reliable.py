"""Scenarios of reliable calls: a bank whose nodes, connections and database fail, and orders that expire meanwhile."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import asyncpg

from tests.chaos.bank_load import PATIENCE_S, POLL_S, ended, trading
from tests.chaos.scenario import Scenario
from tests.chaos.scenarios.partitions import NODE
from tests.chaos.scenarios.postgres import BACKENDS
from tests.chaos.stage import Stage, interrupted
from tests.tcp_proxy import TcpProxy

EVERY_S: Final = 5.0
ORDERS: Final = 100
PAIRS: Final = 4
RACES_MIN: Final = 1_000
EXPIRES_MS: Final = (200, 1_500)

Disturb = Callable[[Stage], Awaitable[object]]


# --- disturbances -----------------------------------------------------------------------------------------------------


async def _kill(stage: Stage) -> None:
    node = stage.random.choice(stage.processes.nodes)
    await stage.kill(node)
    await asyncio.sleep(stage.random.uniform(0, stage.lease_ttl_s))
    await _restart(stage, node)


async def _leave(stage: Stage) -> None:
    node = stage.random.choice(stage.processes.nodes)
    await stage.leave(node, stage.random.choice((signal.SIGTERM, signal.SIGQUIT)))
    await _restart(stage, node)


async def _restart(stage: Stage, node: str) -> None:
    stage.processes.start_node(node)
    await stage.processes.started()


async def _freeze(stage: Stage) -> None:
    """Stop a node for a little less than its lease, or for longer."""
    node = stage.random.choice(stage.processes.nodes)
    stage.processes.signal(node, signal.SIGSTOP)
    try:
        await asyncio.sleep(stage.lease_ttl_s + stage.random.choice((-0.5, 1.0)))
    finally:
        stage.processes.signal(node, signal.SIGCONT)


async def _cut_off_from_etcd(stage: Stage) -> None:
    await _cut_off(stage, stage.processes.detours[NODE].etcd)


async def _cut_off_from_postgres(stage: Stage) -> None:
    await _cut_off(stage, stage.processes.detours[NODE].postgres)


async def _cut_off_from_callers(stage: Stage) -> None:
    await _cut_off(stage, [stage.processes.detours[NODE].calls])


async def _cut_off(stage: Stage, proxies: Sequence[TcpProxy]) -> None:
    """Hold the traffic of a node. What was held arrives late, or is lost with its connection."""
    arrives = stage.random.random() < 0.5

    def begin() -> None:
        for proxy in proxies:
            proxy.hold()

    def end() -> None:
        for proxy in proxies:
            if not arrives:
                proxy.cut()
            proxy.release()

    async with interrupted(begin, end):
        await asyncio.sleep(stage.lasting(stage.lease_ttl_s + 1, brief=stage.lease_ttl_s))  # nothing to wait for


async def _crash_postgres(stage: Stage) -> None:
    await asyncio.to_thread(stage.processes.postgres.stop, "immediate")
    await asyncio.to_thread(stage.processes.postgres.start)


async def _end_sessions(stage: Stage) -> None:
    killer = await asyncpg.connect(stage.processes.postgres.dsn)
    await killer.fetch(BACKENDS)
    await killer.close()


async def _fail_over(stage: Stage) -> None:
    await stage.processes.fail_over()


PROCESSES: Final[tuple[Disturb, ...]] = (_kill, _leave, _freeze)
CONNECTIONS: Final[tuple[Disturb, ...]] = (_cut_off_from_etcd, _cut_off_from_postgres, _cut_off_from_callers)
DATABASE: Final[tuple[Disturb, ...]] = (_crash_postgres, _end_sessions)


async def _disturb(stage: Stage, kinds: Sequence[Disturb]) -> None:
    """Disturb the cluster every few seconds: each kind once per round, in random order. The first round is complete."""
    counts: Counter[str] = Counter()
    now = asyncio.get_running_loop().time
    while stage.goes_on():
        for disturb in stage.random.sample(kinds, len(kinds)):
            if counts.total() >= len(kinds) and not stage.goes_on():
                break
            next_at = now() + stage.lasting(EVERY_S, brief=1)
            await disturb(stage)
            counts[disturb.__name__.strip("_").replace("_", " ")] += 1
            await asyncio.sleep(max(0, next_at - now()))
    for node in stage.processes.nodes:
        await stage.joined(node)
    stage.tell(", ".join(f"{count} x {name}" for name, count in sorted(counts.items())))


# --- scenarios --------------------------------------------------------------------------------------------------------


async def bank(stage: Stage) -> None:
    """Disturb nodes, connections and the database while accounts pay each other."""
    async with trading(stage):
        await _disturb(stage, (*PROCESSES, *CONNECTIONS, *DATABASE))


async def bank_failover(stage: Stage) -> None:
    """Disturb nodes, connections and the database, and fail over the database, while accounts pay each other."""
    async with trading(stage):
        await _disturb(stage, (*PROCESSES, *CONNECTIONS, *DATABASE, _fail_over))


async def expiry(stage: Stage) -> None:
    """Stop a node that takes orders until some have expired, then resume it. No order is both taken and expired."""
    ends: Counter[str] = Counter()
    number = 0
    while stage.goes_on() or ends.total() < (2 * ORDERS if stage.brief else RACES_MIN):
        node = stage.random.choice(stage.processes.nodes)
        lasts_s = stage.random.uniform(0.6, 1.4) if number % 3 else stage.lease_ttl_s + 1
        ends += await _race(stage, node, number, lasts_s)
        number += 1
        await stage.joined(node)
    await ended(stage)
    stage.tell(f"{ends.total()} orders raced their expiry: {ends['success']} taken, {ends['expired']} expired")


async def _race(stage: Stage, node: str, number: int, lasts_s: float) -> Counter[str]:
    """Send orders from other nodes to a stopped one, and return the number of orders in each state at the end."""
    load, name = stage.load, f"{stage.load.name}-{number}"
    others = [shard for other in stage.processes.nodes if other != node for shard in stage.observer.shards_of(other)]
    shards = stage.observer.shards_of(node)
    pairs = {
        f"shard#{stage.random.choice(others)}/{name}-{pair}": f"shard#{stage.random.choice(shards)}/{name}-{pair}"
        for pair in range(PAIRS)
    }
    orders = {
        customer: {f"{customer}-{n}": stage.random.randint(*EXPIRES_MS) for n in range(ORDERS // PAIRS)}
        for customer in pairs
    }
    for till in pairs.values():
        await load.answered(0, ("Till", till), "warm_up", {}, f"warm-{till}")
    stage.processes.signal(node, signal.SIGSTOP)
    try:
        stopped = asyncio.create_task(asyncio.sleep(lasts_s))
        for customer, till in pairs.items():
            body = {"till": till, "expiries_ms": orders[customer]}
            answer = await load.answered(0, ("Customer", customer), "order", body, f"order-{customer}")
            assert answer.status == 200, answer.text
        await stopped
    finally:
        stage.processes.signal(node, signal.SIGCONT)
    ends: Counter[str] = Counter()
    for customer, till in pairs.items():
        ends += await _judged(stage, customer, till, list(orders[customer]))
    return ends


async def _judged(stage: Stage, customer: str, till: str, orders: Sequence[str]) -> Counter[str]:
    """Wait for the ends of all orders of a customer and compare them with what the till has taken."""
    async with asyncio.timeout(PATIENCE_S):
        while len(ends := await stage.load.asked(("Customer", customer), "logs")) < len(orders):  # noqa: ASYNC110
            await asyncio.sleep(POLL_S)
    states = dict(ends)
    assert sorted(name for name, _ in ends) == sorted(orders), f"{customer}: not one end for each order: {ends}"
    taken = await stage.load.asked(("Till", till), "logs")
    wrong = [
        f"{name} was taken {taken.count(name)} times and ended as {states[name]}"
        for name in orders
        if taken.count(name) != (states[name] == "success")
    ]
    assert not wrong, f"{till}: {'; '.join(wrong)}"
    in_order = [name for name in orders if name in taken]
    assert taken == in_order, f"{till} took {taken} instead of {in_order}"
    return Counter(states.values())


RELIABLE = [
    Scenario(
        "bank",
        "accounts pay each other with reliable calls while nodes, connections and PostgreSQL fail every 5 s",
        bank,
        seconds=60,
        detoured=True,
    ),
    Scenario(
        "bank-failover",
        "the same, and each time the primary PostgreSQL crashes for good, its standby is promoted",
        bank_failover,
        seconds=60,
        detoured=True,
        standby=True,
        short=False,
    ),
    Scenario("expiry", "a node is frozen while reliable calls to its objects expire, repeatedly", expiry, seconds=25),
]
