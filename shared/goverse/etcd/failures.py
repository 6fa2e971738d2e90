"""What a failed request means: whether it may be sent again, needs a new token, or will never do.

One table, because whether a write was carried out hangs on it. Statuses without a row of their own are refusals: etcd
answered, and said no before it did anything.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

import grpc


class Meaning(Enum):
    """What to do about a failure."""

    AGAIN = auto()  # no answer: it may have been carried out; another member may answer
    NOT_DONE = auto()  # it was not carried out, and may be in a moment
    LATER = auto()  # it was not carried out, and only an operator can change that
    NEW_TOKEN = auto()  # it was not carried out: the token is not known (any more)
    REFUSED = auto()  # it will never be carried out


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
"""Where the status alone says less than etcd's words, which its own client compares as well."""

COMPACTED: Final = "etcdserver: mvcc: required revision has been compacted"
FUTURE: Final = "etcdserver: mvcc: required revision is a future revision"
LEASE_ENDED: Final = "etcdserver: requested lease not found"
AUTHENTICATION_OFF: Final = "etcdserver: authentication is not enabled"
PERMISSION_DENIED: Final = "etcdserver: permission denied"


class Failure(Exception):
    """A request to one member failed."""

    def __init__(self, status: grpc.StatusCode, words: str) -> None:
        """``words`` are those of etcd or of gRPC."""
        super().__init__(words or status.name)
        self.status = status
        self.words = words

    @property
    def meaning(self) -> Meaning:
        """What to do about it."""
        return _BY_WORDS.get(self.words) or _BY_STATUS.get(self.status, Meaning.REFUSED)
