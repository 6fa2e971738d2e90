"""The virtual event loop and the network of the simulation."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.simulation.loop import Deadlock, Process, VirtualLoop
from tests.simulation.network import Pipe
from tests.simulation.world import World


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    yield loop
    loop.close()


@pytest.fixture
def world() -> Iterator[World]:
    world = World(7)
    yield world
    world.loop.close()


def test_time_jumps_to_the_next_timer(loop: VirtualLoop) -> None:
    seen: list[tuple[str, float]] = []

    async def sleep(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        seen.append((name, loop.time()))

    async def main() -> None:
        await asyncio.gather(sleep("long", 1e6), sleep("short", 0.5), sleep("equal", 0.5))

    loop.run_until_complete(main())

    assert seen == [("short", 0.5), ("equal", 0.5), ("long", 1e6)]


def test_a_wait_that_nothing_can_end_is_an_error(loop: VirtualLoop) -> None:
    never = loop.create_future()

    with pytest.raises(Deadlock):
        loop.run_until_complete(never)


def test_a_stopped_process_gets_no_steps_and_then_continues_in_order(loop: VirtualLoop) -> None:
    process, seen = Process(loop, "node"), list[tuple[int, float]]()

    async def work() -> None:
        for number in range(3):
            await asyncio.sleep(1.0)
            seen.append((number, loop.time()))

    async def main() -> None:
        task = process.spawn(work())
        loop.call_at(1.5, process.stop)
        loop.call_at(10.0, process.proceed)
        await task

    loop.run_until_complete(main())

    assert seen == [(0, 1.0), (1, 10.0), (2, 11.0)]


def test_what_a_process_starts_belongs_to_it(loop: VirtualLoop) -> None:
    process, seen = Process(loop, "node"), list[str]()

    async def child() -> None:
        await asyncio.sleep(1.0)
        seen.append("the child ran")

    async def parent() -> None:
        loop.call_later(1.0, seen.append, "the timer ran")
        await asyncio.create_task(child())

    async def main() -> None:
        process.spawn(parent())
        await asyncio.sleep(0.5)
        process.crash()
        process.proceed()
        await asyncio.sleep(100.0)
        assert seen == []
        process.unfreeze()
        await asyncio.wait(process.tasks())

    loop.run_until_complete(main())


def test_the_boot_clock_of_a_process_counts_a_suspension(loop: VirtualLoop) -> None:
    process = Process(loop, "node", rate=2.0, offset_s=100.0)
    loop.run_until_complete(asyncio.sleep(3.0))
    process.suspend(10.0)

    assert process.clock() == 116.0


def test_a_pipe_delivers_in_order_and_holds_back_what_is_cut_off(world: World) -> None:
    pipe = Pipe(world, "gate", "node", lambda: None)
    seen: list[bytes | None] = []

    async def read(count: int) -> None:
        for _ in range(count):
            seen.append(await pipe.read())

    async def main() -> None:
        reader = asyncio.ensure_future(read(40))
        for number in range(20):
            pipe.send(b"%d" % number)
        await asyncio.sleep(1.0)
        assert len(seen) == 20
        world.sever([("gate", "node")])
        for number in range(20, 40):
            pipe.send(b"%d" % number)
        await asyncio.sleep(5.0)
        assert len(seen) == 20
        world.mend([("gate", "node")])
        await reader

    world.loop.run_until_complete(main())

    assert seen == [b"%d" % number for number in range(40)]
