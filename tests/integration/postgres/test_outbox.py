"""Reliable calls in PostgreSQL: both forms of a commit agree, pages of many shards, partitions, and shards that move.

``goverse.testing.outbox_contract`` has the rules that all stores share.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from goverse.limits import CLUSTER_SHARDS
from goverse.model.effects import ANY_VERSION, Effects, FinishedCall, Mark, SentCall
from goverse.model.keys import ObjectKey, placement_hash, shard_at
from goverse.model.receipts import Delivery, Receipt, Settlement, Verdict, number_of
from goverse.model.records import CommitRecord, StoredReply
from goverse.ports.outbox import CallFilter
from goverse.ports.store import CommitOutcome, Conflict
from goverse_node.stores.postgres import effects
from goverse_node.stores.postgres.options import PostgresOptions
from goverse_node.stores.postgres.store import PostgresStore
from goverse_node.stores.postgres.verify import verify

pytestmark = pytest.mark.requirement("DUR-3")

DAY_MS = 86_400_000
SENDERS = [ObjectKey("default", "Order", f"o{n}") for n in range(3)]
RECEIVERS = [ObjectKey("other", "Account", f"a/ü{n}") for n in range(2)]
ORDER, ACCOUNT = SENDERS[0], RECEIVERS[0]
EVERYTHING = CallFilter()


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def sent(call_id: str = "c_1", receiver: ObjectKey = ACCOUNT) -> SentCall:
    return SentCall(call_id, receiver, "deposit", b'{"cents": 5}', expires_ms=now_ms() + DAY_MS, due_ms=7)


def only(key: ObjectKey, **parts: Any) -> CommitRecord:
    """A record that has effects and fits every version."""
    return CommitRecord(key, ANY_VERSION, ANY_VERSION, None, 1, 0, effects=Effects(**parts))


def changing(key: ObjectKey, expected: int, **parts: Any) -> CommitRecord:
    found = Effects(**parts) if parts else None
    return CommitRecord(key, expected, expected + 1, b"{}", 1, 0, effects=found)


def settles(sender: ObjectKey, number: int, prev: int = 0, head: int = 0) -> Settlement:
    return Settlement(Delivery(sender, number, prev, head or number), b"outcome %d" % number)


def ended(call_id: str, state: Any = "dead", kept_ms: int = DAY_MS, finished_ms: int | None = None) -> FinishedCall:
    at_ms = finished_ms or now_ms()
    return FinishedCall(sent(call_id), ORDER, state, b"why", 3, at_ms, at_ms + kept_ms)


@pytest.fixture
async def store(database: str) -> AsyncIterator[PostgresStore]:
    opened = PostgresStore(PostgresOptions(dsn=database))
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
async def connection(database: str) -> AsyncIterator[Any]:
    found = await asyncpg.connect(database)
    yield found
    await found.close()


async def positions(store: PostgresStore, *batch: CommitRecord) -> list[int]:
    outcomes = await store.commit(batch)
    assert all(isinstance(outcome, int) for outcome in outcomes), outcomes
    return [outcome for outcome in outcomes if isinstance(outcome, int)]


async def wrong(connection: Any) -> list[str]:
    return [each for finding in await verify(connection) for each in finding.wrong]


async def test_a_call_is_pending_until_its_sender_removes_it(store: PostgresStore, connection: Any) -> None:
    first, second = sent("c_1"), sent("c_2", RECEIVERS[1])
    (seq,) = await positions(store, replace(only(ORDER, sends=(first, second)), shard=4))
    numbers = [number_of(seq, part) for part in (0, 1)]
    assert [(each.number, each.call, each.sender) for each in await store.pending([4], limit=10)] == [
        (numbers[0], first, ORDER),
        (numbers[1], second, ORDER),
    ]
    assert await store.load(ORDER) is None
    assert await wrong(connection) == []

    marks = (Mark(numbers[0], 1), Mark(numbers[0], 2, "expired"), Mark(7, 1))
    await positions(store, replace(only(ORDER, marks=marks), shard=4))
    await positions(store, replace(only(SENDERS[1], removes=tuple(numbers)), shard=4))
    await positions(store, replace(only(ORDER, removes=(numbers[1], 7)), shard=4))
    assert [(each.number, each.attempts, each.void) for each in await store.pending([4], limit=10)] == [
        (numbers[0], 2, "expired")
    ]
    assert await store.pending([5], limit=10) == []


@pytest.mark.parametrize("behind", ["", "a gap"])
async def test_a_record_that_cannot_be_committed_has_no_effects(store: PostgresStore, behind: str) -> None:
    late = replace(changing(ORDER, 4, sends=(sent("late"),), finished=(ended("late"),)), shard=1)
    stale = CommitRecord(
        ACCOUNT, 9, 9, None, 1, 0, shard=1, epoch=1, effects=Effects(settles=settles(ORDER, 3), sends=(sent("stale"),))
    )
    fine = replace(changing(SENDERS[1], 0, sends=(sent("fine"),), settles=settles(ORDER, 5)), shard=1)
    rest = [changing(SENDERS[2], 0), changing(SENDERS[2], 3)] if behind else []
    await store.claim([1], "local")
    outcomes = await store.commit([late, stale, fine, *rest])

    assert [isinstance(outcome, int) for outcome in outcomes[:3]] == [False, False, True]
    assert [each.call.id for each in await store.pending([1], limit=10)] == ["fine"]
    assert await store.receipt(ACCOUNT, ORDER) == Receipt()
    assert await store.receipt(SENDERS[1], ORDER) == Receipt(5, {5: b"outcome 5"})
    assert await store.finished(EVERYTHING, limit=10) == []


async def test_a_receipt_moves_on_only_to_the_next_call(store: PostgresStore, connection: Any) -> None:
    big = number_of(1 << 62, 9_999)
    await positions(store, only(ACCOUNT, settles=settles(ORDER, 5)))
    for refused in (settles(ORDER, 5), settles(ORDER, 4), settles(ORDER, 8, prev=7), settles(SENDERS[1], 8, prev=7)):
        (outcome,) = await store.commit([only(ACCOUNT, settles=refused)])
        assert outcome == Conflict(f"the call is not the next one of its sender that {ACCOUNT} can settle")
    outcomes = await store.commit(
        [
            only(ACCOUNT, settles=settles(ORDER, 7, prev=5, head=5)),
            only(ACCOUNT, settles=settles(ORDER, 6, prev=5, head=5)),
            changing(ACCOUNT, 0, settles=settles(ORDER, 9, prev=6)),
            changing(ACCOUNT, 0, settles=settles(ORDER, big, prev=7, head=7)),
            changing(ACCOUNT, 1),
        ]
    )
    assert [isinstance(outcome, int) for outcome in outcomes] == [True, False, False, True, True]
    assert await store.receipt(ACCOUNT, ORDER) == Receipt(big, {7: b"outcome 7", big: b"outcome %d" % big})
    assert await store.receipt(ACCOUNT, SENDERS[1]) == Receipt()
    refused_as = await connection.fetchval("SELECT refused::text FROM goverse.writers ORDER BY batch DESC LIMIT 1")
    assert refused_as == '{"1": ["receipt", 0], "2": ["receipt", 0]}'


class Story:
    """Random batches of records, some of which conflict, and the rules of the ports by which they are decided."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.versions: Counter[ObjectKey] = Counter()
        self.keys: set[tuple[ObjectKey, str]] = set()
        self.receipts: dict[tuple[ObjectKey, ObjectKey], Receipt] = {}
        self.pending: dict[int, tuple[ObjectKey, str, int]] = {}
        self.finished: set[tuple[ObjectKey, str]] = set()

    def batch(self) -> list[CommitRecord]:
        self.guessed = dict(self.versions)
        self.last = {pair: receipt.last for pair, receipt in self.receipts.items()}
        return [self._record(n) for n in range(self.random.randint(1, 8))]

    def _record(self, n: int) -> CommitRecord:
        key = self.random.choice([*SENDERS, *RECEIVERS])
        found = self._effects(key, n) if self.random.random() < 0.8 else None
        version = max(0, self.guessed.get(key, 0) + self.random.choice([0] * 15 + [1, -1]))
        if found is not None and self.random.random() < 0.4:
            return CommitRecord(key, ANY_VERSION, ANY_VERSION, None, 1, 0, effects=found)
        changes = self.random.random() < 0.5
        self.guessed[key] = version + changes
        name, kept = None, None
        if found is None or self.random.random() < 0.3:
            name, kept = f"k{self.random.randint(0, 30)}", StoredReply(b"print", b"reply", DAY_MS)
        return CommitRecord(key, version, version + changes, b"{}", 1, 0, name, kept, effects=found)

    def _effects(self, key: ObjectKey, n: int) -> Effects:
        sender, settled = self.random.choice(SENDERS), None
        if self.random.random() < 0.7:
            last = self.last.get((key, sender), 0)
            number = max(1, last + self.random.choice([1] * 10 + [0, -1, 2]))
            prev = self.random.choice([last] * 8 + [0, max(0, last - 1)])
            settled = settles(sender, number, prev, self.random.randint(max(1, number - 4), number))
            self.last[key, sender] = max(last, number)
        known = self.random.sample(sorted(self.pending), min(len(self.pending), 3))
        return Effects(
            tuple(sent(f"c_{n}_{part}") for part in range(self.random.choice([0, 1, 2]))),
            settled,
            tuple(known[:1]),
            tuple(Mark(number, self.random.randint(0, 3)) for number in known),
            (replace_end(key, f"c_{n}"),) if self.random.random() < 0.3 else (),
        )

    def apply(self, record: CommitRecord, outcome: CommitOutcome) -> None:
        """Check the outcome of the next record, and remember its effects."""
        key, found = record.key, record.effects
        fits = record.expected in (ANY_VERSION, self.versions[key])
        if record.idempotency_key is not None:
            fits = fits and (key, record.idempotency_key) not in self.keys
        if found is not None and found.settles is not None:
            delivery = found.settles.delivery
            receipt = self.receipts.get((key, delivery.sender), Receipt())
            fits = fits and receipt.judge(delivery) is Verdict.NEXT
        assert isinstance(outcome, int) == fits, (record, outcome)
        if not isinstance(outcome, int):
            return
        self.versions[key] += record.version - record.expected
        if record.idempotency_key is not None:
            self.keys.add((key, record.idempotency_key))
        if found is not None:
            self._add(key, found, outcome)

    def _add(self, key: ObjectKey, found: Effects, seq: int) -> None:
        if found.settles is not None:
            pair = (key, found.settles.delivery.sender)
            self.receipts[pair] = self.receipts.get(pair, Receipt()).settled(found.settles)
        for mark in found.marks:
            if self.pending.get(mark.number, (None,))[0] == key:
                self.pending[mark.number] = (*self.pending[mark.number][:2], mark.attempts)
        for number in found.removes:
            if self.pending.get(number, (None,))[0] == key:
                del self.pending[number]
        self.pending |= {number_of(seq, part): (key, call.id, 0) for part, call in enumerate(found.sends)}
        self.finished |= {(end.sender, end.call.id) for end in found.finished}


def replace_end(sender: ObjectKey, call_id: str) -> FinishedCall:
    return ended(call_id)._replace(sender=sender)


@pytest.mark.parametrize("folding", [True, False])
@pytest.mark.parametrize("seed", range(3))
async def test_random_batches_are_decided_record_by_record(
    store: PostgresStore, connection: Any, seed: int, folding: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    forms: list[bool] = []
    fold = effects.folded

    def folded(batch: Sequence[CommitRecord], base: int) -> list[Any] | None:
        columns = fold(batch, base) if folding else None
        forms.append(columns is not None)
        return columns

    monkeypatch.setattr(effects, "folded", folded)
    story = Story(seed)
    for _ in range(50):
        batch = story.batch()
        for record, outcome in zip(batch, await store.commit(batch), strict=True):
            story.apply(record, outcome)
    left = await store.pending([0], limit=10_000)
    assert {each.number: (each.sender, each.call.id, each.attempts) for each in left} == story.pending
    assert [each.number for each in left] == sorted(story.pending)
    for (receiver, sender), receipt in story.receipts.items():
        assert await store.receipt(receiver, sender) == receipt
    assert {(each.sender, each.call.id) for each in await store.finished(EVERYTHING, limit=10_000)} == story.finished
    assert await wrong(connection) == []
    assert set(forms) == {True, False} if folding else not any(forms)


async def test_pages_of_many_shards_are_complete_and_in_order(store: PostgresStore) -> None:
    crowded = [replace(only(ORDER, sends=tuple(sent(f"c_{n}") for n in range(40))), shard=2) for _ in range(3)]
    spread = [replace(only(SENDERS[1], sends=(sent(),)), shard=shard) for shard in range(100)]
    await positions(store, *spread, crowded[0], *spread, *crowded[1:], *spread)
    whole = await store.pending(range(100), limit=1_000)
    assert len(whole) == 3 * (40 + 100)
    assert [each.number for each in whole] == sorted({each.number for each in whole})
    assert {each.shard for each in whole} == set(range(100))

    for limit in (1, 7, 50, 419, 420):
        pages: list[Any] = []
        while len(pages) < len(whole):
            page = await store.pending(range(100), after=pages[-1].number if pages else 0, limit=limit)
            assert len(page) == min(limit, len(whole) - len(pages))
            pages += page
        assert pages == whole
    assert await store.pending([], limit=10) == []


async def test_finished_calls_are_selected_and_go_with_their_day(store: PostgresStore, connection: Any) -> None:
    at_ms = now_ms()
    ends = [
        ended("brief", "success", kept_ms=DAY_MS, finished_ms=at_ms),
        ended("long", "dead", kept_ms=30 * DAY_MS, finished_ms=at_ms + 1),
        ended("longest", "failed", kept_ms=400 * DAY_MS, finished_ms=at_ms + 2),
        ended("always", "cancelled", kept_ms=1 << 61, finished_ms=at_ms + 2),
        ended("past", "expired", kept_ms=-DAY_MS, finished_ms=at_ms),
    ]
    await positions(store, only(ORDER, finished=tuple(ends)))
    newest_first = [ends[2], ends[3], ends[1], ends[0]]
    assert await store.finished(EVERYTHING, limit=10) == newest_first
    assert await store.finished(EVERYTHING, after=(at_ms + 2, "longest"), limit=1) == [ends[3]]
    assert await store.finished(EVERYTHING._replace(states=frozenset({"dead"})), limit=9) == [ends[1]]
    assert await store.finished(EVERYTHING._replace(finished_before_ms=at_ms + 1), limit=9) == [ends[0]]
    assert await store.finished(EVERYTHING._replace(type="Order"), limit=9) == []
    assert await store.finished_call("default", "long") == ends[1]
    assert await store.finished_call("other", "long") is None

    rest = "SELECT count(*) FROM goverse.finished_calls_rest"
    assert await connection.fetchval(rest) == 3
    await store.housekeeping.prepare()
    assert await connection.fetchval(rest) == 2  # the day of the longest has a partition now
    assert (await store.housekeeping.cleanup()).calls == 1
    assert await store.finished(EVERYTHING, limit=10) == newest_first
    await connection.execute(
        "CREATE OR REPLACE FUNCTION goverse.today() RETURNS integer LANGUAGE sql STABLE AS "
        f"'SELECT {at_ms // DAY_MS + 2}'"
    )
    dropped = [day for day, _ in (await store.housekeeping.cleanup()).days]
    assert f"finished_calls_{at_ms // DAY_MS + 1}" in dropped
    assert await store.finished(EVERYTHING, limit=10) == newest_first[:3]
    assert await store.forget_finished(EVERYTHING, limit=2) == 2
    assert await store.finished(EVERYTHING, limit=10) == [ends[2]]


async def test_pending_calls_follow_the_number_of_shards(store: PostgresStore, connection: Any) -> None:
    await store.join("here", CLUSTER_SHARDS)
    shards = {key: shard_at(placement_hash(key), CLUSTER_SHARDS) for key in SENDERS}
    await positions(store, *(replace(only(key, sends=(sent(),)), shard=shard) for key, shard in shards.items()))
    for count in (1, 2, 65_536, CLUSTER_SHARDS // 2):
        assert await wrong(connection) == []
        await connection.execute("UPDATE goverse.cluster SET shards = $1", count)
        for key in SENDERS:
            assert key in {
                each.sender for each in await store.pending([shard_at(placement_hash(key), count)], limit=10)
            }
