"""The position of a watch, without IO: what each answer of etcd means for the watch.

Rules:

1. The position advances with the revisions of the events that were delivered, and with a reload. It never advances with
   the revision in an answer's header, not even when the watch is created: the header may be ahead of the events.
2. A fragmented answer is delivered when it is complete. Incomplete fragments of a broken stream are discarded.
3. Nothing is delivered twice: events at or before the position are dropped.
4. All keys are read again after a compaction past the position, when the etcd cluster has another id, or when its
   history ends before the position (a restore from a backup).
5. A restored etcd may pass the position with new writes before the watch reconnects. When a watch is opened again, the
   keys as of the position are therefore read and compared with what the watch has seen. If keys or revisions differ, it
   is another history.
"""

from __future__ import annotations

from enum import Enum, auto

from goverse.etcd.ranges import Names
from goverse.etcd.v3 import etcd_pb2 as messages
from goverse.ports.coordinator import Changed, Deleted, KeyEntry, Snapshot


class WatchStep(Enum):
    """The next step of a watch if there are no changes to deliver."""

    WAIT = auto()  # wait for the next answer
    COMPARE = auto()  # this member's revision is older than the position: it is behind, or it is another history
    RELOAD = auto()  # changes were lost: read all keys again
    REOPEN = auto()  # the member ended the watch
    DENIED = auto()  # the member refused to create the watch: unknown token or user, or a missing permission


class WatchCursor:
    """The position of one watch.

    Attributes:
        after: everything up to this revision was delivered.
        reason: why the member ended the watch.
        cluster_id: the id of the etcd cluster that is watched, 0 if unknown.
    """

    def __init__(self, names: Names, after: int, cluster_id: int, known: Snapshot | None = None) -> None:
        """Start after revision ``after``. ``cluster_id`` is 0 if unknown; ``known`` holds the keys as of ``after``."""
        self.after = after
        self.reason = ""
        self._names = names
        self.cluster_id = cluster_id
        self._known = None if known is None else _revisions(known)
        self._fragments: list[messages.Event] = []

    def reopened(self) -> None:
        """Record that a new stream was opened."""
        self._fragments.clear()

    def reloaded(self, snapshot: Snapshot, cluster_id: int) -> None:
        """Record that all keys were read again and delivered."""
        self.after = snapshot.revision
        self._known = _revisions(snapshot)
        self.cluster_id = cluster_id
        self._fragments.clear()

    def continues(self, snapshot: Snapshot, cluster_id: int) -> bool:
        """True if ``snapshot`` can be a later state of the same history."""
        return snapshot.revision >= self.after and cluster_id == (self.cluster_id or cluster_id)

    def matches(self, snapshot: Snapshot) -> bool:
        """True if ``snapshot``, taken at the position, equals what the watch has seen (rule 5)."""
        return self._known is None or self._known == _revisions(snapshot)

    def take(self, answer: messages.WatchResponse) -> Changed | WatchStep:
        """Return the changes to deliver, or the next step."""
        if answer.compact_revision:
            return WatchStep.RELOAD
        if answer.canceled:
            self.reason = answer.cancel_reason or "the member ended the watch"
            return WatchStep.DENIED if answer.created else WatchStep.REOPEN
        if answer.header.cluster_id not in (0, self.cluster_id):
            if self.cluster_id:
                return WatchStep.RELOAD
            self.cluster_id = answer.header.cluster_id
        if answer.created:
            return WatchStep.COMPARE if answer.header.revision < self.after else WatchStep.WAIT
        self._fragments += answer.events
        if answer.fragment or not self._fragments:
            return WatchStep.WAIT
        events, self._fragments = self._fragments, []
        return self._changed(events)

    def _changed(self, events: list[messages.Event]) -> Changed | WatchStep:
        news = [self._change(event) for event in events if event.kv.mod_revision > self.after]
        if not news:
            return WatchStep.WAIT
        self.after = events[-1].kv.mod_revision
        if self._known is not None:
            for change in news:
                if isinstance(change, Deleted):
                    self._known.pop(change.key, None)
                else:
                    self._known[change.key] = change.mod_revision
        return Changed(self.after, news)

    def _change(self, event: messages.Event) -> KeyEntry | Deleted:
        if event.type == messages.Event.DELETE:
            return Deleted(self._names.outside(event.kv.key), event.kv.mod_revision)
        return self._names.entry(event.kv)


def _revisions(snapshot: Snapshot) -> dict[str, int]:
    return {entry.key: entry.mod_revision for entry in snapshot.entries}
