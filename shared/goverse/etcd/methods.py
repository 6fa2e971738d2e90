"""The methods of etcd that are used, by the names that it publishes, with their messages."""

from __future__ import annotations

from typing import Final, Generic, NamedTuple, TypeVar

from google.protobuf.message import Message

from goverse.etcd.v3 import etcd_pb2 as messages

Req = TypeVar("Req", bound=Message)
Res = TypeVar("Res", bound=Message)


class Method(NamedTuple, Generic[Req, Res]):
    """A method: its path, and what is sent and answered.

    Attributes:
        repeatable: it may be sent again where it is not known whether it was carried out.
    """

    path: str
    request: type[Req]
    response: type[Res]
    repeatable: bool = True


RANGE: Final = Method("/etcdserverpb.KV/Range", messages.RangeRequest, messages.RangeResponse)
TXN: Final = Method("/etcdserverpb.KV/Txn", messages.TxnRequest, messages.TxnResponse, repeatable=False)
# A lease that was granted twice is one that nobody refreshes: it goes, and holds no key.
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
