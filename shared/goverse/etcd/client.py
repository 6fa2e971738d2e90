"""Requests to any etcd member, with failover, safe retries and token renewal.

Reads and lease requests are repeated on another member until one answers. A write is not repeated if a failed attempt
may have been applied. Attempts that can be repeated have a timeout that doubles with every round over the members: a
frozen member delays a request only briefly, while a cluster that is slow everywhere still gets enough time.

Every request requires a member that sees a leader, so a member that is cut off from the others refuses immediately
instead of waiting for a quorum.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final, TypeVar

from google.protobuf.message import Message

from goverse import limits
from goverse.cluster.backoff import Backoff
from goverse.errors import CoordinatorError, Unavailable
from goverse.etcd.connections import Connection, Connections, Metadata
from goverse.etcd.failures import AUTHENTICATION_OFF, Failure, Meaning
from goverse.etcd.methods import AUTHENTICATE, LEASE_KEEP_ALIVE, Method
from goverse.etcd.options import EtcdOptions
from goverse.etcd.v3 import etcd_pb2 as messages
from goverse.tls.credentials import Credentials

Req = TypeVar("Req", bound=Message)
Res = TypeVar("Res", bound=Message)

NEEDS_LEADER: Final = ("hasleader", "true")
TOKENS_MAX: Final = 3
"""Limit of new tokens for one request; further ones would not help either."""

logger = logging.getLogger("goverse.etcd")


class Client:
    """The etcd client of one process."""

    def __init__(
        self, options: EtcdOptions, *, random: Callable[[], float], credentials: Credentials | None = None
    ) -> None:
        """Create the client; connections are opened on demand.

        Raises:
            ConfigError: a certificate is unusable.
        """
        self.options = options
        self.random = random
        self.connections = Connections(options, random, credentials)
        self._token: str | None = None if options.username else ""
        self._authenticating = asyncio.Lock()

    async def close(self) -> None:
        """Close all connections; requests in progress fail with ``Unavailable``."""
        await self.connections.close()

    async def call(self, method: Method[Req, Res], request: Req) -> Res:
        """Send a request to any member and return the answer.

        Raises:
            Unavailable: no member answered.
            CoordinatorError: etcd refused the request; ``extra["words"]`` is etcd's own message.
        """
        deadline = asyncio.get_running_loop().time() + self.options.operation_timeout_s
        for _ in range(TOKENS_MAX):
            token = await self.token(deadline)
            try:
                return await self._repeat(method, request, self.metadata(token), deadline)
            except Failure:  # raised only for an unknown token
                self.forget(token)
        raise Unavailable("etcd rejected every new token; its members may be restarting, retry later")

    async def token(self, deadline: float) -> str:
        """Return the authentication token, or "" without authentication.

        Raises:
            Unavailable: no member answered.
            CoordinatorError: etcd rejected the user or the password.
        """
        async with self._authenticating:
            if self._token is None:
                self._token = await self._authenticate(deadline)
            return self._token

    def forget(self, token: str) -> None:
        """Request a new token before the next request."""
        if token == self._token and self.options.username:
            self._token = None

    def metadata(self, token: str) -> Metadata:
        """Return the metadata of a request that sends ``token``."""
        return (NEEDS_LEADER, ("token", token)) if token else (NEEDS_LEADER,)

    async def _authenticate(self, deadline: float) -> str:
        request = messages.AuthenticateRequest(name=self.options.username, password=self.options.password)
        try:
            return (await self._repeat(AUTHENTICATE, request, (NEEDS_LEADER,), deadline)).token
        except CoordinatorError as error:
            if error.extra.get("words") != AUTHENTICATION_OFF:
                raise
            logger.warning("etcd authentication is disabled; the configured user is ignored")
            return ""

    async def _repeat(self, method: Method[Req, Res], request: Req, metadata: Metadata, deadline: float) -> Res:
        """Send a request to one member after the other until one answers.

        Raises:
            Failure: the token is unknown.
        """
        now = asyncio.get_running_loop().time
        backoff = Backoff(limits.ETCD_BACKOFF_S, limits.ETCD_BACKOFF_S_MAX, self.random)
        attempts = 0
        while True:
            connection = await self.connections.usable(deadline)
            left_s = deadline - now()
            timeout_s = self.options.attempt_timeout_s * 2 ** (attempts // len(self.connections))
            try:
                return await _ask(
                    connection, method, request, metadata, min(timeout_s, left_s) if method.repeatable else left_s
                )
            except Failure as failure:
                self._raise_unless_retryable(failure, method, connection)
                attempts += 1
                pause_s = backoff.next_s()
                if now() + pause_s >= deadline:
                    raise Unavailable(f"etcd did not answer in time: {failure}") from failure
                await asyncio.sleep(pause_s)

    def _raise_unless_retryable(self, failure: Failure, method: Method[Any, Any], connection: Connection) -> None:
        """Return if the request may be sent again, otherwise raise.

        Raises:
            Failure: a new token is needed.
            Unavailable: etcd cannot execute the request now, or its outcome is unknown.
            CoordinatorError: the request will never succeed.
        """
        meaning = failure.meaning
        if meaning is Meaning.NEW_TOKEN and self.options.username:
            raise failure
        if meaning in (Meaning.REFUSED, Meaning.NEW_TOKEN):
            raise CoordinatorError(f"etcd refused the request: {failure}", words=failure.words) from failure
        self.connections.blame(connection)
        logger.debug(
            "an etcd member did not answer", extra={"member": str(connection.endpoint), "reason": str(failure)}
        )
        if meaning is Meaning.LATER:
            raise Unavailable(f"etcd is temporarily unavailable: {failure}") from failure
        if meaning is Meaning.AGAIN and not method.repeatable:
            raise Unavailable(
                f"{connection.endpoint} did not answer and the write may have been applied: {failure}"
            ) from failure


async def _ask(
    connection: Connection, method: Method[Req, Res], request: Req, metadata: Metadata, timeout_s: float
) -> Res:
    if method.path != LEASE_KEEP_ALIVE.path:
        return await connection.ask(method, request, metadata, timeout_s)
    with connection.open(method, metadata, timeout_s) as stream:
        await stream.send(request)
        return await stream.receive()
