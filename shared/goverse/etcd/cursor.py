"""Where a watch is, without IO: what each answer of etcd means for it.

Rules:

1. The position moves with the events that were handed on, by their own revisions, and with a reload; never by the
   revision in an answer's header, which may be ahead of the events, not even when the watch was created.
2. An answer in fragments is handed on when it is complete; what a broken stream left of one is forgotten.
3. Nothing is handed on twice: events at or before the position are dropped.
4. Compaction behind the position, a cluster of another identity, and a history that ends before the position (a restore
   from a backup) all mean: read everything again.
5. A restored etcd may have made new writes beyond the position before the watch reaches it. So when a watch is opened
   again, etcd is asked for the keys as of the position: if they, or their revisions, differ from what the watch has
   seen, the history is another one.
"""

from __future__ import annotations

from enum import Enum, auto

from goverse.etcd.ranges import Names
from goverse.etcd.v3 import etcd_pb2 as messages
from goverse.ports.coordinator import Changed, Deleted, KeyEntry, Snapshot


class WatchStep(Enum):
    """What a watch has to do, when there is nothing to hand on."""

    WAIT = auto()  # for the next answer
    COMPARE = auto()  # this member knows less than was seen: it is behind, or the history is another one
    RELOAD = auto()  # changes are lost
    REOPEN = auto()  # the member ended the watch
    DENIED = auto()  # the member did not let it begin: it does not know the token, the user or a right


class WatchCursor:
    """The position of one watch.

    Attributes:
        after: everything up to this revision was handed on.
        reason: why the member ended the watch.
        cluster_id: the identity of the etcd cluster that is followed, 0 if it is unknown.
    """

    def __init__(self, names: Names, after: int, cluster_id: int, known: Snapshot | None = None) -> None:
        """Begin behind ``after``; ``cluster_id`` is 0 if it is unknown, ``known`` what was there at ``after``."""
        self.after = after
        self.reason = ""
        self._names = names
        self.cluster_id = cluster_id
        self._known = None if known is None else _revisions(known)
        self._fragments: list[messages.Event] = []

    def reopened(self) -> None:
        """Note that answers come over another stream from now on."""
        self._fragments.clear()

    def reloaded(self, snapshot: Snapshot, cluster_id: int) -> None:
        """Note that everything was read again and handed on."""
        self.after = snapshot.revision
        self._known = _revisions(snapshot)
        self.cluster_id = cluster_id
        self._fragments.clear()

    def continues(self, snapshot: Snapshot, cluster_id: int) -> bool:
        """Tell whether ``snapshot`` can be a later state of the history that was seen."""
        return snapshot.revision >= self.after and cluster_id == (self.cluster_id or cluster_id)

    def matches(self, snapshot: Snapshot) -> bool:
        """Tell whether the keys as of the position are those that were seen (rule 5)."""
        return self._known is None or self._known == _revisions(snapshot)

    def take(self, answer: messages.WatchResponse) -> Changed | WatchStep:
        """Return what to hand on, or what else to do."""
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
