"""Verbs of ``Operation.CALLS``: what can be asked about reliable calls, and how answers look.

A request is sent to the sender of the call, or to its place (``goverse.model.call_ids.place_of_call``). Its body is a
JSON object, its reply as well. Members that are not listed are refused; members that are optional may be missing.

| verb | body | reply |
| --- | --- | --- |
| ``show`` | ``id``, optional ``wait_ms`` | a call; after ``wait_ms`` at the latest, earlier if the call has ended |
| ``result`` | ``id`` | the stored reply of the call itself |
| ``cancel``, ``skip``, ``retry`` | ``id`` | a call, after the operation is durable |
| ``redrive`` | ``id``, optional ``arguments``, ``delay_ms`` | ``{"id"}`` of the new call |
| ``pause``, ``resume`` | ``sender``, ``receiver`` | ``{"paused"}`` |
| ``list`` | optional ``state``, ``type``, ``sender``, ``receiver``, ``older_than_ms``, ``cursor``, ``limit`` | a page |
| ``forget`` | optional ``state``, ``type``, ``older_than_ms``, ``limit``, ``dry_run`` | ``{"forgotten"}``, the number |

A page is ``{"items", "cursor"}``, and its items are calls. ``forget`` removes ended calls and never a pending one; with
``dry_run`` it counts them.

A call is ``{"id", "sender", "receiver", "method", "state", "attempts", "sent_at", "expires_at", "next_attempt_at",
"waits_for", "finished_at", "problem"}``. Objects are ``{"type", "id"}``, times are RFC 3339 in UTC or null. ``state``
is ``pending``, ``running``, or how it ended.

Errors: ``call_not_found``, ``call_pending`` for the result of a call that has not ended, ``call_forgotten``.
"""

from __future__ import annotations

from typing import Final

SHOW: Final = "show"
RESULT: Final = "result"
CANCEL: Final = "cancel"
SKIP: Final = "skip"
RETRY: Final = "retry"
REDRIVE: Final = "redrive"
PAUSE: Final = "pause"
RESUME: Final = "resume"
LIST: Final = "list"
FORGET: Final = "forget"

OWNERS_VERBS: Final = frozenset({SHOW, RESULT, CANCEL})
"""Verbs of the client that submitted the call. The others are for operators."""
