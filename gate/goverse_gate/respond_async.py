"""``Prefer: respond-async``: a call that is answered with 202 as soon as it is durable, and carried out afterwards.

With ``wait=N`` the response is the result, as without the preference, if the call ends within N seconds.
"""

from __future__ import annotations

import math
from typing import Any, Final
from urllib.parse import quote

import orjson

from goverse.errors import GoverseError
from goverse.model import call_verbs
from goverse.model.frames import Reply
from goverse.model.keys import ObjectKey
from goverse_gate.call_requests import Caller, CallRequests
from goverse_gate.exchange import JSON, NO_STORE
from goverse_gate.guard import Header, Headers
from goverse_gate.preferences import Deferral
from goverse_gate.problems import RETRY_AFTER_S

_UNENDED: Final = frozenset({"pending", "running"})


class RespondAsync:
    """Answers submissions that a node has accepted."""

    def __init__(self, requests: CallRequests) -> None:
        """Ask about the submitted calls with ``requests``."""
        self._requests = requests

    async def result(self, caller: Caller, sender: ObjectKey, accepted: Reply, deferral: Deferral) -> Reply | None:
        """Return the result of a submitted call if it ends within ``deferral.wait_s``, else None.

        The body of ``accepted`` becomes the latest known status. The call is durable, so an error of these requests is
        no error of the call.
        """
        if not deferral.wait_s:
            return None
        call_id = orjson.loads(accepted.body)["id"]
        try:
            shown = await self._requests.show(caller, sender, call_id, deferral.wait_s)
            if shown.problem is not None:
                return None
            accepted.body, state = shown.body, orjson.loads(shown.body)["state"]
            if state in _UNENDED:
                return None
            found = await self._requests.ask(caller, call_verbs.RESULT, sender, {"id": call_id})
        except GoverseError:
            return None
        is_lost = found.problem is not None and (state == "success" or found.problem.executed is not None)
        return None if is_lost else found

    async def accept(self, caller: Caller, accepted: Reply, deferral: Deferral) -> None:
        """Answer with 202 and the status of the call."""
        exchange = caller.exchange
        status: dict[str, Any] = orjson.loads(accepted.body)
        accepted.version = 0  # no ETag: it would be that of the object before the call
        headers: Headers = [
            JSON,
            NO_STORE,
            (b"location", location(exchange.raw_path, status["id"])),
            applied(deferral),
            (b"retry-after", b"%d" % max(RETRY_AFTER_S, math.ceil(deferral.delay_ms / 1000))),
        ]
        await exchange.answer_reply(202, accepted, headers)


def applied(deferral: Deferral) -> Header:
    """Return the header that names the preferences which the response takes into account."""
    wait = b", wait=%d" % deferral.wait_s if deferral.wait_s else b""
    return (b"preference-applied", b"respond-async" + wait)


def location(path: bytes, call_id: str) -> bytes:
    """Return the path of a call, under the same version of the API as the path of a request."""
    prefix = b"/v1" if path.startswith(b"/v1/") else b""
    return prefix + b"/calls/" + quote(call_id, safe="").encode("ascii")
