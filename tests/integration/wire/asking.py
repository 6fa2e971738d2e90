"""Short forms for calls to a ledger over any link."""

from __future__ import annotations

import asyncio
import itertools
from asyncio import Future
from typing import Any

import orjson

from goverse.model.frames import Operation, Reply, Request
from goverse.model.keys import ObjectKey
from goverse.ports.link import Link

_numbers = itertools.count(1)


def ask(link: Link, method: str, object_id: str = "a", *, timeout_s: float = 20.0, **further: Any) -> Future[Reply]:
    """Send a call to a ledger."""
    arguments = further.pop("arguments", None)
    body = orjson.dumps(arguments) if arguments is not None else b""
    deadline = asyncio.get_running_loop().time() + timeout_s
    key = ObjectKey("default", "Ledger", object_id)
    return link.submit(Request(Operation.CALL, key, method, body, deadline, f"q{next(_numbers)}", **further))


def outcome(reply: Reply) -> tuple[str, str | None]:
    """Return the error code, or "", and the value of ``executed``, or None."""
    if reply.problem is None:
        return "", None
    known = reply.problem.executed
    return reply.problem.code, known.value if known else None
