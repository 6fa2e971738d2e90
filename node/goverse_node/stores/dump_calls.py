"""The lines of a dump for reliable calls: pending calls, receipts and finished calls.

A number of a call is written as its position and its place in the commit, because it can have more than 64 bits.

    pending call   namespace, type, id of the sender; pending: the number; shard, attempts, void, call
    receipt        namespace, type, id of the receiver; sender: its three names; receipt: the last number; outcomes:
                   number and outcome of each
    finished call  namespace, type, id of the sender; finished_ms, expires_ms, state, attempts, outcome, call

``call`` has the members of ``goverse.model.effects.SentCall``; the body is text. Outcomes are in base64.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast, get_args

from goverse.model.effects import CallState, FinishedCall, OnFailure, PendingCall, SentCall
from goverse.model.keys import ObjectKey, check_id_form, check_namespace, is_name
from goverse.model.receipts import SENDS_MAX, Receipt, number_of, place_of
from goverse_node.stores.encoding import MARK, OUTCOME, PENDING, RECEIPT
from goverse_node.stores.outbox_encoding import (
    finished_call,
    key_of,
    outcome_number,
    pending_call,
    receipt_value,
    sender_in,
    sub_name_of,
    value_of,
)

PENDING_MEMBERS: Final = frozenset({"pending", "shard", "attempts", "void", "call"})
RECEIPT_MEMBERS: Final = frozenset({"sender", "receipt", "outcomes"})
FINISHED_MEMBERS: Final = frozenset({"finished_ms", "expires_ms", "state", "attempts", "outcome", "call"})
_CALL: Final = frozenset(SentCall._fields)
_TEXTS: Final = ("id", "method", "then", "subject", "request_id", "traceparent", "tracestate")
_COUNTS: Final = ("expires_ms", "due_ms", "attempts_max", "first_ms", "longest_ms", "keep_ms", "sent_ms")
_SEQ_MAX: Final = (1 << 62) - 1
_INT64_MAX: Final = (1 << 63) - 1
_INT32_MAX: Final = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class DumpedReceipt:
    """The receipt of a pair."""

    receiver: ObjectKey
    sender: ObjectKey
    receipt: Receipt


DumpedCall = PendingCall | DumpedReceipt | FinishedCall


class CallLines:
    """Makes lines of the entries of a snapshot, which arrive in order."""

    def __init__(self) -> None:
        """Begin before the first entry."""
        self._first = b""
        self._further: list[bytes] = []

    def add(self, entry: bytes) -> Iterator[str]:
        """Take the next entry. Yields the line of the one before it, if that is whole now."""
        if entry[0] in (MARK, OUTCOME):
            self._further.append(entry)
        else:
            yield from self.flush()
            self._first = entry

    def flush(self) -> Iterator[str]:
        """Yield the line of the last entry, if there is one."""
        if self._first:
            yield json.dumps(_line(self._first, self._further), ensure_ascii=False, separators=(",", ":"))
            self._first = b""
            self._further.clear()


def _line(first: bytes, further: list[bytes]) -> dict[str, Any]:
    line: dict[str, Any] = key_of(first)._asdict()
    if first[0] == PENDING:
        pending = pending_call(first, value_of(further[0]) if further else None)
        line |= {"pending": place_of(pending.number), "shard": pending.shard}
        return line | {"attempts": pending.attempts, "void": pending.void, "call": _members(pending.call)}
    if first[0] == RECEIPT:
        last, _ = receipt_value(value_of(first))
        kept = [[*place_of(outcome_number(sub_name_of(each))), _base64(value_of(each))] for each in further]
        return line | {"sender": sender_in(sub_name_of(first)), "receipt": place_of(last), "outcomes": kept}
    end = finished_call(first)
    line |= {"finished_ms": end.finished_ms, "expires_ms": end.expires_ms, "state": end.state}
    return line | {"attempts": end.attempts, "outcome": _base64(end.outcome), "call": _members(end.call)}


def _members(call: SentCall) -> dict[str, Any]:
    return {**call._asdict(), "body": call.body.decode()}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def parse_pending(key: ObjectKey, members: dict[str, Any]) -> PendingCall:
    """Parse the line of a pending call of ``key``.

    Raises:
        ValueError: a member is not valid.
        MalformedRequest: a name is not valid.
    """
    shard, attempts = _count(members, "shard", _INT32_MAX), _count(members, "attempts", _INT32_MAX)
    return PendingCall(
        _number(members["pending"]), key, shard, _call(members["call"]), attempts, _text(members, "void")
    )


def parse_receipt(key: ObjectKey, members: dict[str, Any]) -> DumpedReceipt:
    """Parse the line of a receipt of ``key``.

    Raises:
        ValueError: a member is not valid.
        MalformedRequest: a name is not valid.
    """
    last, kept = _number(members["receipt"]), members["outcomes"]
    if not isinstance(kept, list):
        raise ValueError("outcomes is not a list")
    outcomes: dict[int, bytes] = {}
    for each in cast("Sequence[Any]", kept):
        if not isinstance(each, list) or len(cast("Sequence[Any]", each)) != 3:
            raise ValueError("an outcome is not a position, a place and a text in base64")
        seq, part, outcome = cast("Sequence[Any]", each)
        outcomes[_number([seq, part])] = _bytes(outcome, "outcomes")
    if list(outcomes) != sorted(outcomes) or last not in outcomes or max(outcomes) != last:
        raise ValueError("the outcomes are not in order, or the last one is not that of the receipt")
    return DumpedReceipt(key, _key(members["sender"], "sender"), Receipt(last, outcomes))


def parse_finished(key: ObjectKey, members: dict[str, Any]) -> FinishedCall:
    """Parse the line of a finished call of ``key``.

    Raises:
        ValueError: a member is not valid.
        MalformedRequest: a name is not valid.
    """
    if members["state"] not in get_args(CallState):
        raise ValueError(f"state is none of {', '.join(get_args(CallState))}")
    outcome, attempts = _bytes(members["outcome"], "outcome"), _count(members, "attempts", _INT32_MAX)
    times = _count(members, "finished_ms", 10**18 - 1), _count(members, "expires_ms", _INT64_MAX)
    return FinishedCall(_call(members["call"]), key, members["state"], outcome, attempts, *times)


def _call(value: Any) -> SentCall:
    if not isinstance(value, dict) or cast("dict[str, Any]", value).keys() != _CALL:
        raise ValueError(f"call does not have the members {', '.join(SentCall._fields)}; a newer release may have more")
    members = cast("dict[str, Any]", value)
    if members["on_failure"] not in get_args(OnFailure):
        raise ValueError(f"on_failure is none of {', '.join(get_args(OnFailure))}")
    checked: dict[str, Any] = {name: _text(members, name) for name in _TEXTS}
    checked |= {name: _count(members, name, _INT64_MAX) for name in _COUNTS}
    checked["receiver"], checked["body"] = _key(members["receiver"], "receiver"), _text(members, "body").encode()
    return SentCall(**{**members, **checked})


def _key(value: Any, name: str) -> ObjectKey:
    parts: Sequence[Any] = cast("Sequence[Any]", value) if isinstance(value, list) else ()
    if len(parts) != 3 or not all(isinstance(part, str) for part in parts):
        raise ValueError(f"{name} is not a list of namespace, type and id")
    namespace, type_name, object_id = parts
    if not type_name or not is_name(type_name):
        raise ValueError(f"type {type_name!r} is not a valid class name")
    return ObjectKey(check_namespace(namespace), type_name, check_id_form(object_id))


def _number(value: Any) -> int:
    parts: Sequence[Any] = cast("Sequence[Any]", value) if isinstance(value, list) else ()
    if len(parts) != 2 or not all(type(part) is int for part in parts):
        raise ValueError("the number of a call is not a position and a place")
    if not 1 <= parts[0] <= _SEQ_MAX or not 0 <= parts[1] < SENDS_MAX:
        raise ValueError(f"the number of a call, {parts[0]} and {parts[1]}, is out of range")
    return number_of(parts[0], parts[1])


def _text(members: dict[str, Any], name: str) -> str:
    value = members[name]
    if not isinstance(value, str):
        raise ValueError(f"{name} is not text")
    return value


def _bytes(value: Any, name: str) -> bytes:
    if not isinstance(value, str):
        raise ValueError(f"{name} is not text")
    return base64.b64decode(value, validate=True)


def _count(members: dict[str, Any], name: str, most: int) -> int:
    value = members[name]
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{name} is not a whole number from 0 to {most}")
    return value
