"""The counter as a virtual object of Restate, for the environment of scripts/benchmark_peers.sh."""

import restate

counter = restate.VirtualObject("Counter")


@counter.handler("increment")
async def increment(context: restate.ObjectContext, by: int) -> int:
    """Add to the value."""
    value: int = (await context.get("value") or 0) + by
    context.set("value", value)
    return value


app = restate.app([counter])
