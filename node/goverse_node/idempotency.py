"""The same call twice: one idempotency key, one execution, one answer.

A key belongs to one object. A call whose key is under way follows the call that brought it first; a call whose key was
answered before gets that answer from the store. The answer is kept by the same commit as the effect. A key that was
made for this very attempt (``fresh_key``) is not looked up: no earlier attempt can have used it. Calls under a key that
a router made are the same call, so they are not compared. Calls of readonly methods do not come here: they have no
effect, so each one runs, whatever its key, and its reply is not kept.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from goverse.errors import GoverseError, IdempotencyKeyMismatch
from goverse.model.frames import Reply, Request
from goverse.model.keys import is_derived, is_unique
from goverse.model.records import StoredReply
from goverse.model.replies import decode_reply, fingerprint
from goverse_node.call import Call
from goverse_node.store_answer import outcome, refusal
from goverse_node.phase import Phase

if TYPE_CHECKING:
    from goverse_node.activation import Activation


def deduplicate(activation: Activation, call: Call, idempotency_key: str) -> bool:
    """Attach a call to an equal one that is under way, or answer it from what is kept; tell whether that was so."""
    if not is_unique(idempotency_key):
        call.print = fingerprint(call.request)
    if activation.keyed is None:
        activation.keyed = {}
    calls = activation.keyed
    leader = calls.get(idempotency_key)
    if leader is not None:
        if leader.print != call.print:
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
    if kept.fingerprint != call.print:
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
            "call; a method that is repeated must make the same calls, so take times, random numbers and the like from "
            "its arguments or from the state"
        )
    return IdempotencyKeyMismatch(
        f"the idempotency key {idempotency_key!r} was used for this object with another method or body; use a new key"
    )
