"""Ids that the gate generates."""

from __future__ import annotations

import uuid

from goverse.ports.clock import ManualClock
from goverse_gate.identity import ObjectIds, RequestIds


def test_request_ids_are_unique_and_begin_alike_within_a_process() -> None:
    ids = RequestIds(lambda size: b"\x07" * size)
    assert [ids(), ids()] == ["070707070707-1", "070707070707-2"]


def test_new_object_ids_sort_by_time() -> None:
    clock = ManualClock()
    ids = ObjectIds(clock)
    made = []
    for _ in range(20):
        made.append(ids.new())
        clock.advance(0.001)
    assert made == sorted(made)
    assert len(set(made)) == 20
    assert uuid.UUID(made[0]).version == 7


def test_the_same_create_request_gets_the_same_id() -> None:
    ids = ObjectIds()
    first = ids.of_request("default", "Room", "key")
    assert first == ids.of_request("default", "Room", "key")
    others = {
        ids.of_request("other", "Room", "key"),
        ids.of_request("default", "Cart", "key"),
        ids.of_request("default", "Room", "k"),
    }
    assert first not in others
    assert len(others) == 3
