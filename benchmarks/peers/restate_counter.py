"""The counter and its sender as virtual objects of Restate, for the environment of scripts/benchmark_peers.sh.

No journal is kept of calls that have ended, as none is kept by GoVerse.
"""

from datetime import timedelta

import restate

counter = restate.VirtualObject("Counter", journal_retention=timedelta(0))
order = restate.VirtualObject("Order", journal_retention=timedelta(0))


@counter.handler("increment")
async def increment(context: restate.ObjectContext, by: int) -> int:
    """Add to the value."""
    value: int = (await context.get("value") or 0) + by
    context.set("value", value)
    return value


@order.handler("place")
async def place(context: restate.ObjectContext, to: str) -> int:
    """Send one call."""
    placed: int = (await context.get("placed") or 0) + 1
    context.set("placed", placed)
    context.object_send(increment, key=to, arg=1)
    return placed


app = restate.app([counter, order])
