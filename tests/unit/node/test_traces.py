"""Traces of nested calls: the turns of a sampled call are spans, and an unsampled context passes unchanged."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from goverse import Object, call
from goverse.model.trace_context import checked, span_id, trace_id
from goverse.objects.context import current_turn
from tests.nodes import Meeting, bench, settle, value

TRACE, CLIENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{CLIENT}-01", f"00-{TRACE}-{CLIENT}-00"
PLACE = Meeting()


class Hop(Object):
    """Returns the trace context of its turn and of the turns that it calls, outermost first."""

    calls: int = 0

    @call
    async def go(self, rest: list[str]) -> list[list[str]]:
        self.calls += 1
        fields = _fields()
        own = [self.context.traceparent, self.context.tracestate, fields.get("span_id"), fields.get("parent_span_id")]
        nested = [await self.ref(Hop, name).go(rest[1:]) for name in rest[:1] * 2]
        return [[str(part) for part in own], *(hop for hops in nested for hop in hops)]

    @call
    async def wait(self) -> list[str]:
        before = self.context.traceparent
        await PLACE.wait("hop")
        return [before, self.context.traceparent]


def _fields() -> Mapping[str, str | int]:
    turn = current_turn.get()
    assert turn is not None
    return turn.log_fields()


@pytest.mark.requirement("OBS-3")
async def test_every_turn_of_a_sampled_call_is_a_child_of_the_turn_that_called_it() -> None:
    async with bench(Hop) as b:
        running = b.call(Hop, "a", "go", {"rest": ["b", "c"]}, traceparent=SAMPLED, tracestate="congo=t61")
        hops = value(await b.finish(running))
        parents = [parent for parent, *_ in hops]
        spans = [own for _, _, own, _ in hops]
        assert {trace_id(parent) for parent in parents} == {TRACE}
        assert {state for _, state, *_ in hops} == {"congo=t61"}
        assert all(checked(parent, "") == (parent, "") for parent in parents)
        assert spans == [span_id(parent) for parent in parents]
        assert len({CLIENT, *spans}) == 8, "each turn has a span id of its own"
        a, b1, _, _, b2, _, _ = spans
        assert [parent for *_, parent in hops] == [CLIENT, a, b1, b1, a, b2, b2]


async def test_the_context_of_a_call_that_is_not_sampled_passes_unchanged() -> None:
    async with bench(Hop) as b:
        for trace in (UNSAMPLED, ""):
            state = "congo=t61" if trace else ""
            running = b.call(Hop, "a", "go", {"rest": ["b"]}, traceparent=trace, tracestate=state)
            assert value(await b.finish(running)) == [[trace, state, "None", "None"]] * 3


async def test_a_turn_that_is_extended_keeps_its_span() -> None:
    async with bench(Hop) as b:
        leader = b.call(Hop, "a", "wait", timeout_s=0.5, idempotency_key="k", traceparent=SAMPLED)
        await PLACE.reached("hop")
        follower = b.call(Hop, "a", "wait", timeout_s=20.0, idempotency_key="k", traceparent=SAMPLED)
        await b.finish(leader)
        await settle()
        PLACE.let_go("hop")
        before, after = value(await b.finish(follower))
        assert before == after
        assert span_id(before) != CLIENT
