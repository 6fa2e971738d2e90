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

A page is ``{"items", "cursor"}``, and its items are calls: first those that have not ended, then the others, the
newest end first. It can have fewer items than ``limit``, and even none; ``cursor`` is null after the last one. ``type``
is that of the receivers. Any key of the namespace will do for ``list`` and ``forget``. A node knows the live state of
the calls whose senders it serves; other calls that have not ended are listed as ``pending``.

``forget`` removes ended calls, the oldest first, and never a pending one; with ``dry_run`` it counts them. It removes
at most ``limit`` at a time, so it is repeated until it returns 0.

A call is ``{"id", "sender", "receiver", "method", "state", "attempts", "sent_at", "expires_at", "next_attempt_at",
"waits_for", "finished_at", "problem"}``. Objects are ``{"type", "id"}``, times are RFC 3339 in UTC or null, and
``problem`` is ``{"code", "detail", "retryable"}`` or null. ``state`` is ``pending``, ``running``, or how it ended.

``retry`` delivers a call now that is delayed, held or waits for an attempt; any other stays as it is.

``show``, ``result`` and ``cancel`` are for the subject that submitted the call; to others it does not exist. ``cancel``
and ``skip`` of a call that has ended change nothing, and return it as it is. ``redrive`` of a dead letter that was sent
again returns the same id.

Errors:

* ``call_not_found``: no such call is pending, and no outcome is kept. A call that ended long ago looks like one that
  never was, because its id is not kept either. So there is no ``call_forgotten`` here; nodes use it between themselves.
* ``call_pending``: the result of a call that has not ended.
* ``conflict``: a redrive of a call that is no dead letter.
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
