"""Load through a gate: calls counters until SIGTERM, then reads them. No call may fail, be lost or take effect twice.

``python -m tests.kind.load URL [CA]`` prints a line when every counter has answered its first call, and a line of
figures at the end. The exit code is 1 after any failure. It uses the Python client as an application would: the client
retries with the idempotency key of the call.
"""

from __future__ import annotations

import asyncio
import signal
import ssl
import sys
from dataclasses import dataclass, field
from uuid import uuid4

from goverse_client import GoVerse

COUNTERS = 16
CALL_TIMEOUT_S = 60.0


@dataclass
class Figures:
    """The results of the calls."""

    acknowledged: dict[str, int] = field(default_factory=dict[str, int])
    failed: list[str] = field(default_factory=list[str])
    wrong: list[str] = field(default_factory=list[str])

    @property
    def good(self) -> bool:
        """True if there were calls and all succeeded with the right values."""
        return bool(self.acknowledged) and not self.failed and not self.wrong


async def count(gv: GoVerse, name: str, stop: asyncio.Event, figures: Figures, timeout_s: float) -> None:
    """Increment one counter, one call after the other. Each reply must be one more than the last."""
    counter = gv.object("Counter", name).with_options(timeout_s=timeout_s)
    figures.acknowledged[name] = 0
    while not stop.is_set():
        try:
            value = await counter.call("increment", by=1)
        except Exception as error:
            figures.failed.append(f"{name}: {error!r}")
            return
        figures.acknowledged[name] += 1
        if value != figures.acknowledged[name]:
            figures.wrong.append(f"{name}: {value} after {figures.acknowledged[name]} acknowledged calls")
            return


async def run(
    url: str, stop: asyncio.Event, verify: ssl.SSLContext | bool = True, timeout_s: float = CALL_TIMEOUT_S
) -> Figures:
    """Call all counters until ``stop`` is set, then read each of them."""
    figures, run_id = Figures(), uuid4().hex[:8]
    async with GoVerse(url, verify=verify) as gv:
        names = [f"load-{run_id}-{number}" for number in range(COUNTERS)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(count(gv, name, stop, figures, timeout_s)) for name in names]
            group.create_task(announce(figures, tasks))
        for name in names:
            try:
                state = await gv.object("Counter", name).with_options(timeout_s=timeout_s).get()
            except Exception as error:
                figures.failed.append(f"{name}: read: {error!r}")
                continue
            if state != {"value": figures.acknowledged[name]}:
                figures.wrong.append(f"{name}: {state} after {figures.acknowledged[name]} acknowledged calls")
    return figures


async def announce(figures: Figures, tasks: list[asyncio.Task[None]]) -> None:
    """Print a line when every counter has answered its first call."""
    while not all(task.done() for task in tasks):
        if len(figures.acknowledged) == COUNTERS and all(figures.acknowledged.values()):
            print("under load", flush=True)  # noqa: T201
            return
        await asyncio.sleep(0.05)


async def main(url: str, ca: str | None) -> int:
    """Call until SIGTERM or SIGINT, and print the results."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    figures = await run(url, stop, ssl.create_default_context(cafile=ca) if ca else True)
    for complaint in (*figures.failed, *figures.wrong):
        print(complaint)  # noqa: T201
    calls = sum(figures.acknowledged.values())
    print(f"{calls} calls, {len(figures.failed)} failed, {len(figures.wrong)} counters wrong")  # noqa: T201
    return 0 if figures.good else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)))
