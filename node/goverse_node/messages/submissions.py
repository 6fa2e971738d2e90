"""Submissions: calls that clients send and do not wait for (``Operation.SEND``).

A submitted call is a reliable call from the object to itself. Everything that can be checked before it runs is checked
before it is accepted: the method, the access, the arguments. The record that sends it also keeps the reply, its status,
under the idempotency key of the request. So a repetition gets the same bytes, as with any other request.

The reply is kept for a day, but the call can be pending for longer, and its result can be read later. The id follows
from the client's key, so a repetition is recognised as long as anything of the call is kept. The order of the looks
matters:

1. Is the call pending? If it was, and ends before the next look, that one finds its end.
2. Is its end kept?
3. The object looks for a submission with the same key that is in progress, and for a kept reply. A call that was
   submitted after the first look is found here.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

from goverse.errors import GoverseError, IdempotencyKeyMismatch, MalformedRequest
from goverse.limits import SEND_ATTEMPTS_MAX, SEND_DELAY_S_MAX, SEND_EXPIRES_S
from goverse.model.access import handler_called
from goverse.model.call_ids import repeated_call_id
from goverse.model.call_status import CallStatus
from goverse.model.effects import Effects, SentCall, same_content
from goverse.model.frames import Reply, Request
from goverse.model.json_text import is_no_arguments
from goverse.model.keys import ObjectKey, is_unique
from goverse.objects.spec import MethodSpec
from goverse_node.messages.lookup import Lookup, LookupHost, status_of
from goverse_node.messages.operating import Operating
from goverse_node.options import NodeOptions
from goverse_node.runtime.call import Call
from goverse_node.runtime.contexts import TurnContexts
from goverse_node.runtime.deadlines import Deadlines
from goverse_node.runtime.method_errors import unexpected

Spawn = Callable[[Call, Coroutine[Any, Any, None]], None]

DELAY_MS_MAX: Final = round(SEND_DELAY_S_MAX * 1000)


class SubmissionHost(LookupHost, Protocol):
    """The part of a node that takes submissions."""

    contexts: TurnContexts
    deadlines: Deadlines
    options: NodeOptions

    def new_call_id(self, sender: ObjectKey) -> str:
        """Return an id for a reliable call of ``sender``."""
        ...

    def deliver(self, call: Call) -> None:
        """Deliver a call to the object's activation."""
        ...


class Submissions:
    """Takes the SEND requests of a node."""

    def __init__(self, host: SubmissionHost, lookup: Lookup, operating: Operating, spawn: Spawn) -> None:
        """``spawn`` runs a coroutine that answers a call, and refuses the call if that fails."""
        self._host = host
        self._lookup = lookup
        self._operating = operating
        self._spawn = spawn

    def send(self, call: Call) -> None:
        """Check a request, and pass it on to its object, which commits the call and answers.

        Raises:
            GoverseError: the request is refused.
        """
        request, host = call.request, self._host
        sent = self._sent(call, self._checked_body(request))
        call.reliable = Effects(sends=(sent,))
        if request.idempotency_key is None or request.fresh_key or is_unique(request.idempotency_key):
            host.deliver(call)
            return
        self._lookup.shard_of(request.key)
        entry = self._lookup.pending(request, sent.id)
        present = None if entry is None else self._operating.status(entry)
        host.deadlines.watch(call)
        self._spawn(call, self._deliver_unless_known(call, sent, present))

    async def _deliver_unless_known(self, call: Call, sent: SentCall, known: CallStatus | None) -> None:
        """Answer with the status of the call that a client submitted before, or let the object answer."""
        host, key = self._host, call.request.key
        try:
            if known is None:
                end = await host.store.finished_call(key.namespace, sent.id, sender=key)
                known = None if end is None else status_of(end)
            if known is not None and await self._keeps_reply(call):
                known = None  # the object answers with the kept reply
        finally:
            host.deadlines.unwatch(call)
        if call.pointless:
            call.answer(Reply())
        elif known is not None:
            _repeat(call, sent, known)
        else:
            host.deliver(call)

    async def _keeps_reply(self, call: Call) -> bool:
        found = self._host.store.recall(call.request.key, call.scoped(call.request.idempotency_key or ""))
        return (await found if isinstance(found, Future) else found) is not None

    def _checked_body(self, request: Request) -> bytes:
        """Return the arguments of a request that may be accepted.

        Raises:
            GoverseError: it may not.
        """
        key = request.key
        method = self._host.registry.method(key.type, request.method)
        if method.handler:
            raise handler_called(key.type, method.name)
        if request.if_match is not None:
            raise MalformedRequest(
                "a call that is carried out later cannot depend on the present version of the object; leave out "
                "If-Match, or call without respond-async"
            )
        if not 0 <= request.delay_ms <= DELAY_MS_MAX:
            raise MalformedRequest(f"the delay is {request.delay_ms} ms; 0 to {DELAY_MS_MAX} are allowed")
        check_arguments(self._host, method, request.body, request)
        return b"" if is_no_arguments(request.body) else request.body

    def _sent(self, call: Call, body: bytes) -> SentCall:
        request, options = call.request, self._host.options
        key, idempotency_key, now_ms = request.key, request.idempotency_key, self._host.clock.wall_ms()
        if idempotency_key is None:
            call_id = self._host.new_call_id(key)
        else:
            call_id = repeated_call_id(self._host.shard_access.hash_of(key), key, call.scoped(idempotency_key))
        return SentCall(
            call_id,
            key,
            request.method,
            body,
            expires_ms=now_ms + request.delay_ms + round(SEND_EXPIRES_S * 1000),
            due_ms=now_ms + request.delay_ms if request.delay_ms else 0,
            attempts_max=SEND_ATTEMPTS_MAX,
            keep_ms=round(options.idempotency_retention_s * 1000),
            sent_ms=now_ms,
            subject=request.caller.subject,
            request_id=request.request_id,
            traceparent=request.traceparent,
            tracestate=request.tracestate,
        )


def check_arguments(host: SubmissionHost, method: MethodSpec, body: bytes, request: Request) -> None:
    """Check that arguments fit a method.

    Raises:
        InvalidArguments: they do not.
        GoverseError: a validator of the application failed.
    """
    try:
        host.contexts.new().run(method.arguments.decode, body)
    except GoverseError:
        raise
    except BaseException as error:
        where = {"object": str(request.key), "method": method.name, "request_id": request.request_id}
        raise unexpected(error, "the arguments could not be checked", where) from error


def _repeat(call: Call, sent: SentCall, status: CallStatus) -> None:
    """Answer a request that submitted a call before."""
    if not same_content(sent, status.call):
        call.refuse(
            IdempotencyKeyMismatch(
                f"the idempotency key {call.request.idempotency_key!r} was used for this object with another method or "
                "body; use a new key"
            )
        )
    else:
        call.answer(Reply(status.encode(), replayed=True))
