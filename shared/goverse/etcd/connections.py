"""Connections to the etcd members. One is used at a time: the one that answered last.

Requests go only over an established connection, so a request that could not be sent never counts as sent. After a
failure the next member is used. A frozen member is detected by pings, and earlier by the timeout of a request.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Generator, Sequence
from typing import Any, Final, TypeVar, cast

import grpc
from google.protobuf.message import Message

from goverse import limits
from goverse.cluster.backoff import Backoff
from goverse.errors import Unavailable
from goverse.etcd.channel import RenewedChannel, why
from goverse.etcd.failures import Failure
from goverse.etcd.methods import Method
from goverse.etcd.options import Endpoint, EtcdOptions
from goverse.tls.credentials import Credentials, channel_credentials, explained
from goverse.tls.rotation import Rotating

Req = TypeVar("Req", bound=Message)
Res = TypeVar("Res", bound=Message)

Metadata = Sequence[tuple[str, str]]

logger = logging.getLogger("goverse.etcd")

_READY: Final = grpc.ChannelConnectivity.READY
_HOPELESS: Final = (grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN)


class Connection:
    """A connection to one member, which reconnects by itself."""

    def __init__(self, endpoint: Endpoint, channel: RenewedChannel) -> None:
        """Use ``channel``, which leads to ``endpoint``."""
        self.endpoint = endpoint
        self._renewed = channel
        self._unary: dict[str, Any] = {}
        self._unary_of = channel.replaced

    @property
    def _channel(self) -> grpc.aio.Channel:
        return self._renewed.current

    def renew(self) -> None:
        """Start to use the newest certificates."""
        self._renewed.renew()

    async def connected(self, timeout_s: float) -> bool:
        """Wait up to ``timeout_s`` for the connection. Returns True if requests can be sent."""
        state = self._channel.get_state(try_to_connect=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while state is not _READY and state not in _HOPELESS:
                    await self._channel.wait_for_state_change(state)
                    state = self._channel.get_state(try_to_connect=True)
        return state is _READY

    async def ask(self, method: Method[Req, Res], request: Req, metadata: Metadata, timeout_s: float) -> Res:
        """Send a request and return the answer.

        Raises:
            Failure: no answer, or etcd refused the request.
        """
        if self._unary_of != self._renewed.replaced:
            self._unary_of = self._renewed.replaced
            self._unary.clear()
        send = self._unary.get(method.path)
        if send is None:
            send = self._unary[method.path] = cast("Any", self._channel).unary_unary(
                method.path, request_serializer=_written, response_deserializer=method.response.FromString
            )
        call = send(request, metadata=metadata, timeout=timeout_s)
        with failures_of(call):
            return cast("Res", await call)

    def open(self, method: Method[Req, Res], metadata: Metadata, timeout_s: float | None = None) -> Stream[Req, Res]:
        return Stream(
            cast("Any", self._channel).stream_stream(
                method.path, request_serializer=_written, response_deserializer=method.response.FromString
            )(metadata=metadata, timeout=timeout_s)
        )

    async def why(self) -> str:
        """Return why it is not connected, or "" if it may be."""
        return explained(await why(self._channel), secure=self.endpoint.tls)

    async def close(self) -> None:
        """Close the connection; requests in progress fail."""
        await self._renewed.close()


class Stream(contextlib.AbstractContextManager["Stream[Req, Res]"]):
    """A stream of requests and answers; leaving the context ends it."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def __exit__(self, *_: object) -> None:
        self._call.cancel()

    async def send(self, request: Req) -> None:
        """Send a request.

        Raises:
            Failure: the stream has ended.
        """
        with failures_of(self._call):
            await self._call.write(request)

    async def receive(self) -> Res:
        """Wait for the next answer; cancelling this call ends the stream.

        Raises:
            Failure: the stream has ended.
        """
        with failures_of(self._call):
            answer = await self._call.read()
            if answer is grpc.aio.EOF:
                raise Failure(await self._call.code(), await self._call.details() or "the stream was ended")
            return cast("Res", answer)


@contextlib.contextmanager
def failures_of(call: Any) -> Generator[None]:
    """Translate the exceptions of gRPC to ``Failure``.

    Raises:
        Failure: the call failed.
    """
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise Failure(error.code(), error.details() or "") from error
    except asyncio.InvalidStateError as error:  # a write to a stream that had ended
        raise Failure(grpc.StatusCode.UNAVAILABLE, "the stream had ended") from error
    except grpc.aio.UsageError as error:  # the channel is closed
        raise Failure(grpc.StatusCode.CANCELLED, str(error)) from error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if call.cancelled() and task is not None and not task.cancelling():
            raise Failure(grpc.StatusCode.CANCELLED, "the connection was closed") from error
        raise


class Connections:
    """One connection for each member.

    Attributes:
        closed: True after ``close``.
    """

    def __init__(
        self, options: EtcdOptions, random: Callable[[], float], credentials: Credentials | None = None
    ) -> None:
        """Create the connections; they are opened on demand.

        ``random`` returns numbers in [0, 1). Without ``credentials``, they are created from ``options``.

        Raises:
            ConfigError: a certificate is unusable.
        """
        self.closed = False
        self._options = options
        self._random = random
        self._credentials = credentials or credentials_of(options)
        self._generation = 0 if self._credentials is None else self._credentials.generation
        self._all = [Connection(endpoint, self._channel(endpoint)) for endpoint in options.endpoints]
        self._chosen = int(random() * len(self._all))  # spreads clients over the members

    def __len__(self) -> int:
        """Return the number of members."""
        return len(self._all)

    async def usable(self, deadline: float) -> Connection:
        """Return an established connection; waits until ``deadline`` on the event loop's clock.

        Raises:
            Unavailable: no member was reachable in time, or ``close`` was called.
        """
        now = asyncio.get_running_loop().time
        backoff = Backoff(limits.ETCD_BACKOFF_S, limits.ETCD_BACKOFF_S_MAX, self._random)
        backoff.next_s()
        self._follow()
        while True:
            for _ in self._all:
                if self.closed:
                    raise Unavailable("the connection to etcd is closed")
                connection = self._all[self._chosen]
                left_s = deadline - now()
                if left_s > 0 and await connection.connected(min(left_s, self._options.connect_timeout_s)):
                    return connection
                self.blame(connection)
            pause_s = min(backoff.next_s(), deadline - now())
            if pause_s <= 0:
                why = await self._all[self._chosen].why()
                members = ", ".join(map(str, self._options.endpoints))
                raise Unavailable(f"no etcd member is reachable: {members}" + (f": {why}" if why else ""))
            await asyncio.sleep(pause_s)

    def blame(self, connection: Connection) -> None:
        """Use another member from now on, unless one was already chosen."""
        if self._all[self._chosen] is connection:
            self._chosen = (self._chosen + 1) % len(self._all)

    def _channel(self, endpoint: Endpoint) -> RenewedChannel:
        def opened() -> grpc.aio.Channel:
            credentials = None if self._credentials is None else self._credentials.current
            return _channel(endpoint, credentials, self._options)

        return RenewedChannel(str(endpoint), opened, self._options.connect_timeout_s)

    def _follow(self) -> None:
        """Renew all connections if the certificates changed."""
        if self._credentials is None or self._credentials.generation == self._generation:
            return
        self._generation = self._credentials.generation
        for connection in self._all:
            connection.renew()

    async def close(self) -> None:
        self.closed = True
        for connection in self._all:
            await connection.close()


def _written(message: Message) -> bytes:
    return message.SerializeToString()


def credentials_of(options: EtcdOptions) -> Credentials | None:
    """Return the credentials for encrypted channels, or None.

    Raises:
        ConfigError: a certificate is unusable.
    """
    return Rotating(options.tls_files, channel_credentials) if options.tls else None


def _channel(endpoint: Endpoint, credentials: grpc.ChannelCredentials | None, options: EtcdOptions) -> grpc.aio.Channel:
    settings: list[tuple[str, Any]] = [
        ("grpc.keepalive_time_ms", round(limits.ETCD_KEEPALIVE_S * 1000)),
        ("grpc.keepalive_timeout_ms", round(limits.ETCD_KEEPALIVE_TIMEOUT_S * 1000)),
        ("grpc.http2.max_pings_without_data", 0),  # a watch may be silent for an unlimited time
        ("grpc.initial_reconnect_backoff_ms", round(limits.ETCD_BACKOFF_S * 1000)),
        ("grpc.min_reconnect_backoff_ms", round(options.connect_timeout_s * 1000)),  # also limits each attempt
        ("grpc.max_reconnect_backoff_ms", round(limits.ETCD_BACKOFF_S_MAX * 1000)),
        ("grpc.max_receive_message_length", limits.ETCD_MESSAGE_BYTES_MAX),
        ("grpc.max_send_message_length", limits.ETCD_MESSAGE_BYTES_MAX),
        ("grpc.use_local_subchannel_pool", 1),  # the pool is closed with the channel and never shared
        ("grpc.enable_http_proxy", 0),
    ]
    if credentials is None:
        return grpc.aio.insecure_channel(endpoint.address, options=settings)
    return grpc.aio.secure_channel(endpoint.address, credentials, options=settings)
