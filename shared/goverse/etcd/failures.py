"""Classification of failed etcd requests: retry, get a new token, or give up.

The table decides whether a write may be sent again, so it is kept in one place. A status without an entry is a refusal:
etcd rejected the request before executing it.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

import grpc


class Meaning(Enum):
    """The meaning of a failure for the request."""

    AGAIN = auto()  # no answer: it may have been executed; another member may answer
    NOT_DONE = auto()  # not executed; it may succeed in a moment
    LATER = auto()  # not executed; it will fail until an operator intervenes
    NEW_TOKEN = auto()  # not executed: the token is unknown or expired
    REFUSED = auto()  # not executed, and it never will be


_BY_STATUS: Final = {
    grpc.StatusCode.ABORTED: Meaning.AGAIN,
    grpc.StatusCode.CANCELLED: Meaning.AGAIN,
    grpc.StatusCode.DEADLINE_EXCEEDED: Meaning.AGAIN,
    grpc.StatusCode.INTERNAL: Meaning.AGAIN,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Meaning.LATER,
    grpc.StatusCode.UNAUTHENTICATED: Meaning.NEW_TOKEN,
    grpc.StatusCode.UNAVAILABLE: Meaning.AGAIN,
    grpc.StatusCode.UNKNOWN: Meaning.AGAIN,
}

_BY_WORDS: Final = {
    "etcdserver: no leader": Meaning.NOT_DONE,
    "raft proposal dropped": Meaning.NOT_DONE,
    "etcdserver: too many requests": Meaning.NOT_DONE,
    "etcdserver: not capable": Meaning.NOT_DONE,
    "etcdserver: invalid auth token": Meaning.NEW_TOKEN,
    "etcdserver: revision of auth store is old": Meaning.NEW_TOKEN,
}
"""Messages that are more precise than their status. etcd's own client compares them, too."""

COMPACTED: Final = "etcdserver: mvcc: required revision has been compacted"
FUTURE: Final = "etcdserver: mvcc: required revision is a future revision"
LEASE_ENDED: Final = "etcdserver: requested lease not found"
AUTHENTICATION_OFF: Final = "etcdserver: authentication is not enabled"


class Failure(Exception):
    """A failed request to one member."""

    def __init__(self, status: grpc.StatusCode, words: str) -> None:
        """Take the status and the message of etcd or gRPC."""
        super().__init__(words or status.name)
        self.status = status
        self.words = words

    @property
    def meaning(self) -> Meaning:
        """The meaning of this failure."""
        return _BY_WORDS.get(self.words) or _BY_STATUS.get(self.status, Meaning.REFUSED)
