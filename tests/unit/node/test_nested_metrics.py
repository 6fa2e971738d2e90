"""Metrics of a node: nested calls by type and method, and waiting calls by type."""

from __future__ import annotations

import pytest

from goverse import BusinessError, Object, call
from goverse_node.metrics import NodeMetrics
from goverse_node.node import Node
from tests.nodes import Meeting, bench, code, until, value

PLACE = Meeting()


class Refused(BusinessError):
    """The event takes no more."""

    code = "refused"


class Event(Object):
    value: int = 0

    @call
    async def confirm(self) -> int:
        self.value += 1
        return self.value

    @call(raises=(Refused,))
    async def refuse(self) -> None:
        raise Refused("no")

    @call
    async def hold(self) -> None:
        await PLACE.wait("hold")


class Order(Object):
    value: int = 0

    @call
    async def pay(self, event: str) -> int:
        return await self.ref(Event, event).confirm()

    @call(raises=(Refused,))
    async def fail(self, event: str) -> None:
        await self.ref(Event, event).refuse()


def series(node: Node, name: str) -> dict[tuple[str, ...], float]:
    return {
        tuple(sample.labels.values()): sample.value
        for family in NodeMetrics(node).collect()
        for sample in family.samples
        if sample.name == name
    }


@pytest.mark.requirement("OBS-1")
async def test_a_nested_call_is_counted_and_timed_by_the_type_and_method_that_it_called() -> None:
    async with bench(Order, Event) as hosted:
        replies = [await hosted.finish(hosted.call(Order, f"o{each}", "pay", {"event": "e"})) for each in range(3)]
        assert [value(reply) for reply in replies] == [1, 2, 3]
        assert code(await hosted.finish(hosted.call(Order, "o1", "fail", {"event": "e"}))) == "refused"
        assert series(hosted.node, "goverse_nested_calls_total") == {
            ("Event", "confirm", "success"): 3,
            ("Event", "refuse", "business_error"): 1,
        }
        counts = series(hosted.node, "goverse_nested_call_duration_seconds_count")
        assert counts == {("Event", "confirm"): 3, ("Event", "refuse"): 1}


@pytest.mark.requirement("OBS-1")
async def test_the_sampled_trace_of_a_nested_call_is_an_exemplar() -> None:
    sampled, other = (f"{number:032x}" for number in (1, 2))
    async with bench(Order, Event) as hosted:
        for trace, flags in ((sampled, "01"), (other, "00"), ("", "")):
            traceparent = f"00-{trace}-{7:016x}-{flags}" if trace else ""
            await hosted.finish(hosted.call(Order, "o1", "pay", {"event": "e"}, traceparent=traceparent))
        found = [
            sample.exemplar.labels
            for family in NodeMetrics(hosted.node).collect()
            for sample in family.samples
            if sample.exemplar is not None
        ]
        assert found == [{"trace_id": sampled}]


async def test_a_call_from_outside_is_no_nested_call() -> None:
    async with bench(Order, Event) as hosted:
        assert value(await hosted.finish(hosted.call(Event, "e", "confirm"))) == 1
        assert series(hosted.node, "goverse_nested_calls_total") == {}


async def test_calls_that_wait_are_counted_by_type() -> None:
    async with bench(Order, Event) as hosted:
        first = hosted.call(Event, "e", "hold")
        await PLACE.reached("hold")
        second = hosted.call(Event, "e", "confirm")
        await until(lambda: series(hosted.node, "goverse_calls_waiting") == {("Event",): 1, ("Order",): 0})
        PLACE.let_go("hold")
        assert value(await hosted.finish(first)) is None
        assert value(await hosted.finish(second)) == 1
