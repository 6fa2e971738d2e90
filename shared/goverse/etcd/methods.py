"""The etcd methods in use, with their published names and messages."""

from __future__ import annotations

from typing import Final, Generic, NamedTuple, TypeVar

from google.protobuf.message import Message

from goverse.etcd.v3 import etcd_pb2 as messages

Req = TypeVar("Req", bound=Message)
Res = TypeVar("Res", bound=Message)


class Method(NamedTuple, Generic[Req, Res]):
    """A method: its path, and its request and response messages.

    Attributes:
        repeatable: True if it may be sent again when the outcome of the first attempt is unknown.
    """

    path: str
    request: type[Req]
    response: type[Res]
    repeatable: bool = True


RANGE: Final = Method("/etcdserverpb.KV/Range", messages.RangeRequest, messages.RangeResponse)
TXN: Final = Method("/etcdserverpb.KV/Txn", messages.TxnRequest, messages.TxnResponse, repeatable=False)
# Repeatable: a lease that was granted twice is never refreshed, holds no key and expires.
LEASE_GRANT: Final = Method("/etcdserverpb.Lease/LeaseGrant", messages.LeaseGrantRequest, messages.LeaseGrantResponse)
LEASE_REVOKE: Final = Method(
    "/etcdserverpb.Lease/LeaseRevoke", messages.LeaseRevokeRequest, messages.LeaseRevokeResponse
)
LEASE_KEEP_ALIVE: Final = Method(
    "/etcdserverpb.Lease/LeaseKeepAlive", messages.LeaseKeepAliveRequest, messages.LeaseKeepAliveResponse
)
WATCH: Final = Method("/etcdserverpb.Watch/Watch", messages.WatchRequest, messages.WatchResponse)
AUTHENTICATE: Final = Method(
    "/etcdserverpb.Auth/Authenticate", messages.AuthenticateRequest, messages.AuthenticateResponse
)
