"""Encoding of a batch for PostgreSQL: folding, and the batches that cannot be folded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goverse.limits import CLUSTER_SHARDS
from goverse.model.keys import ObjectKey, is_unique, router_key, router_number
from goverse.model.records import CommitRecord, StoredReply
from goverse_node.stores.postgres.batches import BATCH_TYPES, EACH_TYPES, each, folded
from goverse_node.stores.postgres.kinds import kind_of

KEY = ObjectKey("default", "Counter", "c1")
EXPECTED = 4  # index of the column with the expected versions


def change(expected: int, key: ObjectKey = KEY) -> CommitRecord:
    return CommitRecord(key, expected, expected + 1, b"{}", 1, 0)


def test_folded_changes_expect_the_first_version_and_write_the_last() -> None:
    arguments = folded([change(4), change(5), change(0, KEY._replace(id="c2")), change(6)], CLUSTER_SHARDS)

    assert arguments is not None
    assert arguments[EXPECTED] == "{-1,-1,0,4}"
    assert len(arguments) == len(BATCH_TYPES)


@pytest.mark.parametrize(
    "batch",
    [
        [change(4), change(6)],
        [CommitRecord(KEY, 1, 3, b"{}", 1, 0)],
        [CommitRecord(KEY, 1, 1, None, 1, 0), change(2)],
        [CommitRecord(KEY, 1, 1, None, 1, 0, shard=1, epoch=1), CommitRecord(KEY, 1, 1, None, 1, 0, shard=1, epoch=2)],
        [CommitRecord(KEY, 1, 1, None, 1, 0, "key", StoredReply(b"", b"", 1))] * 2,
    ],
    ids=["a gap", "two versions at once", "contradicting versions", "two epochs", "one key twice"],
)
def test_a_batch_that_cannot_be_folded_is_committed_record_by_record(batch: list[CommitRecord]) -> None:
    assert folded(batch, CLUSTER_SHARDS) is None
    assert len(each(batch, CLUSTER_SHARDS)) == len(EACH_TYPES)


@given(router=st.text("0123456789abcdef", min_size=16, max_size=16), number=st.integers(0, 2**60 - 1))
def test_a_router_key_is_parsed(router: str, number: int) -> None:
    key = router_key(router, number)

    assert router_number(key) == (router, number)
    assert is_unique(key)


@pytest.mark.parametrize(
    "key", ["", "key", "gv-", "gv-~0123", "gv-0123456789abcdef-", "gv-0123456789abcdef-0F", "gv-0123456789abcdef-01",
            "gv-0123456789abcdef-1_0", "gv-0123456789abcdef- 1", "gv-0123456789abcdef-" + "f" * 16]
)  # fmt: skip
def test_other_keys_are_not_router_keys(key: str) -> None:
    assert router_number(key) is None


def test_the_number_of_a_kind_is_stable() -> None:
    assert kind_of("default", "Counter") == kind_of("default", "Counter")
    assert kind_of("default", "Counter") != kind_of("defaultC", "ounter")
