"""Ids of reliable calls lead to the shard of their sender."""

from __future__ import annotations

from goverse.model.call_ids import new_call_id, place_of_call, placement_of_call, repeated_call_id
from goverse.model.keys import ObjectKey, placement_hash, shard_at

_SENDERS = [ObjectKey("default", "Cart", name) for name in ("a", "{t}/b", "shard#8191/c", "shard#0/d", "é")]


def test_an_id_names_the_place_of_its_sender() -> None:
    for sender in _SENDERS:
        hashed = placement_hash(sender)
        call_id = new_call_id(hashed, 1_700_000_000_000, bytes(10))
        assert placement_of_call(call_id) == hashed
        place = place_of_call(sender.namespace, hashed)
        for count in (1, 64, 8192, 65536):
            assert shard_at(placement_hash(place), count) == shard_at(hashed, count)


def test_a_repeated_request_gets_the_same_id() -> None:
    first, other = _SENDERS[:2]
    hashed = placement_hash(first)
    assert repeated_call_id(hashed, first, "k") == repeated_call_id(hashed, first, "k")
    assert len({repeated_call_id(hashed, key, name) for key in (first, other) for name in ("k", "l")}) == 4


def test_other_ids_name_no_place() -> None:
    whole = new_call_id(0, 0, bytes(10))
    for text in ("", "pay-7", whole[:-1], f"{whole}0", whole.upper(), f"x{whole[1:]}"):
        assert placement_of_call(text) is None
