"""Parked calls: limited, resumed in order, and neither lost nor resumed twice."""

import pytest

from goverse.cluster.parking import Parking
from goverse.errors import Overloaded

pytestmark = pytest.mark.requirement("CLU-3")


def test_calls_resume_in_arrival_order_when_their_shard_moved() -> None:
    parking: Parking[str] = Parking(10)
    for call, shard in (("a", 1), ("b", 2), ("c", 1), ("d", 3)):
        parking.park(call, shard, until=50.0)

    assert parking.moved({1, 2, 9}) == ["a", "b", "c"]
    assert parking.moved({1}) == []
    assert (len(parking), parking.due(50.0), len(parking)) == (1, ["d"], 0)


def test_calls_resume_when_their_time_has_come() -> None:
    parking: Parking[str] = Parking(10)
    parking.park("late", 1, until=9.0)
    parking.park("soon", 1, until=3.0)

    assert (parking.next_at(), parking.due(2.9), parking.due(3.0)) == (3.0, [], ["soon"])
    assert parking.next_at() == 9.0
    assert parking.moved({1}) == ["late"]
    assert parking.next_at() is None


def test_a_call_whose_caller_gave_up_is_dropped() -> None:
    parking: Parking[str] = Parking(10)
    parking.park("a", 1, until=9.0)
    parking.park("b", 1, until=9.0)
    parking.forget("a".__eq__)

    assert (len(parking), parking.moved({1}), parking.due(99.0)) == (1, ["b"], [])


def test_full_parking_refuses_calls() -> None:
    parking: Parking[str] = Parking(2)
    parking.park("a", 1, until=9.0)
    parking.park("b", 1, until=9.0)
    with pytest.raises(Overloaded) as refusal:
        parking.park("c", 1, until=9.0)

    assert refusal.value.extra["retry_after_s"] == 1
    assert parking.moved({1}) == ["a", "b"]


def test_a_shard_that_never_recovers_leaves_room_for_the_others() -> None:
    parking: Parking[str] = Parking(100)
    for _ in range(80):
        parking.park("stuck", 1, until=9.0)
    with pytest.raises(Overloaded):
        parking.park("stuck", 1, until=9.0)

    for shard in range(2, 18):
        parking.park("other", shard, until=9.0)
    assert len(parking.shards()) == 17
    assert parking.moved(range(2, 18)) == ["other"] * 16


def test_times_of_resumed_calls_do_not_pile_up() -> None:
    parking: Parking[int] = Parking(10)
    parking.park(-1, 1, until=1e9)
    for call in range(20_000):
        parking.park(call, 2, until=1e6)
        parking.moved({2})

    assert len(parking) == 1
    assert len(parking._times) < 3_000
