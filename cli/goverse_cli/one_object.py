"""Restoring one object in place: by this process if no server uses the data directory, else by that server."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from goverse.errors import RestoreRefused, StoreFailed, UnknownType
from goverse.model.keys import ObjectKey, check_id, check_namespace
from goverse.model.records import CommitRecord
from goverse_cli.failure import ExitCode, Failure, failure_of
from goverse_cli.invocation import Invocation
from goverse_cli.owner_of_data import admin_authorization, at_rest_or_asked
from goverse_cli.terminal import progress, show


def restore_object(
    invocation: Invocation, directory: Path, name: tuple[str, str, str], *, as_of: str, url: str
) -> None:
    """Give an object the state that it had at ``as_of``, a position or a timestamp.

    Raises:
        RestoreRefused: that state is no longer stored, or the object did not exist then.
        Failure: ``as_of`` is neither, the type is unknown, or the server that uses the directory is unreachable.
    """
    key = ObjectKey(check_namespace(name[0]), name[1], check_id(name[2]))
    point = _point(as_of)
    body = {**key._asdict(), **point}
    authorization, path = admin_authorization(invocation, directory), "/admin/restore-object"
    try:
        made = at_rest_or_asked(lambda: _at_rest(invocation, directory, key, point), url, path, authorization, body)
    except (UnknownType, RestoreRefused, Failure) as error:
        raise refused_as_usage(error) from error
    text = f"{key} has the state of version {made['from_version']} again, as version {made['version']}"
    show(invocation, made, text)


def refused_as_usage(error: Exception) -> Failure:
    """Convert ``error`` to a failure. An unknown type, a time in the future and a non-empty target are usage errors."""
    failure = failure_of(error)
    document = failure.document or {}
    unusable_point = document.get("code") == RestoreRefused.code and document.keys() & {"now", "into"}
    if document.get("code") == UnknownType.code or unusable_point:
        failure.exit_code = ExitCode.USAGE
    return failure


def _at_rest(invocation: Invocation, directory: Path, key: ObjectKey, point: dict[str, int]) -> dict[str, Any]:
    from goverse_node.stores.wal.history import PastObject, object_at  # noqa: PLC0415 - only this command needs it
    from goverse_node.stores.wal.store import WalStore  # noqa: PLC0415 - as above

    async def work(past: PastObject) -> dict[str, Any]:
        store = WalStore(directory, create=False, serves=False)
        await store.open()
        try:
            present = store.load(key)
            expected = present.version if present is not None else 0
            now_ms = time.time_ns() // 1_000_000
            fields = (key, expected, expected + 1, past.state, past.state_version, now_ms)
            record = CommitRecord(*fields, creation=past.creation)
            [outcome] = await store.commit([record])
        finally:
            await store.close()
        if not isinstance(outcome, int):
            raise StoreFailed(f"{key} was not restored: {outcome.reason}")
        return {
            "version": expected + 1,
            "commit_seq": str(outcome),
            "from_version": past.version,
            "from_commit_seq": str(past.commit_seq),
        }

    with progress(invocation) as report:
        past = object_at(
            directory, key, to_seq=point.get("to_seq"), to_time_ms=point.get("to_time_ms"), progress=report
        )
    return asyncio.run(work(past))


def _point(as_of: str) -> dict[str, int]:
    if as_of.isascii() and as_of.isdecimal():
        return {"to_seq": int(as_of)}
    return {"to_time_ms": milliseconds("--as-of", as_of, or_position=True)}


def milliseconds(option: str, text: str, *, or_position: bool = False) -> int:
    """Parse an ISO 8601 timestamp and return it in milliseconds since 1970; without an offset it is local time.

    Args:
        option: option that the text was given to, for the error.
        text: timestamp.
        or_position: True if the option also takes a position, so that the error mentions it.

    Raises:
        Failure: ``text`` is not a timestamp.
    """
    try:
        at = datetime.fromisoformat(text).astimezone(UTC)
    except (OverflowError, ValueError) as error:
        what, how = (
            ("neither a position nor a timestamp", "give a commit_seq, for example 4711, or a timestamp, for example")
            if or_position
            else ("not a timestamp", "give a timestamp, for example")
        )
        raise Failure(
            f"{option}: {text!r} is {what}", hint=f"{how} 2026-11-21T09:30:00Z", exit_code=ExitCode.USAGE
        ) from error
    return max(0, round(at.timestamp() * 1000))
