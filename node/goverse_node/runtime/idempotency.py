"""Idempotency: calls with the same key run once and get the same reply.

A key is scoped to one object and to the subject of its caller (``Call.scoped``).

* While the first call with a key runs, further calls with it become its followers and receive its reply.
* After it was answered, further calls receive the reply that the store keeps. The reply is part of the same commit
  record as the effect.
* A key that was generated for this attempt (``fresh_key``) is not looked up, because no earlier attempt can have used
  it.
* Two calls with the same key must have the same method and body; otherwise the second fails with
  ``idempotency_key_mismatch``. Keys that a router generated are unique to one call, so they are not compared.
* Readonly calls are not deduplicated. They have no effect, so each one runs, and its reply is not kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from goverse.errors import GoverseError, IdempotencyKeyMismatch
from goverse.model.frames import Reply, Request
from goverse.model.keys import ObjectKey, is_derived, is_unique
from goverse.model.records import StoredReply
from goverse.model.replies import decode_reply, fingerprint
from goverse.ports.store import Store
from goverse_node.runtime.call import Call
from goverse_node.runtime.deadlines import Deadlines
from goverse_node.runtime.stats import NodeStats
from goverse_node.runtime.store_answer import outcome, refusal

Deliver = Callable[[Call], None]


class KeyHost(Protocol):
    """The part of a host that finds kept replies and watches the deadlines of waiting calls."""

    deadlines: Deadlines
    stats: NodeStats
    store: Store


class Leaders(dict[str, Call]):
    """The leading calls in progress of one object, by idempotency key. A call leaves the table when it is answered."""

    __slots__ = ("_host", "_object")

    def __init__(self, host: KeyHost, key: ObjectKey) -> None:
        """Deduplicate the calls of the object ``key``."""
        super().__init__()
        self._host = host
        self._object = key

    def deduplicate(self, call: Call, idempotency_key: str, deliver: Deliver) -> bool:
        """Handle a call that repeats an earlier one, or register it as the leader for its key.

        Returns:
            True if the call needs nothing further from the caller of this method: it follows a running call, was
            answered or refused, or waits for the store. In the last case ``deliver`` receives it again if no reply is
            kept. False if it should run now.
        """
        if not is_unique(idempotency_key):
            call.fingerprint = fingerprint(call.request)
        leader = self.get(idempotency_key)
        if leader is not None:
            if leader.fingerprint != call.fingerprint:
                call.refuse(_mismatch(call.request))
            else:
                call.follow(leader)
                self._host.deadlines.watch(call)
            return True
        if call.request.fresh_key:
            call.lead(self, idempotency_key)
            return False
        try:
            kept = self._host.store.recall(self._object, idempotency_key)
        except Exception as error:
            call.refuse(refusal(error))
            return True
        if isinstance(kept, asyncio.Future):
            call.lead(self, idempotency_key)
            self._host.deadlines.watch(call)
            kept.add_done_callback(lambda answer: self._recalled(call, answer, deliver))
            return True
        if kept is not None:
            self._replay(call, kept)
            return True
        call.lead(self, idempotency_key)
        return False

    def _recalled(self, call: Call, answer: asyncio.Future[StoredReply | None], deliver: Deliver) -> None:
        self._host.deadlines.unwatch(call)
        kept, error = outcome(answer)
        if call.pointless:
            call.answer(Reply())
        elif error is not None:
            call.refuse(error)
        elif kept is not None:
            self._replay(call, kept)
        else:
            deliver(call)

    def _replay(self, call: Call, kept: StoredReply) -> None:
        if kept.fingerprint != call.fingerprint:
            call.refuse(_mismatch(call.request))
            return
        try:
            reply = decode_reply(kept.reply, kept.commit_seq)
        except GoverseError as error:
            call.refuse(error)
            return
        self._host.stats.replays += 1
        call.answer(reply)


def _mismatch(request: Request) -> IdempotencyKeyMismatch:
    idempotency_key = request.idempotency_key or ""
    if is_derived(idempotency_key):
        return IdempotencyKeyMismatch(
            f"{request.key}.{request.method} was called with other arguments than in an earlier attempt of the same "
            "call; a method that is retried must make the same calls, so take times and random numbers from its "
            "arguments or from the state"
        )
    return IdempotencyKeyMismatch(
        f"the idempotency key {idempotency_key!r} was used for this object with another method or body; use a new key"
    )
