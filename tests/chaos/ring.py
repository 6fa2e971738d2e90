"""``python -m tests.chaos.ring``: pass tokens around a ring with reliable calls while the server is killed."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.ports import free_port
from goverse_node.stores.wal.admin import verify
from goverse_node.stores.wal.store import WalStore
from tests.chaos import ring_places
from tests.chaos.client import Client
from tests.chaos.killable import PATIENCE_S, Server

APPLICATION: Final = Path(ring_places.__file__)
SAMPLE: Final = 20
READERS: Final = 8
POLL_S: Final = 0.2
PROBLEMS_SHOWN: Final = 5
SETTINGS: Final = {"LOG_LEVEL": "warning"}

TEACHING = """\
Starts `goverse dev` with a new data directory and kills it every few seconds. Each of the places starts one token and
passes on each token that it takes. At the end every place must have taken as many tokens as a token makes hops, in the
only possible order; no call may be pending, and the data directory must be consistent. The last line is the result:

  PASS ring  1000 places, 1000000 hops in 512.0 s, 1953 hops per second, 48 kills; count and order exact

The exit code is 1 if it is FAIL. Then the data directory is kept.
"""


@dataclass(frozen=True)
class Plan:
    """The size of a run.

    Attributes:
        places: number of places, and of tokens.
        hops: number of hops of each token.
        kill_every_s: time from the start of a server, when it answers, to its kill.
        kills_max: number of kills after which the server is left alone.
        limit_s: time after which an unfinished run fails.
    """

    places: int = 1_000
    hops: int = 1_000
    kill_every_s: float = 10.0
    kills_max: int = 1_000_000
    limit_s: float = 1_800.0


@dataclass
class Result:
    """The result of a run.

    Attributes:
        took_s: duration of the run.
        kills: number of kills.
        problems: reasons for failure; empty if it passed.
    """

    plan: Plan
    took_s: float = 0.0
    kills: int = 0
    problems: list[str] = field(default_factory=list[str])

    def line(self) -> str:
        """Return a summary in one line."""
        hops = self.plan.places * self.plan.hops
        what = f"ring  {self.plan.places} places, {hops} hops in {self.took_s:.1f} s"
        if self.problems:
            return f"FAIL {what}, {self.kills} kills: {'; '.join(self.problems[:PROBLEMS_SHOWN])}"
        return f"PASS {what}, {hops / self.took_s:.0f} hops per second, {self.kills} kills; count and order exact"


async def turn(folder: Path, plan: Plan, say: Callable[[str], None]) -> Result:
    """Pass the tokens around a ring whose data is in ``folder``; ``say`` receives the progress."""
    result, now = Result(plan), asyncio.get_running_loop().time
    began = now()
    server = Server(folder, free_port(), application=str(APPLICATION), **SETTINGS)
    ring = _Ring(server, plan)
    try:
        async with asyncio.timeout(plan.limit_s), _killed(server, plan, result, ring, say):
            await ring.begin()
            await ring.finished()
    except TimeoutError:
        result.problems.append(f"not finished within {plan.limit_s:g} s")
    result.took_s = now() - began
    await server.start()
    result.problems += await ring.complaints()
    await ring.close()
    await server.stop()  # with the removal of calls that have ended, which may wait for a second
    result.problems += verify(folder / ".goverse").problems
    store = WalStore(folder / ".goverse")
    await store.open()
    result.problems += [f"pending: {call.sender} to {call.call.receiver}" for call in await store.pending([0], limit=9)]
    await store.close()
    return result


@asynccontextmanager
async def _killed(
    server: Server, plan: Plan, result: Result, ring: _Ring, say: Callable[[str], None]
) -> AsyncIterator[None]:
    """Run the server, and kill and restart it again and again while the block runs. Then it is stopped."""
    now = asyncio.get_running_loop().time
    began = now()
    await server.start()
    stopping = asyncio.Event()

    async def kill_on() -> None:
        while result.kills < plan.kills_max:
            await ring.served()
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), plan.kill_every_s)
                return
            share = ring.taken / plan.hops
            say(f"{now() - began:7.1f} s  {share:6.1%} of {plan.places * plan.hops} hops, {result.kills} kills")
            await server.kill()
            result.kills += 1
            await server.start()

    killer = asyncio.create_task(kill_on())
    try:
        yield
    finally:
        stopping.set()
        await killer
        await server.kill()


class _Ring:
    """The ring, as its callers see it.

    Attributes:
        taken: the number of tokens that a place has taken, as the average of a sample.
    """

    def __init__(self, server: Server, plan: Plan) -> None:
        self.taken = 0.0
        self._server, self._plan = server, plan
        self._client = Client(PATIENCE_S)

    async def served(self) -> None:
        """Wait until the server answers."""
        await self._look(range(1))

    async def begin(self) -> None:
        """Let every place start its token."""

        async def share(first: int) -> None:
            for place in range(first, self._plan.places, READERS):
                await self._client.insist(
                    self._server.url,
                    ("Place", str(place)),
                    "begin",
                    places=self._plan.places,
                    hops=self._plan.hops,
                )

        await asyncio.gather(*map(share, range(READERS)))

    async def finished(self) -> None:
        """Wait until every place has taken as many tokens as it has to, or a wrong one."""
        places, step = self._plan.places, max(1, self._plan.places // SAMPLE)
        while True:
            sample = await self._look(range(0, places, step))
            self.taken = sum(taken for taken, _ in sample) / len(sample)
            if any(wrong for _, wrong in sample):
                return
            if self.taken == self._plan.hops:
                every = await self._look(range(places))
                if all(taken == self._plan.hops for taken, _ in every):
                    return
            await asyncio.sleep(POLL_S)

    async def complaints(self) -> list[str]:
        """Return what is wrong, with the first places that are."""
        found: list[str] = []
        for place, (taken, wrong) in enumerate(await self._look(range(self._plan.places))):
            if wrong:
                found.append(f"place {place} took {', '.join(wrong)}")
            if taken != self._plan.hops:
                found.append(f"place {place} took {taken} tokens instead of {self._plan.hops}")
        return found

    async def _look(self, places: Sequence[int]) -> list[tuple[int, list[str]]]:
        found: dict[int, tuple[int, list[str]]] = {}

        async def share(first: int) -> None:
            for place in places[first::READERS]:
                taken, wrong = await self._client.insist(self._server.url, ("Place", str(place)), "look")
                found[place] = taken, wrong

        await asyncio.gather(*map(share, range(READERS)))
        return [found[place] for place in places]

    async def close(self) -> None:
        await self._client.close()


def say(text: str) -> None:
    """Print a line."""
    print(text, flush=True)  # noqa: T201


def main() -> int:
    """Run a ring. Returns 1 if it fails."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.ring",
        description=__doc__,
        epilog=TEACHING,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--places", type=int, default=Plan.places, help="places and tokens (default: %(default)s)")
    parser.add_argument("--hops", type=int, default=Plan.hops, help="hops of each token (default: %(default)s)")
    parser.add_argument(
        "--kill-every", type=float, default=Plan.kill_every_s, help="seconds between kills (default: %(default)s)"
    )
    parser.add_argument(
        "--limit", type=float, default=Plan.limit_s, help="seconds after which it fails (default: %(default)s)"
    )
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="goverse-ring-"))
    plan = Plan(options.places, options.hops, options.kill_every, limit_s=options.limit)
    result = asyncio.run(turn(folder, plan, say))
    say(result.line())
    if result.problems:
        say(f"     the data directory is in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
