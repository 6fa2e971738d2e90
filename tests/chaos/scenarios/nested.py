"""Scenarios of calls between objects across nodes that stop and break, and of requests that try to break a stream."""

from __future__ import annotations

import asyncio
from time import perf_counter

from tests.chaos.client import Answer
from tests.chaos.relayed_load import RelayedLoad, relayed
from tests.chaos.scenario import Scenario
from tests.chaos.stage import Bound, Stage

POISONERS = 4
POISON_PATH_BYTES = 900_000
POISON_VALUES = 100
ANSWER_BYTES_MAX = 20_000


async def nested(stage: Stage) -> None:
    """Kill and stop nodes while hooks and methods of relays append to journals on other nodes."""
    async with relayed(stage.load) as calls:
        while stage.goes_on():
            for end in (stage.kill, stage.leave):
                node = stage.random.choice(stage.processes.nodes)
                await end(node)
                await stage.served()
                await stage.start(node)
        before = calls.passed
        await stage.observer.until(lambda: calls.passed > before + 20 and calls.looked > 0, "20 more nested calls")
    stage.tell(f"{calls.passed} nested calls, {calls.looked} readonly chains, {calls.refused} refused")


async def readonly_chains(stage: Stage) -> None:
    """Break connections between nodes while readonly chains run, whose hooks have effects."""
    proxies = [detour.calls for detour in stage.processes.detours.values()]
    async with relayed(stage.load) as calls:
        while stage.goes_on():
            for _ in range(5):
                for proxy in proxies:
                    proxy.cut()
                before = calls.looked
                await _more(stage, calls, before + 10)
            node = stage.a_follower()
            await stage.kill(node)
            await stage.start(node)
        await stage.observer.until(lambda: calls.refused > 0, "a readonly method that is refused")
    stage.tell(f"{calls.looked} readonly chains, {calls.refused} refused, {calls.passed} nested calls")


async def _more(stage: Stage, calls: RelayedLoad, looked: int) -> None:
    await stage.observer.until(lambda: calls.looked > looked, "10 more readonly chains")


async def poison(stage: Stage) -> None:
    """Send bodies whose error description would be a hundred times their size, beside callers that must not notice."""
    body = {"entries": {"k" * POISON_PATH_BYTES: ["bad"] * POISON_VALUES}}
    sizes: list[int] = []
    before = len(stage.load.tally.latencies_s)

    async def send(number: int) -> Answer:
        answer = await stage.load.post(number, ("Journal", f"{stage.load.name}-poison-{number}"), "count", body, None)
        assert (answer.status, answer.value()["code"]) == (422, "invalid_arguments"), answer.text[:300]
        return answer

    began = perf_counter()
    while stage.goes_on():
        for _ in range(3):
            answers = await asyncio.gather(*map(send, range(POISONERS)))
            sizes += [len(answer.text) for answer in answers]
        await stage.served()
    longest_s = max(stage.load.tally.latencies_s[before:])
    assert max(sizes) <= ANSWER_BYTES_MAX, f"a problem of {max(sizes)} bytes"
    stage.bounds.append(Bound("longest call beside poison", longest_s, 5))
    stage.tell(f"{len(sizes)} poisoned requests in {perf_counter() - began:.1f} s, at most {max(sizes)} bytes back")


NESTED = [
    Scenario("nested-calls", "nodes are killed and stopped while hooks and methods call other nodes", nested),
    Scenario(
        "readonly-chains",
        "connections between nodes break while readonly chains trigger hooks",
        readonly_chains,
        detoured=True,
    ),
    Scenario("poison", "requests are sent whose error description would exceed every message limit", poison),
]
