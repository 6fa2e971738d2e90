"""What a link and a link server can be told; the defaults are the limits with their reasons."""

from __future__ import annotations

from dataclasses import dataclass

from goverse import limits


@dataclass(frozen=True, slots=True, kw_only=True)
class WireOptions:
    """Options of both sides of a stream.

    Attributes:
        inflight_max: requests under way on one stream at one time.
        inflight_total_max: requests under way on all streams of a server together.
        streams_max: streams that a server serves at one time.
        message_bytes: size from which on a message is sent and the next one begun.
        message_bytes_max: largest message that is sent or taken.
        requests_bytes_max: bodies of the requests under way on one stream.
        replies_bytes: replies waiting for one peer, from which on nothing more is read from it.
        replies_bytes_max: replies waiting for one peer, from which on its stream is cut.
        connect_timeout_s: longest time for one attempt to connect and to exchange introductions.
        backoff_s: pause before the second attempt in a row; doubles from there, with jitter.
        backoff_s_max: longest pause between two attempts.
        keepalive_s: silence after which the peer is asked for a sign of life.
        silence_s_max: silence after which the peer counts as frozen.
        write_stall_timeout_s: how long a peer may take nothing of what is sent to it.
        list_timeout_s: longest time for a listing.
        outside_body_bytes_max: largest body of a request that comes from no object; objects may send a state.
        call_timeout_s_max: longest deadline of a request; a later one is brought forward.
        tick_s: how often deadlines, silence and readiness are looked at.
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
        """The largest body of a request or reply: it has to fit into a message that others have begun."""
        return self.message_bytes_max - self.message_bytes - limits.MIB // 2

    @property
    def channel(self) -> list[tuple[str, int]]:
        """Options of a gRPC channel."""
        return [
            ("grpc.max_receive_message_length", self.message_bytes_max),
            ("grpc.max_send_message_length", self.message_bytes_max),
            ("grpc.use_local_subchannel_pool", 1),  # a shared one would add its own pauses to our attempts
            ("grpc.so_reuseport", 0),  # two nodes on one port is a mistake, not a wish
        ]

    @property
    def server(self) -> list[tuple[str, int]]:
        """Options of a gRPC server: it also pings, so that what a cut stream had queued for a dead peer is let go."""
        silence_ms = round(self.silence_s_max * 1000)
        return [*self.channel, ("grpc.keepalive_time_ms", silence_ms), ("grpc.keepalive_timeout_ms", silence_ms)]
