"""The table in memory: comparison with a model, and gradual removal of expired replies and tombstones."""

import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goverse.model.keys import ObjectKey
from goverse.model.records import CommitRecord, StoredReply
from goverse.ports.store import Conflict
from goverse_node.stores.table import SWEEP_SPAN_MS, Table

KEYS = [ObjectKey(namespace, "T", object_id) for namespace in "nm" for object_id in "ab"]
NOW_MS = 10_000_000
STEPS = st.lists(
    st.tuples(
        st.sampled_from(KEYS),
        st.integers(-1, 1),  # how wrong the expected version is; mostly right below
        st.sampled_from(["put", "delete", "keep"]),
        st.none() | st.sampled_from(["k1", "k2"]),
        st.integers(-1, 2),  # minutes until the reply expires
    ),
    max_size=30,
)


def record_of(key: ObjectKey, expected: int, what: str, idempotency_key: str | None, minutes: int) -> CommitRecord:
    """Return a record that puts, deletes or keeps an object."""
    reply = StoredReply(b"f", b"r", NOW_MS + minutes * 60_000) if idempotency_key is not None else None
    version = expected if what == "keep" else expected + 1
    state = b"{}" if what == "put" else None
    return CommitRecord(key, expected, version, state, 1, NOW_MS, idempotency_key, reply)


@pytest.mark.requirement("DUR-5", "DUR-2")
@given(STEPS, st.integers(1, 5))
def test_a_table_does_what_two_dictionaries_do(
    steps: list[tuple[ObjectKey, int, str, str | None, int]], batch_size: int
) -> None:
    table, seq = Table(), 0
    objects: dict[ObjectKey, tuple[int, bytes | None]] = {}
    replies: dict[tuple[ObjectKey, str], int] = {}
    for first in range(0, len(steps), batch_size):
        batch: list[CommitRecord] = []
        expected: list[bool] = []
        for key, wrong, what, idempotency_key, minutes in steps[first : first + batch_size]:
            version = objects.get(key, (0, None))[0]
            record = record_of(key, max(0, version + wrong), what, idempotency_key, minutes)
            batch.append(record)
            taken = idempotency_key is not None and replies.get((key, idempotency_key), 0) > NOW_MS
            fresh_twice = any(
                one.key == key and one.idempotency_key == idempotency_key is not None
                for one, good in zip(batch[:-1], expected, strict=True)
                if good
            )
            expected.append(record.expected == version and not taken and not fresh_twice)
            if expected[-1]:
                if what != "keep":
                    objects[key] = (record.version, record.state)
                if record.reply is not None and idempotency_key is not None:
                    replies[key, idempotency_key] = record.reply.expires_ms
        outcomes, pieces = table.stage(batch, seq + 1, NOW_MS)
        assert [not isinstance(outcome, Conflict) for outcome in outcomes] == expected
        assert len(pieces) == 2 * sum(expected)
        table.apply_staged()
        seq += sum(expected)
    for key in KEYS:
        found = table.load(key)
        assert (found and (found.version, found.state)) == objects.get(key)
        for name in ("k1", "k2"):
            kept = table.recall(key, name, NOW_MS)
            assert (kept is not None) == (replies.get((key, name), 0) > NOW_MS)
    for namespace in "nm":
        listed = [one.id for one in table.page(namespace, "T", prefix="", after=None, limit=9)]
        assert listed == sorted(key.id for key, (_, state) in objects.items() if key[0] == namespace and state)
        assert table.living().get((namespace, "T"), 0) == len(listed)


def test_a_discarded_batch_leaves_no_trace() -> None:
    table = Table()
    table.stage([record_of(KEYS[0], 0, "put", "k", 1)], 1, NOW_MS)
    table.discard_staged()
    assert table.load(KEYS[0]) is None
    assert table.recall(KEYS[0], "k", NOW_MS) is None
    outcomes, _ = table.stage([record_of(KEYS[0], 0, "put", "k", 1)], 1, NOW_MS)
    assert outcomes == [1]


@pytest.mark.requirement("DUR-2")
def test_expired_replies_leave_a_few_at_a_time() -> None:
    table = Table()
    batch = [record_of(KEYS[0], 0, "keep", f"k{n}", 1) for n in range(100)]
    batch += [record_of(KEYS[0], 0, "keep", f"later{n}", 10) for n in range(10)]
    table.stage(batch, 1, NOW_MS)
    table.apply_staged()
    (type_table,) = table.type_tables()

    table.sweep(NOW_MS, 40)
    assert len(type_table.replies) == 110
    after = NOW_MS + 2 * SWEEP_SPAN_MS
    counts: list[int] = []
    for _ in range(4):
        table.sweep(after, 40)
        counts.append(len(type_table.replies))
    assert counts == [70, 30, 10, 10]
    table.sweep(NOW_MS + 12 * SWEEP_SPAN_MS, 40)
    assert len(type_table.replies) == 0


def test_a_reply_kept_again_is_not_swept_with_the_old_one() -> None:
    table = Table()
    table.stage([record_of(KEYS[0], 0, "keep", "k", 1)], 1, NOW_MS)
    table.apply_staged()
    later = NOW_MS + 90_000
    again = CommitRecord(KEYS[0], 0, 0, None, 1, later, "k", StoredReply(b"f", b"new", later + 600_000))
    table.stage([again], 2, later)
    table.apply_staged()
    table.sweep(NOW_MS + 3 * SWEEP_SPAN_MS, 100)
    kept = table.recall(KEYS[0], "k", NOW_MS + 3 * SWEEP_SPAN_MS)
    assert kept is not None
    assert kept.reply == b"new"


def test_old_tombstones_leave_a_floor() -> None:
    table = Table(tombstone_retention_s=60)
    batch = [record_of(KEYS[0], 0, "put", None, 0), record_of(KEYS[0], 1, "delete", None, 0)]
    table.stage(batch, 1, NOW_MS)
    table.apply_staged()
    table.sweep(NOW_MS + 59_000, 10)
    found = table.load(KEYS[0])
    assert found is not None
    assert found.commit_seq == 2

    table.sweep(NOW_MS + 59_000 + SWEEP_SPAN_MS, 10)
    for key in KEYS[:2]:
        forgotten = table.load(key)
        assert forgotten is not None
        assert (forgotten.version, forgotten.state, forgotten.commit_seq) == (2, None, 0)
    assert table.load(KEYS[2]) is None, "another namespace has a floor of its own"
    outcomes, _ = table.stage([record_of(KEYS[1], 0, "put", None, 0), record_of(KEYS[1], 2, "put", None, 0)], 3, NOW_MS)
    assert [isinstance(outcome, Conflict) for outcome in outcomes] == [True, False]


def test_a_large_table_adds_no_objects_to_the_garbage_collector() -> None:
    table = Table()
    before = len(gc.get_objects())
    for first in range(0, 20_000, 100):
        keys = (ObjectKey("n", "T", f"id-{n}") for n in range(first, first + 100))
        table.stage([record_of(key, 0, "put", "k", 1) for key in keys], first + 1, NOW_MS)
        table.apply_staged()
    gc.collect()
    assert len(gc.get_objects()) - before < 500


def test_a_reply_expires_by_the_time_that_passed_since_its_turn() -> None:
    table, turn_ms = Table(), 5
    kept = StoredReply(b"f", b"r", turn_ms + 1_000)
    table.stage([CommitRecord(KEYS[0], 0, 0, None, 1, turn_ms, "k", kept)], 1, NOW_MS)
    table.apply_staged()
    assert table.recall(KEYS[0], "k", NOW_MS + 999) is not None
    assert table.recall(KEYS[0], "k", NOW_MS + 1_000) is None
