"""Requests about reliable calls (``Operation.CALLS``), and the submissions of a node.

What each verb takes and returns is in ``goverse.model.call_verbs``. Verbs about one call run where its sender is
served; a request that reaches another node is answered with ``moving``, and its router looks again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping
from functools import partial
from typing import Any, Final, Protocol

from goverse.errors import CallPending, Draining, Executed, GoverseError, MalformedRequest, known
from goverse.model import call_verbs as verbs
from goverse.model import json_values
from goverse.model.call_status import CallStatus
from goverse.model.effects import FinishedCall, SentCall
from goverse.model.frames import Reply, Request
from goverse.model.keys import ObjectKey
from goverse.model.replies import decode_reply
from goverse_node.messages.listing import Listing
from goverse_node.messages.lookup import Lookup, not_found, status_of
from goverse_node.messages.operating import Operating
from goverse_node.messages.outboxes import Entry
from goverse_node.messages.parameters import Parameters
from goverse_node.messages.submissions import DELAY_MS_MAX, SubmissionHost, Submissions, check_arguments
from goverse_node.messages.waits import Waits
from goverse_node.runtime.call import Call
from goverse_node.runtime.method_errors import unexpected

Act = Callable[[Entry], Coroutine[Any, Any, object]]

_MARGIN_S: Final = 0.25
"""The time before the deadline of a request at which it stops waiting, so that its reply arrives before that."""


class RequestHost(SubmissionHost, Protocol):
    """The part of a node that answers requests about calls."""

    def now(self) -> float:
        """Return the time of the loop's clock."""
        ...


class CallRequests:
    """Answers the requests about reliable calls.

    Attributes:
        waits: the requests that wait for the end of a call.
    """

    def __init__(self, host: RequestHost) -> None:
        self._host = host
        self._lookup = Lookup(host)
        self._operating = Operating(host.dispatcher, host.store, host.new_call_id, host.clock.wall_ms)
        self._listing = Listing(host, self._operating)
        self._submissions = Submissions(host, self._lookup, self._operating, self._spawn)
        self.waits = Waits(self._show)
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._verbs: Mapping[str, Callable[[Call, Parameters], None]] = {
            verbs.SHOW: self._show_or_wait,
            verbs.RESULT: self._result,
            verbs.CANCEL: partial(self._on_pending, self._operating.cancel_entry),
            verbs.SKIP: partial(self._on_pending, self._operating.skip_entry),
            verbs.RETRY: partial(self._on_pending, self._retry),
            verbs.REDRIVE: self._redrive,
            verbs.PAUSE: self._pause,
            verbs.RESUME: self._resume,
            verbs.LIST: self._list,
            verbs.FORGET: self._forget,
        }

    # --- life ---------------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Send the requests that wait away, because the node is shutting down."""
        self.waits.stop(known(Draining(), Executed.NO))

    def ended(self, entry: Entry) -> None:
        """Answer the requests that wait for a call, whose outcome was committed."""
        self.waits.ended((entry.pair.sender, entry.call.id), partial(self._last_status, entry))

    def closed(self, shards: Collection[int]) -> None:
        """Send the requests that wait for calls of these shards to their next owners."""
        self.waits.closed(shards)

    def _last_status(self, entry: Entry) -> bytes:
        assert entry.state is not None, "the outcome is known"
        problem = None if entry.reply is None else entry.reply.problem
        finished_ms = self._host.clock.wall_ms()
        status = CallStatus(
            entry.call, entry.pair.sender, entry.state, entry.place.attempts, finished_ms=finished_ms, problem=problem
        )
        return status.encode()

    # --- requests -----------------------------------------------------------------------------------------------------

    def send(self, call: Call) -> None:
        """Take a submission.

        Raises:
            GoverseError: it is refused.
        """
        self._submissions.send(call)

    def answer(self, call: Call) -> None:
        """Answer a request about calls.

        Raises:
            GoverseError: the request is refused.
        """
        verb = self._verbs.get(call.request.method)
        if verb is None:
            raise MalformedRequest(
                f"{call.request.method!r} is no verb of reliable calls; there are {', '.join(sorted(self._verbs))}"
            )
        verb(call, Parameters(call.request.method, call.request.body))

    def _spawn(self, call: Call, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(self._run(call, work))
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)

    async def _run(self, call: Call, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except GoverseError as error:
            call.refuse(error)
        except Exception as error:
            where = {"object": str(call.request.key), "request_id": call.request.request_id}
            call.refuse(known(unexpected(error, "the request about calls failed", where), Executed.UNKNOWN))

    def _own(self, request: Request, call_id: str, found: SentCall) -> None:
        """Check that the caller may see a call.

        Raises:
            CallNotFound: another client submitted it.
        """
        if request.method in verbs.OWNERS_VERBS and found.subject != request.caller.subject:
            raise not_found(call_id)

    def _pending(self, request: Request, call_id: str) -> Entry | None:
        """Return the pending call that a request is about, or None.

        Raises:
            CallNotFound: another client submitted it.
            Moving: another node serves its sender.
            Unavailable: the pending calls are not known yet.
        """
        self._lookup.shard_of(request.key)
        entry = self._lookup.pending(request, call_id)
        if entry is not None:
            self._own(request, call_id, entry.call)
        return entry

    async def _end(self, request: Request, call_id: str) -> FinishedCall:
        end = await self._lookup.end(request, call_id)
        self._own(request, call_id, end.call)
        return end

    def _answer(self, call: Call, reply: Reply) -> None:
        """Answer, once it is certain that no other node serves the sender."""

        def checked(error: GoverseError | None) -> None:
            if error is None:
                call.answer(reply)
            else:
                call.refuse(error)

        self._lookup.when_ours(call.request.key, checked)

    # --- show and result ----------------------------------------------------------------------------------------------

    def _show_or_wait(self, call: Call, parameters: Parameters) -> None:
        call_id, wait_ms = parameters.text("id"), parameters.number("wait_ms", 0)
        parameters.finish()
        entry = self._pending(call.request, call_id)
        if entry is None or not wait_ms:
            self._show_call(call, call_id, entry)
            return
        now = self._host.now()
        until = min(now + wait_ms / 1000, call.request.deadline - _MARGIN_S)
        self.waits.add(call, (entry.pair.sender, call_id), entry.pair.shard, until)

    def _show(self, call: Call) -> None:
        """Answer with the present status of the call that a request is about."""
        try:
            call_id = Parameters(call.request.method, call.request.body).text("id")
            self._show_call(call, call_id, self._pending(call.request, call_id))
        except GoverseError as error:
            call.refuse(error)

    def _show_call(self, call: Call, call_id: str, entry: Entry | None) -> None:
        if entry is not None:
            self._answer(call, Reply(self._operating.status(entry).encode()))
        else:
            self._spawn(call, self._show_end(call, call_id))

    async def _show_end(self, call: Call, call_id: str) -> None:
        try:
            end = await self._end(call.request, call_id)
        except GoverseError as error:
            self._refuse(call, error)
        else:
            call.answer(Reply(status_of(end).encode()))

    def _refuse(self, call: Call, error: GoverseError) -> None:
        """Refuse a request, once it is certain that no other node knows more."""
        self._lookup.when_ours(call.request.key, lambda moved: call.refuse(moved or error))

    def _result(self, call: Call, parameters: Parameters) -> None:
        call_id = parameters.text("id")
        parameters.finish()
        entry = self._pending(call.request, call_id)
        if entry is None:
            self._spawn(call, self._result_of_end(call, call_id))
            return
        state = self._operating.status(entry).state
        self._refuse(call, CallPending(f"the call {call_id} has not ended: it is {state}", state=state))

    async def _result_of_end(self, call: Call, call_id: str) -> None:
        try:
            end = await self._end(call.request, call_id)
        except GoverseError as error:
            self._refuse(call, error)
            return
        call.answer(decode_reply(end.outcome, 0) if end.outcome else Reply(b"null"))

    # --- operations on one call ---------------------------------------------------------------------------------------

    def _on_pending(self, act: Act, call: Call, parameters: Parameters) -> None:
        """Act on a pending call, and answer with its status. A call that has ended stays as it is."""
        call_id = parameters.text("id")
        parameters.finish()
        entry = self._pending(call.request, call_id)
        if entry is None:
            self._show_call(call, call_id, None)
        else:
            self._spawn(call, self._act(call, entry, act))

    async def _act(self, call: Call, entry: Entry, act: Act) -> None:
        await act(entry)
        if entry.number in self._host.dispatcher.outboxes.entries:
            call.answer(Reply(self._operating.status(entry).encode()))
        else:
            self._show(call)

    async def _retry(self, entry: Entry) -> None:
        self._operating.retry_entry(entry)

    def _redrive(self, call: Call, parameters: Parameters) -> None:
        call_id, body = parameters.text("id"), parameters.raw_object("arguments")
        delay_ms = parameters.number("delay_ms", 0, most=DELAY_MS_MAX)
        parameters.finish()
        entry = self._pending(call.request, call_id)
        if entry is not None:
            raise CallPending(f"the call {call_id} has not ended; retry it, or skip it first")
        self._spawn(call, self._redrive_end(call, call_id, body, delay_ms))

    async def _redrive_end(self, call: Call, call_id: str, body: bytes | None, delay_ms: int) -> None:
        request = call.request
        try:
            end = await self._end(request, call_id)
        except GoverseError as error:
            self._refuse(call, error)
            return
        if body is not None:
            self._check_arguments(request, end.call, body)
        shard = self._lookup.shard_of(end.sender)
        new_id = await self._operating.redrive(end.sender, call_id, shard, body=body, delay_ms=delay_ms)
        if new_id is None:  # it was forgotten just now
            raise not_found(call_id)
        call.answer(Reply(json_values.encode({"id": new_id})))

    def _check_arguments(self, request: Request, sent: SentCall, body: bytes) -> None:
        """Check edited arguments, as far as this node knows the type and the method of the receiver.

        Raises:
            InvalidArguments: they do not fit.
        """
        spec = self._host.registry.types.get(sent.receiver.type)
        method = None if spec is None else spec.methods.get(sent.method)
        if method is not None:
            check_arguments(self._host, method, body, request)

    # --- many calls ---------------------------------------------------------------------------------------------------

    def _list(self, call: Call, parameters: Parameters) -> None:
        async def work() -> None:
            page = await self._listing.page(call.request.key.namespace, parameters)
            call.answer(Reply(json_values.encode(page)))

        self._spawn(call, work())

    def _forget(self, call: Call, parameters: Parameters) -> None:
        async def work() -> None:
            count = await self._listing.forget(call.request.key.namespace, parameters)
            call.answer(Reply(json_values.encode({"forgotten": count})))

        self._spawn(call, work())

    # --- pairs --------------------------------------------------------------------------------------------------------

    def _pause(self, call: Call, parameters: Parameters) -> None:
        sender, receiver = self._pair(call.request, parameters)
        self._operating.pause(sender, receiver, self._lookup.shard_of(sender))
        call.answer(Reply(b'{"paused":true}'))

    def _resume(self, call: Call, parameters: Parameters) -> None:
        sender, receiver = self._pair(call.request, parameters)
        self._lookup.shard_of(sender)
        self._operating.resume(sender, receiver)
        call.answer(Reply(b'{"paused":false}'))

    def _pair(self, request: Request, parameters: Parameters) -> tuple[ObjectKey, ObjectKey]:
        namespace = request.key.namespace
        sender, receiver = parameters.object("sender", namespace), parameters.object("receiver", namespace)
        parameters.finish()
        if sender is None or receiver is None:
            raise MalformedRequest(f"{request.method} needs 'sender' and 'receiver'")
        return sender, receiver
