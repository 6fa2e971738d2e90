"""The client for programs without ``async``; written by ``make_sync.py``."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self, Unpack, cast

import httpx

from goverse_client import requests
from goverse_client.connection import Target, pause_sync, send_sync
from goverse_client.exchange import Answer, Outcome, Pause, Request, Send, exchange
from goverse_client.requests import Choices, Options, Reply, Summary


class ClientSync:
    """A connection to a gate: what ``GoVerseSync`` and the generated clients share.

    Use it as ``with``, or call ``close``. It may serve any number of threads at the same time; connections are
    kept open and used again.
    """

    def __init__(self, url: str, *, options: Options | None = None, **target: Any) -> None:
        """Know where the gate is; nothing is sent yet.

        Args:
            url: of the gate.
            options: how requests are made; handles may differ.
            target: further fields of ``Target``: ``retries``, ``headers``, ``verify``, ``connections_max``,
                ``answer_bytes_max``.

        Raises:
            ValueError: ``url`` is no address.
        """
        self._target = Target(url, **target)
        self._http = httpx.Client(**self._target.settings())
        self.options = options or Options()

    def __enter__(self) -> Self:
        """Be the client."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hang up."""
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._http.close()

    def request(self, request: Request) -> Reply[Any]:
        """Carry out one request, repeating it as the policy allows.

        Raises:
            GoverseError: there is no result.
        """
        return requests.reply_of(self.carry(request))

    def list(self, type_name: str, *, prefix: str = "", page_size: int = 1_000) -> Iterator[Summary]:
        """List the objects of a type whose ids begin with ``prefix``, in the order of their ids.

        Raises:
            GoverseError: a page could not be had.
        """
        cursor: str | None = None
        while True:
            answer = self.carry(requests.page(type_name, prefix, cursor, page_size, self.options))
            page = requests.page_of(answer, cursor)
            yield from page["items"]
            cursor = page["cursor"]
            if cursor is None:
                return

    def carry(self, request: Request) -> Answer:
        """Carry out one request as ``request`` does; return the answer as it came.

        Raises:
            GoverseError: the answer is not a success.
        """
        steps = exchange(request, self._target.retries, time.monotonic, random.random)
        step = next(steps)
        while True:
            came: Outcome | None = None
            if isinstance(step, Pause):
                pause_sync(step.seconds)
            else:
                came = self._send(step)
            try:
                step = steps.send(came)
            except StopIteration as end:
                return cast("Answer", end.value)

    def _send(self, send: Send) -> Outcome:
        return send_sync(self._http, self._target, send)


class HandleSync:
    """One object, by its type and id; it need not exist yet.

    Attributes:
        type: the name of its class.
        id: its id.
    """

    def __init__(self, client: ClientSync, type_name: str, object_id: str, options: Options | None = None) -> None:
        """Name an object; nothing is sent.

        Raises:
            ValueError: the id is empty or longer than 512 bytes.
        """
        requests.object_path(type_name, object_id)
        self._client = client
        self._options = options or client.options
        self.type = type_name
        self.id = object_id

    def __repr__(self) -> str:
        """Name the object."""
        return f"<{type(self).__name__} {self.type}/{self.id}>"

    def with_options(self, **choices: Unpack[Choices]) -> Self:
        """Return a handle to the same object whose requests are made otherwise (``Options``).

        A handle with an ``idempotency_key`` is meant for one request: a second, different one would be refused.
        """
        return type(self)(self._client, self.type, self.id, self._options.but(**choices))

    def delete(self) -> None:
        """Delete the object, durably; a later call starts a fresh one.

        Raises:
            GoverseError: it was not deleted, or that is unknown.
        """
        self._client.request(requests.delete(self.type, self.id, self._options))

    def _call(self, method: str, arguments: Mapping[str, object]) -> Reply[Any]:
        return self._client.request(requests.call(self.type, self.id, method, arguments, self._options))

    def _get(self) -> Reply[Any]:
        return self._client.request(requests.read(self.type, self.id, self._options))

    def _create(self, arguments: Mapping[str, object], *, new: bool) -> Reply[Any]:
        return self._client.request(requests.create(self.type, self.id, arguments, self._options, new=new))


class ObjectHandleSync(HandleSync):
    """An object whose methods are called by name, with any JSON as arguments."""

    def call(self, method: str, /, **arguments: object) -> Any:
        """Call a method; return its result, once its effect is durable.

        Raises:
            GoverseError: there is no result; ``BusinessError`` for a refusal of the application's own.
        """
        reply = self._call(method, arguments)
        return reply.value

    def call_reply(self, method: str, /, **arguments: object) -> Reply[Any]:
        """Do as ``call``, and return what the gate says about the result as well."""
        return self._call(method, arguments)

    def get(self) -> Any:
        """Return the state.

        Raises:
            ObjectNotFound: there is no such object.
            GoverseError: it could not be read.
        """
        reply = self._get()
        return reply.value

    def get_reply(self) -> Reply[Any]:
        """Do as ``get``, and return what the gate says about it as well: the version, the position."""
        return self._get()

    def create(self, **arguments: object) -> Reply[Any]:
        """Create the object with the arguments of its ``on_create``; one that exists is left as it is.

        Raises:
            GoverseError: it was not created, or that is unknown.
        """
        return self._create(arguments, new=False)

    def create_new(self, **arguments: object) -> Reply[Any]:
        """Create the object; it must not exist.

        Raises:
            ObjectExists: it does.
            GoverseError: it was not created, or that is unknown.
        """
        return self._create(arguments, new=True)


class GoVerseSync(ClientSync):
    """The client of a gate, for objects of any type.

        with GoVerseSync("http://localhost:8000") as gv:
            counter = gv.object("Counter", "c1")
            assert counter.call("increment", by=2) == 2

    ``python -m goverse_client generate`` writes one whose types and methods are known to a type checker.
    """

    def object(self, type_name: str, object_id: str) -> ObjectHandleSync:
        """Return a handle to an object; nothing is sent.

        Raises:
            ValueError: the id is empty or longer than 512 bytes.
        """
        return ObjectHandleSync(self, type_name, object_id)

    def create(self, type_name: str, /, **arguments: Any) -> ObjectHandleSync:
        """Create an object under an id that the gate chooses.

        Raises:
            GoverseError: it was not created, or that is unknown.
        """
        answer = self.carry(requests.create_any(type_name, arguments, self.options))
        return ObjectHandleSync(self, type_name, requests.created_id(answer))
