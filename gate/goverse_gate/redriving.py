"""Bulk redrive: one page of dead letters, sent again.

A redrive of a letter that was sent again already returns the same new id, so a page that was interrupted can be
repeated without a second effect.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import orjson

from goverse.errors import GoverseError
from goverse.model import call_verbs
from goverse.model.frames import Problem
from goverse.model.keys import ObjectKey
from goverse_gate.call_requests import Caller, CallRequests, key_of_call

_AT_ONCE: Final = 16


async def redrive_page(
    requests: CallRequests, caller: Caller, filters: Mapping[str, Any], delay: Mapping[str, Any], *, dry_run: bool
) -> bytes | Problem:
    """Send the dead letters of one page again, and return ``{matched, redriven, failed, cursor}`` as JSON.

    Returns the problem if the page could not be listed.
    """
    namespace = caller.headers.namespace
    listed = await requests.ask(caller, call_verbs.LIST, key_of_call(namespace, "", None), {"state": "dead", **filters})
    if listed.problem is not None:
        return listed.problem
    found = orjson.loads(listed.body)
    letters: list[dict[str, Any]] = found["items"]
    room = asyncio.Semaphore(_AT_ONCE)

    async def redrive(letter: Mapping[str, Any]) -> dict[str, Any]:
        sender = ObjectKey(namespace, letter["sender"]["type"], letter["sender"]["id"])
        async with room:
            try:
                reply = await requests.ask(caller, call_verbs.REDRIVE, sender, {"id": letter["id"], **delay})
            except GoverseError as error:
                return _failed(letter, Problem.of(error))
        if reply.problem is not None:
            return _failed(letter, reply.problem)
        return {"id": letter["id"], "redriven_as": orjson.loads(reply.body)["id"]}

    ends = [] if dry_run else await asyncio.gather(*map(redrive, letters))
    page = {
        "matched": len(letters),
        "redriven": [end for end in ends if "problem" not in end],
        "failed": [end for end in ends if "problem" in end],
        "cursor": found["cursor"],
    }
    return orjson.dumps(page)


def _failed(letter: Mapping[str, Any], problem: Problem) -> dict[str, Any]:
    return {"id": letter["id"], "problem": {"code": problem.code, "detail": problem.detail}}
