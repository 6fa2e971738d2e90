"""Options of links and link servers; the defaults are in ``goverse.limits`` with their reasons."""

from __future__ import annotations

from dataclasses import dataclass

from goverse import limits


@dataclass(frozen=True, slots=True, kw_only=True)
class WireOptions:
    """Options of both sides of a stream.

    Attributes:
        inflight_max: requests in progress on one stream.
        inflight_total_max: requests in progress on all streams of a server.
        streams_max: open streams of a server.
        message_bytes: size at which a message is sent and the next one started.
        message_bytes_max: size of the largest message sent or accepted.
        requests_bytes_max: total body size of the requests in progress on one stream.
        replies_bytes: size of a peer's unread replies at which reading from it pauses.
        replies_bytes_max: size of a peer's unread replies at which its stream is closed.
        connect_timeout_s: timeout of one attempt to connect, including the handshake.
        backoff_s: pause before the second attempt in a row; doubles from there, with jitter.
        backoff_s_max: longest pause between two attempts.
        keepalive_s: silence after which the peer is pinged.
        silence_s_max: silence after which the stream is closed.
        write_stall_timeout_s: how long a peer may read nothing of what is sent to it.
        list_timeout_s: timeout of a listing.
        outside_body_bytes_max: largest body of a request from outside; objects may send as much as a state.
        call_timeout_s_max: longest time to a request's deadline; later deadlines are reduced to it.
        tick_s: interval at which deadlines, silence and readiness are checked.
    """

    inflight_max: int = limits.WIRE_INFLIGHT_MAX
    inflight_total_max: int = limits.INFLIGHT_CALLS_MAX
    streams_max: int = limits.WIRE_STREAMS_MAX
    message_bytes: int = limits.WIRE_MESSAGE_BYTES
    message_bytes_max: int = limits.WIRE_MESSAGE_BYTES_MAX
    requests_bytes_max: int = limits.WIRE_REQUESTS_BYTES_MAX
    replies_bytes: int = limits.WIRE_REPLIES_BYTES
    replies_bytes_max: int = limits.WIRE_REPLIES_BYTES_MAX
    connect_timeout_s: float = limits.WIRE_CONNECT_TIMEOUT_S
    backoff_s: float = limits.WIRE_BACKOFF_S
    backoff_s_max: float = limits.WIRE_BACKOFF_S_MAX
    keepalive_s: float = limits.WIRE_KEEPALIVE_S
    silence_s_max: float = limits.WIRE_SILENCE_S_MAX
    write_stall_timeout_s: float = limits.WRITE_STALL_TIMEOUT_S
    list_timeout_s: float = limits.CALL_TIMEOUT_S
    outside_body_bytes_max: int = limits.BODY_BYTES_MAX
    call_timeout_s_max: float = limits.CALL_TIMEOUT_S_MAX
    tick_s: float = 0.05

    @property
    def body_bytes_max(self) -> int:
        """The largest body of a request or reply: it must fit into a message that already holds other frames."""
        return self.message_bytes_max - self.message_bytes - limits.MIB // 2

    @property
    def channel(self) -> list[tuple[str, int]]:
        """Options of a gRPC channel."""
        return [
            ("grpc.max_receive_message_length", self.message_bytes_max),
            ("grpc.max_send_message_length", self.message_bytes_max),
            ("grpc.use_local_subchannel_pool", 1),  # a shared pool would add its own pauses to our attempts
            ("grpc.so_reuseport", 0),  # two nodes on one port are always a mistake
        ]

    @property
    def server(self) -> list[tuple[str, int]]:
        """Options of a gRPC server. Its pings free what a closed stream had queued for a dead peer."""
        silence_ms = round(self.silence_s_max * 1000)
        return [*self.channel, ("grpc.keepalive_time_ms", silence_ms), ("grpc.keepalive_timeout_ms", silence_ms)]
