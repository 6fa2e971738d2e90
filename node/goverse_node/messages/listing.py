"""Pages of calls: those that have not ended, and then the ends that are kept.

The store knows the calls of all senders of the cluster, and this node the live state of those whose senders it serves.
A request reads a bounded number of calls, so a page of a narrow selection can be short, and the next one goes on from
its cursor.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, cast, get_args

import orjson

from goverse.errors import MalformedRequest
from goverse.limits import CALLS_SCANNED_MAX, FORGOTTEN_CALLS_MAX, LIST_LIMIT, LIST_LIMIT_MAX
from goverse.model.call_status import CallStatus
from goverse.model.effects import CallState, PendingCall
from goverse.model.keys import ObjectKey
from goverse.model.notes import is_note
from goverse.ports.outbox import CallFilter
from goverse_node.messages.lookup import LookupHost, status_of
from goverse_node.messages.operating import Operating
from goverse_node.messages.parameters import Parameters

_ENDED: Final = get_args(CallState)
_UNENDED: Final = ("pending", "running")
_ELSEWHERE: Final = "its sender is served by another node; show the call to see why it waits"
_PENDING, _FINISHED = "p", "f"

Place = tuple[int, int] | tuple[int, str] | None


class Cursor(NamedTuple):
    """The place behind which a page begins: a part of the list, and a place there as the store takes it."""

    part: str
    place: Place = None

    def encode(self) -> str:
        """Return the cursor as a client sees it."""
        return urlsafe_b64encode(orjson.dumps(list(self))).rstrip(b"=").decode()

    @classmethod
    def decode(cls, text: str) -> Cursor:
        """Return the cursor from its text.

        Raises:
            MalformedRequest: it is none.
        """
        try:
            part, place = orjson.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            if part == _PENDING:
                return cls(part, (int(place[0]), int(place[1])))
            if part == _FINISHED:
                return cls(part, None if place is None else (int(place[0]), str(place[1])))
        except (ValueError, TypeError, IndexError):
            pass
        raise MalformedRequest(f"invalid cursor {text[:40]!r}; use one that a page returned")


class Selection(NamedTuple):
    """The calls that a request selects.

    Attributes:
        where: the objects, and the states of ended calls.
        unended: the states of calls that have not ended.
        sent_before_ms: the latest time at which such a call was sent, or None.
    """

    where: CallFilter
    unended: frozenset[str]
    sent_before_ms: int | None


class Listing:
    """Lists calls, and forgets ended ones."""

    def __init__(self, host: LookupHost, operating: Operating) -> None:
        self._host = host
        self._operating = operating

    async def page(self, namespace: str, parameters: Parameters) -> Mapping[str, Any]:
        """Return a page of calls.

        Raises:
            GoverseError: a parameter is invalid, or the store does not answer.
        """
        sender, receiver = parameters.object("sender", namespace), parameters.object("receiver", namespace)
        chosen = self._selection(namespace, parameters, (sender, receiver), (*_UNENDED, *_ENDED))
        text = parameters.text("cursor", "")
        limit = parameters.number("limit", LIST_LIMIT, most=LIST_LIMIT_MAX) or 1
        parameters.finish()
        cursor = Cursor.decode(text) if text else Cursor(_PENDING)
        items: list[CallStatus] = []
        if cursor.part == _PENDING:
            cursor = await self._unended(chosen, cursor, limit, items)
        behind = await self._ended(chosen, cursor, limit, items) if cursor.part == _FINISHED else cursor
        return {"items": [each.members() for each in items], "cursor": None if behind is None else behind.encode()}

    async def _unended(self, chosen: Selection, cursor: Cursor, limit: int, items: list[CallStatus]) -> Cursor:
        """Add calls that have not ended, and return the place behind them."""
        if not chosen.unended:
            return Cursor(_FINISHED)
        place = cast("tuple[int, int] | None", cursor.place)
        sender = chosen.where.sender
        shard = None if sender is None else self._host.shard_access.shard_of(sender)
        for _ in range(max(1, CALLS_SCANNED_MAX // LIST_LIMIT_MAX)):
            calls = await self._host.store.pending_where(chosen.where, shard=shard, after=place, limit=LIST_LIMIT_MAX)
            for each in calls:
                place = (each.shard, each.number)
                if is_note(each.call):
                    continue
                status = self._status(each)
                is_old = chosen.sent_before_ms is None or each.call.sent_ms < chosen.sent_before_ms
                if is_old and status.state in chosen.unended:
                    items.append(status)
                    if len(items) == limit:
                        return Cursor(_PENDING, place)
            if len(calls) < LIST_LIMIT_MAX:
                return Cursor(_FINISHED)
        return Cursor(_PENDING, place)

    async def _ended(self, chosen: Selection, cursor: Cursor, limit: int, items: list[CallStatus]) -> Cursor | None:
        """Add calls that have ended, and return the place behind them, or None if there are no further ones."""
        room = limit - len(items)
        if not chosen.where.states or not room:
            return Cursor(_FINISHED) if chosen.where.states else None
        place = cast("tuple[int, str] | None", cursor.place)
        ends = await self._host.store.finished(chosen.where, after=place, limit=room)
        items += map(status_of, ends)
        return Cursor(_FINISHED, (ends[-1].finished_ms, ends[-1].call.id)) if len(ends) == room else None

    def _status(self, pending: PendingCall) -> CallStatus:
        entry = self._host.dispatcher.outboxes.entries.get(pending.number)
        if entry is not None:
            return self._operating.status(entry)
        return CallStatus(pending.call, pending.sender, attempts=pending.attempts, waits_for=_ELSEWHERE)

    async def forget(self, namespace: str, parameters: Parameters) -> int:
        """Remove ended calls, or count them, and return their number.

        Raises:
            GoverseError: a parameter is invalid, or the store does not answer.
        """
        chosen = self._selection(namespace, parameters, (None, None), _ENDED)
        only_count = parameters.flag("dry_run")
        most = 2**31 - 1 if only_count else FORGOTTEN_CALLS_MAX
        limit = parameters.number("limit", most if only_count else LIST_LIMIT_MAX, most=most)
        parameters.finish()
        store = self._host.store
        count: Callable[..., Any] = store.count_finished if only_count else store.forget_finished
        return int(await count(chosen.where, limit=limit)) if limit else 0

    def _selection(
        self,
        namespace: str,
        parameters: Parameters,
        objects: tuple[ObjectKey | None, ObjectKey | None],
        states: tuple[str, ...],
    ) -> Selection:
        state, age_ms = parameters.text("state", ""), parameters.number("older_than_ms", 0)
        if state and state not in states:
            raise MalformedRequest(f"'state' is {state!r}; it must be one of {', '.join(states)}")
        before_ms = self._host.clock.wall_ms() - age_ms if age_ms else None
        wanted = {state} if state else set(states)
        ended = frozenset(cast("set[CallState]", wanted & set(_ENDED)))
        kind = parameters.text("type", "") or None
        where = CallFilter(namespace, kind, *objects, states=ended, finished_before_ms=before_ms)
        return Selection(where, frozenset(wanted & set(_UNENDED)), before_ms)
