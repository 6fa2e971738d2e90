"""The position of a watch, and the effect of each answer on it."""

from collections.abc import Sequence

import pytest

from goverse.etcd.cursor import WatchCursor, WatchStep
from goverse.etcd.ranges import Names
from goverse.etcd.v3 import etcd_pb2 as messages
from goverse.ports.coordinator import Changed, Deleted, KeyEntry, Snapshot

CLUSTER = 77


def cursor_at(after: int) -> WatchCursor:
    return WatchCursor(Names(""), after, CLUSTER)


def header(revision: int, cluster_id: int = CLUSTER) -> messages.ResponseHeader:
    return messages.ResponseHeader(revision=revision, cluster_id=cluster_id)


def put(key: str, revision: int, created: int = 0) -> messages.Event:
    kv = messages.KeyValue(key=key.encode(), create_revision=created or revision, mod_revision=revision, value=b"v")
    return messages.Event(kv=kv)


def deleted(key: str, revision: int) -> messages.Event:
    return messages.Event(type=messages.Event.DELETE, kv=messages.KeyValue(key=key.encode(), mod_revision=revision))


def answer(
    events: Sequence[messages.Event] = (), *, revision: int, fragment: bool = False, cluster_id: int = CLUSTER
) -> messages.WatchResponse:
    return messages.WatchResponse(header=header(revision, cluster_id), events=events, fragment=fragment)


def test_events_advance_the_position_by_their_own_revision() -> None:
    cursor = cursor_at(10)

    assert cursor.take(answer([put("a", 11, 5), deleted("b", 13)], revision=99)) == Changed(
        13, [KeyEntry("a", b"v", 5, 11), Deleted("b", 13)]
    )
    assert cursor.after == 13


@pytest.mark.parametrize(
    "silent",
    [
        messages.WatchResponse(header=header(500), created=True),
        messages.WatchResponse(header=header(500)),  # the answer to a progress request
        messages.WatchResponse(header=header(500), watch_id=-1),
    ],
)
def test_an_answer_without_events_never_advances_the_position(silent: messages.WatchResponse) -> None:
    cursor = cursor_at(10)

    assert cursor.take(silent) is WatchStep.WAIT
    assert cursor.after == 10


def test_nothing_is_delivered_twice() -> None:
    cursor = cursor_at(10)
    cursor.take(answer([put("a", 11), put("a", 12)], revision=12))

    assert cursor.take(answer([put("a", 11), put("a", 12)], revision=12)) is WatchStep.WAIT
    assert cursor.take(answer([put("a", 12), put("a", 13)], revision=13)) == Changed(13, [KeyEntry("a", b"v", 13, 13)])


def test_fragments_are_delivered_after_the_last_one() -> None:
    cursor = cursor_at(10)

    assert cursor.take(answer([put("a", 11)], revision=12, fragment=True)) is WatchStep.WAIT
    assert cursor.take(answer([put("b", 11)], revision=12, fragment=True)) is WatchStep.WAIT
    assert cursor.after == 10
    news = cursor.take(answer([put("c", 12)], revision=12))
    assert isinstance(news, Changed)
    assert [change.key for change in news.changes] == ["a", "b", "c"]


def test_fragments_of_a_broken_stream_are_discarded() -> None:
    cursor = cursor_at(10)
    cursor.take(answer([put("a", 11)], revision=12, fragment=True))
    cursor.reopened()

    news = cursor.take(answer([put("a", 11), put("b", 11)], revision=12))
    assert isinstance(news, Changed)
    assert [change.key for change in news.changes] == ["a", "b"]


def test_a_compaction_causes_a_reload_and_the_watch_continues_from_there() -> None:
    cursor = cursor_at(10)
    compacted = messages.WatchResponse(header=header(50), canceled=True, compact_revision=40)

    assert cursor.take(compacted) is WatchStep.RELOAD
    assert cursor.after == 10
    cursor.reloaded(Snapshot(52, []), CLUSTER)
    assert cursor.take(answer([put("a", 52)], revision=53)) is WatchStep.WAIT
    assert cursor.take(answer([put("a", 53)], revision=53)) == Changed(53, [KeyEntry("a", b"v", 53, 53)])


def test_a_denied_watch_differs_from_one_that_was_ended() -> None:
    refused = messages.WatchResponse(header=header(1), created=True, canceled=True, cancel_reason="permission denied")

    cursor = cursor_at(0)
    assert cursor.take(refused) is WatchStep.DENIED
    assert cursor.reason == "permission denied"
    assert cursor.take(messages.WatchResponse(header=header(1), canceled=True)) is WatchStep.REOPEN


def test_a_member_behind_the_position_is_compared() -> None:
    created = messages.WatchResponse(header=header(10), created=True)

    assert cursor_at(10).take(created) is WatchStep.WAIT
    assert cursor_at(11).take(created) is WatchStep.COMPARE


def test_another_cluster_causes_a_reload() -> None:
    cursor = cursor_at(10)

    assert cursor.take(answer([put("a", 11)], revision=11, cluster_id=78)) is WatchStep.RELOAD
    cursor.reloaded(Snapshot(11, []), 78)
    assert isinstance(cursor.take(answer([put("a", 12)], revision=12, cluster_id=78)), Changed)


def test_the_first_answer_sets_the_cluster_id() -> None:
    cursor = WatchCursor(Names(""), 10, 0)

    assert cursor.take(messages.WatchResponse(header=header(10, 5), created=True)) is WatchStep.WAIT
    assert cursor.take(answer([put("a", 11)], revision=11, cluster_id=6)) is WatchStep.RELOAD


def test_keys_are_shown_without_the_namespace() -> None:
    cursor = WatchCursor(Names("/ours"), 10, CLUSTER)
    news = cursor.take(answer([put("/ours/a", 11), deleted("/ours/ü", 12)], revision=12))

    assert isinstance(news, Changed)
    assert [change.key for change in news.changes] == ["/a", "/ü"]
