"""The asynchronous client."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Self, Unpack, cast

import httpx

from goverse_client import requests
from goverse_client.connection import Target, pause_async, send_async
from goverse_client.exchange import Answer, Outcome, Pause, Request, Send, exchange
from goverse_client.requests import Choices, Options, Reply, Summary


class Client:
    """Base class of ``GoVerse`` and of generated clients.

    Use it with ``async with``, or call ``aclose``. Any number of tasks can share a client. Connections are
    kept open and reused.
    """

    def __init__(self, url: str, *, options: Options | None = None, **target: Any) -> None:
        """Create a client. Nothing is sent yet.

        Args:
            url: the URL of the gate.
            options: the options of requests; handles can override them.
            target: other fields of ``Target``: ``retries``, ``headers``, ``verify``, ``connections_max``,
                ``answer_bytes_max``.

        Raises:
            ValueError: ``url`` is not a valid HTTP URL.
        """
        self._target = Target(url, **target)
        self._http = httpx.AsyncClient(**self._target.settings())
        self.options = options or Options()

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def request(self, request: Request) -> Reply[Any]:
        """Send a request, with retries as the policy allows, and return the reply.

        Raises:
            GoverseError: the request failed.
        """
        return requests.reply_of(await self.carry(request))

    async def list(self, type_name: str, *, prefix: str = "", page_size: int = 1_000) -> AsyncIterator[Summary]:
        """Iterate over the objects of a type whose ids begin with ``prefix``, sorted by id.

        Raises:
            GoverseError: the request for a page failed.
        """
        cursor: str | None = None
        while True:
            answer = await self.carry(requests.page(type_name, prefix, cursor, page_size, self.options))
            page = requests.page_of(answer, cursor)
            for summary in page["items"]:
                yield summary
            cursor = page["cursor"]
            if cursor is None:
                return

    async def carry(self, request: Request) -> Answer:
        """Send a request like ``request``, and return the raw response.

        Raises:
            GoverseError: the request failed.
        """
        steps = exchange(request, self._target.retries, time.monotonic, random.random)
        step = next(steps)
        while True:
            outcome: Outcome | None = None
            if isinstance(step, Pause):
                await pause_async(step.seconds)
            else:
                outcome = await self._send(step)
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                return cast("Answer", end.value)

    async def _send(self, send: Send) -> Outcome:
        return await send_async(self._http, self._target, send)


class Handle:
    """A reference to one object, by type and id. The object does not have to exist.

    Attributes:
        type: the name of the object type.
        id: the id of the object.
    """

    def __init__(self, client: Client, type_name: str, object_id: str, options: Options | None = None) -> None:
        """Create a handle. Nothing is sent.

        Raises:
            ValueError: the id is empty or longer than 512 bytes.
        """
        requests.object_path(type_name, object_id)
        self._client = client
        self._options = options or client.options
        self.type = type_name
        self.id = object_id

    def __repr__(self) -> str:
        """Return type and id."""
        return f"<{type(self).__name__} {self.type}/{self.id}>"

    def with_options(self, **choices: Unpack[Choices]) -> Self:
        """Return a handle to the same object with other options (``Options``).

        Use a handle with an ``idempotency_key`` for one request only. A second, different request with the same key
        fails with ``idempotency_key_mismatch``.
        """
        return type(self)(self._client, self.type, self.id, self._options.but(**choices))

    async def delete(self) -> None:
        """Delete the object durably. A later call starts with a new object.

        Raises:
            GoverseError: the object was not deleted, or the outcome is unknown.
        """
        await self._client.request(requests.delete(self.type, self.id, self._options))

    async def _call(self, method: str, arguments: Mapping[str, object]) -> Reply[Any]:
        return await self._client.request(requests.call(self.type, self.id, method, arguments, self._options))

    async def _get(self) -> Reply[Any]:
        return await self._client.request(requests.read(self.type, self.id, self._options))

    async def _create(self, arguments: Mapping[str, object], *, new: bool) -> Reply[Any]:
        return await self._client.request(requests.create(self.type, self.id, arguments, self._options, new=new))


class ObjectHandle(Handle):
    """A handle without types: methods are called by name, with any JSON as arguments."""

    async def call(self, method: str, /, **arguments: object) -> Any:
        """Call a method and return its result. When this returns, the effect of the call is durable.

        Raises:
            BusinessError: the application refused the call.
            GoverseError: the call failed for another reason.
        """
        reply = await self._call(method, arguments)
        return reply.value

    async def call_reply(self, method: str, /, **arguments: object) -> Reply[Any]:
        """Call a method like ``call``, and return the result with its metadata."""
        return await self._call(method, arguments)

    async def get(self) -> Any:
        """Return the state.

        Raises:
            ObjectNotFound: the object does not exist.
            GoverseError: the read failed.
        """
        reply = await self._get()
        return reply.value

    async def get_reply(self) -> Reply[Any]:
        """Return the state with its metadata, such as the version and the commit."""
        return await self._get()

    async def create(self, **arguments: object) -> Reply[Any]:
        """Create the object with the arguments of its ``on_create``.

        If the object already exists and was created with the same arguments, this succeeds and changes nothing.

        Raises:
            GoverseError: the object was not created, or the outcome is unknown.
        """
        return await self._create(arguments, new=False)

    async def create_new(self, **arguments: object) -> Reply[Any]:
        """Create the object, which must not exist.

        Raises:
            ObjectExists: the object already exists.
            GoverseError: the object was not created, or the outcome is unknown.
        """
        return await self._create(arguments, new=True)


class GoVerse(Client):
    """A client for objects of any type.

        async with GoVerse("http://localhost:8000") as gv:
            counter = gv.object("Counter", "c1")
            assert await counter.call("increment", by=2) == 2

    ``python -m goverse_client generate`` writes a client whose types and methods a type checker can verify.
    """

    def object(self, type_name: str, object_id: str) -> ObjectHandle:
        """Return a handle to an object. Nothing is sent.

        Raises:
            ValueError: the id is empty or longer than 512 bytes.
        """
        return ObjectHandle(self, type_name, object_id)

    async def create(self, type_name: str, /, **arguments: Any) -> ObjectHandle:
        """Create an object with an id that the gate generates.

        Raises:
            GoverseError: the object was not created, or the outcome is unknown.
        """
        answer = await self.carry(requests.create_any(type_name, arguments, self.options))
        return ObjectHandle(self, type_name, requests.created_id(answer))
