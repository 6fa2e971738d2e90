"""The number of dead letters among the metrics of a node."""

from __future__ import annotations

import pytest

from goverse import Object, call, handler
from goverse_node.messages import dead_letters
from goverse_node.metrics import NodeMetrics
from tests.nodes import bench, until


class Letter(Object):
    sent: int = 0

    @call
    def post(self) -> None:
        self.sent += 1
        self.sending(attempts=1)(self.ref(Letter, "receiver").fail)

    @handler
    async def fail(self) -> None:
        raise RuntimeError("no")


class Other(Object):
    value: int = 0


def scraped(metrics: NodeMetrics) -> dict[str, float]:
    return {
        sample.labels["object_type"]: sample.value
        for family in metrics.collect()
        for sample in family.samples
        if sample.name == "goverse_dead_letters"
    }


@pytest.mark.requirement("OBS-1", "DUR-3")
async def test_dead_letters_are_counted_by_the_type_of_their_receivers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "_REST_S", 0.0)
    async with bench(Letter, Other) as hosted:
        metrics = NodeMetrics(hosted.node)
        await until(lambda: scraped(metrics) == {"Letter": 0, "Other": 0})
        for _ in range(2):
            assert (await hosted.finish(hosted.call(Letter, "sender", "post"))).problem is None
        await until(lambda: scraped(metrics) == {"Letter": 2, "Other": 0})
