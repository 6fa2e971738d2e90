"""Requests to whichever member answers: what may be repeated is, what may not is sent once, tokens are renewed.

A member has a bounded time for its answer, which doubles with every round over the members: a frozen one costs little,
and a cluster that is slow everywhere is waited for. Every request asks for a member that sees a leader; one that was
cut off from the others refuses at once instead of waiting for a quorum.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final, TypeVar

from google.protobuf.message import Message

from goverse import limits
from goverse.errors import CoordinatorError, Unavailable
from goverse.etcd.connections import Connection, Connections, Metadata
from goverse.etcd.failures import AUTHENTICATION_OFF, Failure, Meaning
from goverse.etcd.methods import AUTHENTICATE, LEASE_KEEP_ALIVE, Method
from goverse.etcd.options import EtcdOptions
from goverse.etcd.v3 import etcd_pb2 as messages
from goverse.wire.backoff import Backoff
from goverse.wire.credentials import Credentials

Req = TypeVar("Req", bound=Message)
Res = TypeVar("Res", bound=Message)

NEEDS_LEADER: Final = ("hasleader", "true")
TOKENS_MAX: Final = 3
"""New tokens for one request; more are of no use."""

logger = logging.getLogger("goverse.etcd")


class Client:
    """One process's requests to etcd."""

    def __init__(
        self, options: EtcdOptions, *, random: Callable[[], float], credentials: Credentials | None = None
    ) -> None:
        """Connect to nobody yet.

        Raises:
            ConfigError: a certificate is of no use.
        """
        self.options = options
        self.random = random
        self.connections = Connections(options, random, credentials)
        self._token: str | None = None if options.username else ""
        self._authenticating = asyncio.Lock()

    async def close(self) -> None:
        """Hang up; what is under way gets ``Unavailable``."""
        await self.connections.close()

    async def call(self, method: Method[Req, Res], request: Req) -> Res:
        """Return the answer of whichever member gives one.

        Raises:
            Unavailable: none did.
            CoordinatorError: etcd refuses; ``extra["words"]`` are its own.
        """
        deadline = asyncio.get_running_loop().time() + self.options.operation_timeout_s
        for _ in range(TOKENS_MAX):
            token = await self.token(deadline)
            try:
                return await self._repeat(method, request, self._metadata(token), deadline)
            except Failure:  # the token alone
                self.forget(token)
        raise Unavailable("etcd forgets every token at once; are its members restarting?")

    async def token(self, deadline: float) -> str:
        """Return the token to send, "" for none.

        Raises:
            Unavailable: no member answers.
            CoordinatorError: etcd knows no such user with this password.
        """
        async with self._authenticating:
            if self._token is None:
                self._token = await self._authenticate(deadline)
            return self._token

    def forget(self, token: str) -> None:
        """Get another token before the next request."""
        if token == self._token and self.options.username:
            self._token = None

    def metadata(self, token: str) -> Metadata:
        """Return what goes with every request."""
        return self._metadata(token)

    def _metadata(self, token: str) -> Metadata:
        return (NEEDS_LEADER, ("token", token)) if token else (NEEDS_LEADER,)

    async def _authenticate(self, deadline: float) -> str:
        request = messages.AuthenticateRequest(name=self.options.username, password=self.options.password)
        try:
            return (await self._repeat(AUTHENTICATE, request, (NEEDS_LEADER,), deadline)).token
        except CoordinatorError as error:
            if error.extra.get("words") != AUTHENTICATION_OFF:
                raise
            logger.warning("etcd does not ask for users; the one that is configured is not used")
            return ""

    async def _repeat(self, method: Method[Req, Res], request: Req, metadata: Metadata, deadline: float) -> Res:
        """Ask one member after the other.

        Raises:
            Failure: the token is not known.
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
        """Return where the request may be sent again.

        Raises:
            Failure: with another token.
            Unavailable: not now, or not without knowing what became of it.
            CoordinatorError: never.
        """
        meaning = failure.meaning
        if meaning is Meaning.NEW_TOKEN and self.options.username:
            raise failure
        if meaning in (Meaning.REFUSED, Meaning.NEW_TOKEN):
            raise CoordinatorError(f"etcd refuses: {failure}", words=failure.words) from failure
        self.connections.blame(connection)
        logger.debug(
            "a member of etcd did not answer", extra={"member": str(connection.endpoint), "reason": str(failure)}
        )
        if meaning is Meaning.LATER:
            raise Unavailable(f"etcd cannot now: {failure}") from failure
        if meaning is Meaning.AGAIN and not method.repeatable:
            raise Unavailable(
                f"{connection.endpoint} did not answer, the write may have happened: {failure}"
            ) from failure


async def _ask(
    connection: Connection, method: Method[Req, Res], request: Req, metadata: Metadata, timeout_s: float
) -> Res:
    if method.path != LEASE_KEEP_ALIVE.path:
        return await connection.ask(method, request, metadata, timeout_s)
    with connection.open(method, metadata, timeout_s) as stream:
        await stream.send(request)
        return await stream.receive()
