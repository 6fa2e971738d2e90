"""A small but complete implementation of the link port, which runs objects in the same process.

With ``held`` the link keeps requests until ``release``. With ``replies`` a test returns replies of its own instead of
running the objects.
"""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from goverse.errors import (
    GoverseError,
    IdempotencyKeyMismatch,
    MethodFailed,
    ObjectExists,
    ObjectNotFound,
    VersionMismatch,
)
from goverse.model.frames import MUST_EXIST, Operation, Problem, Reply, Request
from goverse.model.keys import ObjectKey
from goverse.model.records import ObjectSummary
from goverse.objects.registry import Registry
from goverse.objects.spec import MethodSpec, TypeSpec
from goverse.ports.link import Readiness, Waiter


class PlainLink:
    """Objects in a dictionary, with one turn at a time."""

    def __init__(self, *classes: type[Any]) -> None:
        """Serve the classes."""
        self.registry = Registry(classes)
        self.states: dict[ObjectKey, bytes | None] = {}
        self.versions: dict[ObjectKey, int] = {}
        self.kept: dict[tuple[ObjectKey, str], tuple[tuple[object, ...], Reply]] = {}
        self.commit_seq = 0
        self.reasons: tuple[str, ...] = ()
        self.partly_ready = False
        self.requests: list[Request] = []
        self.waiters: list[Waiter] = []
        self.held = False
        self.replies: Callable[[Request], Reply] | None = None
        self._waiting: list[tuple[Request, Waiter]] = []
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, request: Request) -> Future[Reply]:
        """Run ``request``, or keep it while ``held`` is set."""
        future: Future[Reply] = asyncio.get_running_loop().create_future()
        self.carry(request, future)
        return future

    def carry(self, request: Request, waiter: Waiter) -> None:
        """Run ``request``, or keep it while ``held`` is set."""
        self.requests.append(request)
        self.waiters.append(waiter)
        if self.held:
            self._waiting.append((request, waiter))
        else:
            self._start(request, waiter)

    def release(self) -> None:
        """Run the kept requests, except those whose waiter is done."""
        self.held = False
        waiting, self._waiting = self._waiting, []
        for request, waiter in waiting:
            if not waiter.done():
                self._start(request, waiter)

    async def list(
        self, namespace: str, type_name: str, *, prefix: str, after: str | None, limit: int
    ) -> Sequence[ObjectSummary]:
        """List objects, sorted by the bytes of their ids."""
        ids = sorted(
            (key.id for key, state in self.states.items() if state is not None and key[:2] == (namespace, type_name)),
            key=str.encode,
        )
        chosen = [name for name in ids if name.startswith(prefix) and (after is None or name.encode() > after.encode())]
        return [ObjectSummary(name, self.versions[ObjectKey(namespace, type_name, name)]) for name in chosen[:limit]]

    def readiness(self) -> Readiness:
        """Report ready unless ``reasons`` is set."""
        return Readiness(self.partly_ready or not self.reasons, self.reasons, self.commit_seq)

    def _start(self, request: Request, waiter: Waiter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(request, waiter))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, request: Request, waiter: Waiter) -> None:
        async with self._turn:
            reply = self.replies(request) if self.replies else await self._reply(request)
        if not waiter.done():
            waiter.set_result(reply)

    async def _reply(self, request: Request) -> Reply:
        try:
            return await self._with_key(request)
        except GoverseError as error:
            return Reply(problem=Problem.of(error, request.request_id), commit_seq=self.commit_seq)

    async def _with_key(self, request: Request) -> Reply:
        if request.idempotency_key is None:
            return await self._carry_out(request)
        place = (request.key, request.idempotency_key)
        fingerprint = (request.operation, request.method, request.body)
        if place in self.kept:
            known, reply = self.kept[place]
            if known != fingerprint:
                raise IdempotencyKeyMismatch
            return replace(reply, replayed=True)
        try:
            reply = await self._carry_out(request)
        except GoverseError as error:
            if not hasattr(error, "status"):
                raise
            reply = Reply(problem=Problem.of(error, request.request_id), commit_seq=self.commit_seq)
        self.kept[place] = (fingerprint, reply)
        return replace(reply)

    async def _carry_out(self, request: Request) -> Reply:
        spec = self.registry.type(request.key.type)
        state, version = self.states.get(request.key), self.versions.get(request.key, 0)
        exists = state is not None
        present = version if exists else 0
        if request.if_match == MUST_EXIST and not exists:
            raise VersionMismatch(version=present)
        if request.if_match == 0 and exists:
            raise ObjectExists
        if request.if_match is not None and request.if_match > 0 and request.if_match != present:
            raise VersionMismatch(version=present)
        if request.operation is Operation.READ:
            if state is None:
                raise ObjectNotFound
            return Reply(state, version, self.commit_seq)
        if request.operation is Operation.DELETE:
            if state is None:
                raise ObjectNotFound
            return self._commit(request.key, None, b"")
        if request.operation is Operation.CREATE:
            return await self._create(spec, request, exists=exists)
        return await self._call(spec, request, state)

    async def _create(self, spec: TypeSpec, request: Request, *, exists: bool) -> Reply:
        hook = spec.hooks.get("on_create")
        arguments = hook.arguments.decode(request.body) if hook else {}
        if exists:
            return Reply(b"", self.versions[request.key], self.commit_seq)
        instance = self._bring_alive(spec, request.key, None)
        if hook:
            await _run(hook, instance, arguments)
        return replace(self._commit(request.key, self._dump(spec, instance), b""), created=True)

    async def _call(self, spec: TypeSpec, request: Request, state: bytes | None) -> Reply:
        method = self.registry.method(spec.name, request.method)
        arguments = method.arguments.decode(request.body)
        if state is None and spec.state.required:
            raise ObjectNotFound
        instance = self._bring_alive(spec, request.key, state)
        body = method.result.encode(await _run(method, instance, arguments))
        after = self._dump(spec, instance)
        if after == state or method.readonly:
            return Reply(body, self.versions.get(request.key, 0), self.commit_seq)
        return self._commit(request.key, after, body)

    def _commit(self, key: ObjectKey, state: bytes | None, body: bytes) -> Reply:
        self.commit_seq += 1
        self.states[key] = state
        self.versions[key] = self.versions.get(key, 0) + 1
        return Reply(body, self.versions[key], self.commit_seq)

    def _bring_alive(self, spec: TypeSpec, key: ObjectKey, state: bytes | None) -> Any:
        instance: Any = object.__new__(spec.cls)
        instance._goverse_key = key
        vars(instance).update(spec.state.fresh() if state is None else spec.state.load(state))
        return instance

    def _dump(self, spec: TypeSpec, instance: Any) -> bytes:
        return spec.state.dump({field: getattr(instance, field) for field in spec.state.fields})


async def _run(method: MethodSpec, instance: Any, arguments: dict[str, Any]) -> Any:
    try:
        outcome = method.function(instance, **arguments)
        return await outcome if method.is_async else outcome
    except GoverseError:
        raise
    except Exception as error:
        raise MethodFailed from error
