"""A link with reliable calls: a complete implementation of ``Operation.SEND`` and ``Operation.CALLS`` in memory.

A submitted call runs at once, unless ``calls_held`` is set or it is delayed; ``run`` carries it out then.
"""

from __future__ import annotations

import asyncio
from asyncio import Event
from dataclasses import dataclass, field
from typing import Any

import orjson

from goverse.errors import CallNotFound, CallPending, CallVoid, ConflictError, GoverseError, MalformedRequest
from goverse.model.call_ids import new_call_id, repeated_call_id
from goverse.model.frames import Operation, Problem, Reply, Request
from goverse.model.keys import ObjectKey, placement_hash
from tests.gate.link import PlainLink

TIME = "2026-11-30T08:00:00.000Z"


@dataclass(eq=False)
class SentOne:
    """One call."""

    id: str
    key: ObjectKey
    request: Request
    state: str = "pending"
    outcome: Reply = field(default_factory=Reply)
    ended: Event = field(default_factory=Event)

    def status(self) -> dict[str, Any]:
        """Return the status as its JSON object."""
        end = self.state not in ("pending", "running")
        problem = self.outcome.problem
        place = {"type": self.key.type, "id": self.key.id}
        return {
            "id": self.id,
            "sender": place,
            "receiver": place,
            "method": self.request.method,
            "state": self.state,
            "attempts": 0,
            "sent_at": TIME,
            "expires_at": TIME,
            "next_attempt_at": None if end else TIME,
            "waits_for": None if end else "due in 5 s",
            "finished_at": TIME if end else None,
            "problem": None
            if problem is None
            else {"code": problem.code, "detail": problem.detail, "retryable": problem.retryable},
        }


class CallLink(PlainLink):
    """A ``PlainLink`` with reliable calls."""

    def __init__(self, *classes: type[Any]) -> None:
        """Serve the classes."""
        super().__init__(*classes)
        self.calls: dict[str, SentOne] = {}
        self.paused: set[tuple[str, str]] = set()
        self.calls_held = False
        self.entropy = 0

    async def run(self, call: SentOne) -> None:
        """Carry out a call."""
        request = Request(Operation.CALL, call.key, call.request.method, call.request.body, 0.0, "reliable")
        call.outcome = await super()._reply(request)
        problem = call.outcome.problem
        call.state = "success" if problem is None else "failed" if problem.status is not None else "dead"
        call.ended.set()

    def _start(self, request: Request, waiter: Any) -> None:
        task = asyncio.get_running_loop().create_task(self._handle(request, waiter))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _handle(self, request: Request, waiter: Any) -> None:
        if request.operation is not Operation.CALLS and request.operation is not Operation.SEND:
            await self._serve(request, waiter)
            return
        try:
            reply = await (self._send(request) if request.operation is Operation.SEND else self._ask(request))
        except GoverseError as error:
            reply = Reply(problem=Problem.of(error, request.request_id))
        if not waiter.done():
            waiter.set_result(reply)

    async def _send(self, request: Request) -> Reply:
        key = request.key
        method = self.registry.method(key.type, request.method)
        method.arguments.decode(request.body)
        if request.if_match is not None:
            raise MalformedRequest("leave out If-Match")
        self.entropy += 1
        placement = placement_hash(key)
        name = new_call_id(placement, 0, self.entropy.to_bytes(10, "big"))
        if request.idempotency_key is not None:
            name = repeated_call_id(placement, key, request.idempotency_key)
        if name in self.calls:
            return Reply(orjson.dumps(self.calls[name].status()), replayed=True)
        call = self.calls[name] = SentOne(name, key, request)
        self.commit_seq += 1
        reply = Reply(orjson.dumps(call.status()), 0, self.commit_seq)
        if not self.calls_held and not request.delay_ms:
            await self.run(call)
        return reply

    async def _ask(self, request: Request) -> Reply:
        members = orjson.loads(request.body)
        if request.method in ("list", "forget"):
            return self._many(request.method, members)
        if request.method in ("pause", "resume"):
            pair = tuple(f"{members[name]['type']}/{members[name]['id']}" for name in ("sender", "receiver"))
            (self.paused.add if request.method == "pause" else self.paused.discard)((pair[0], pair[1]))
            return Reply(orjson.dumps({"paused": request.method == "pause"}))
        call = self.calls.get(members["id"])
        if call is None or (request.key.type and request.key != call.key):
            raise CallNotFound(f"no call {members['id']!r}")
        return await self._one(request.method, call, members)

    async def _one(self, verb: str, call: SentOne, members: dict[str, Any]) -> Reply:
        if verb == "show" and members.get("wait_ms") and not call.ended.is_set():
            try:
                await asyncio.wait_for(call.ended.wait(), members["wait_ms"] / 1000)
            except TimeoutError:
                return Reply(orjson.dumps(call.status()))
        if verb == "result":
            if not call.ended.is_set():
                raise CallPending(f"the call is {call.state}")
            return call.outcome
        if verb in ("cancel", "skip") and not call.ended.is_set():
            call.state = "cancelled" if verb == "cancel" else "dead"
            call.outcome = Reply(problem=Problem.of(CallVoid()))
            call.ended.set()
        if verb == "retry" and not call.ended.is_set():
            await self.run(call)
        return self._redriven(call, members) if verb == "redrive" else Reply(orjson.dumps(call.status()))

    def _redriven(self, call: SentOne, members: dict[str, Any]) -> Reply:
        if call.state != "dead":
            raise ConflictError(f"{call.id} is no dead letter")
        call.state = "cancelled"
        self.entropy += 1
        name = new_call_id(placement_hash(call.key), 0, self.entropy.to_bytes(10, "big"))
        body = orjson.dumps(members["arguments"]) if "arguments" in members else call.request.body
        again = Request(Operation.SEND, call.key, call.request.method, body, 0.0, "again")
        again.delay_ms = members.get("delay_ms", 0)
        self.calls[name] = SentOne(name, call.key, again)
        return Reply(orjson.dumps({"id": name}))

    def _many(self, verb: str, members: dict[str, Any]) -> Reply:
        def fits(call: SentOne) -> bool:
            place = {"type": call.key.type, "id": call.key.id}
            return (
                members.get("state") in (None, call.state)
                and members.get("type") in (None, call.key.type)
                and all(members.get(name) in (None, place) for name in ("sender", "receiver"))
            )

        found = [call for call in self.calls.values() if fits(call)]
        limit = members.get("limit", 100)
        if verb == "forget":
            ended = [call for call in found if call.ended.is_set()][:limit]
            for call in [] if members.get("dry_run") else ended:
                del self.calls[call.id]
            return Reply(orjson.dumps({"forgotten": len(ended)}))
        after = int(members.get("cursor", "0"))
        cursor = str(after + limit) if len(found) > after + limit else None
        items = [call.status() for call in found[after : after + limit]]
        return Reply(orjson.dumps({"items": items, "cursor": cursor}))
