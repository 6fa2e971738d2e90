"""Idempotency: calls with the same key run once and get the same reply.

A key is scoped to one object.

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
from typing import TYPE_CHECKING

from goverse.errors import GoverseError, IdempotencyKeyMismatch
from goverse.model.frames import Reply, Request
from goverse.model.keys import is_derived, is_unique
from goverse.model.records import StoredReply
from goverse.model.replies import decode_reply, fingerprint
from goverse_node.runtime.call import Call
from goverse_node.runtime.phase import Phase
from goverse_node.runtime.store_answer import outcome, refusal

if TYPE_CHECKING:
    from goverse_node.runtime.activation import Activation


def deduplicate(activation: Activation, call: Call, idempotency_key: str) -> bool:
    """Handle a call that repeats an earlier one, or register it as the leader for its key.

    Returns:
        True if the call needs nothing further from the caller of this function: it follows a running call, was
        answered or refused, or waits for the store. In the last case it is delivered again if no reply is kept.
        False if it should run now.
    """
    if not is_unique(idempotency_key):
        call.fingerprint = fingerprint(call.request)
    if activation.keyed is None:
        activation.keyed = {}
    calls = activation.keyed
    leader = calls.get(idempotency_key)
    if leader is not None:
        if leader.fingerprint != call.fingerprint:
            call.refuse(_mismatch(call.request))
        else:
            call.follow(leader)
            activation.node.watch(call)
        return True
    if call.request.fresh_key:
        call.lead(calls)
        return False
    try:
        kept = activation.node.store.recall(activation.key, idempotency_key)
    except Exception as error:
        call.refuse(refusal(error))
        return True
    if isinstance(kept, asyncio.Future):
        call.lead(calls)
        activation.node.watch(call)
        kept.add_done_callback(lambda answer: _recalled(activation, call, answer))
        return True
    if kept is not None:
        _replay(activation, call, kept)
        return True
    call.lead(calls)
    return False


def _recalled(activation: Activation, call: Call, answer: asyncio.Future[StoredReply | None]) -> None:
    activation.node.unwatch(call)
    kept, error = outcome(answer)
    if call.pointless:
        call.answer(Reply())
    elif error is not None:
        call.refuse(error)
    elif kept is not None:
        _replay(activation, call, kept)
    elif activation.phase is Phase.GONE:
        activation.node.deliver(call)
    else:
        activation.deliver(call)


def _replay(activation: Activation, call: Call, kept: StoredReply) -> None:
    if kept.fingerprint != call.fingerprint:
        call.refuse(_mismatch(call.request))
        return
    try:
        reply = decode_reply(kept.reply, kept.commit_seq)
    except GoverseError as error:
        call.refuse(error)
        return
    activation.node.stats.replays += 1
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
