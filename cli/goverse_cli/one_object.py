"""Restoring one object in its place: by this process where no server uses the data, else by the server."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from goverse.errors import StoreFailed
from goverse.model.keys import ObjectKey, check_id, check_namespace
from goverse.model.records import CommitRecord
from goverse_cli.failure import ExitCode, Failure
from goverse_cli.invocation import Invocation
from goverse_cli.owner_of_data import admin_authorization, at_rest_or_asked
from goverse_cli.terminal import progress, show


def restore_object(
    invocation: Invocation, directory: Path, name: tuple[str, str, str], *, as_of: str, url: str
) -> None:
    """Give an object the state that it had at ``as_of``, a position or a time.

    Raises:
        RestoreRefused: that state is not kept any more, or the object did not exist then.
        Failure: ``as_of`` is neither, or the server that uses the directory cannot be reached.
    """
    key = ObjectKey(check_namespace(name[0]), name[1], check_id(name[2]))
    point = {"to_seq": int(as_of)} if as_of.isdecimal() else {"to_time_ms": milliseconds("--as-of", as_of)}
    body = {**key._asdict(), **point}
    authorization, path = admin_authorization(invocation, directory), "/admin/restore-object"
    made = at_rest_or_asked(lambda: _at_rest(invocation, directory, key, point), url, path, authorization, body)
    text = f"{key} has the state of version {made['from_version']} again, as version {made['version']}"
    show(invocation, made, text)


def _at_rest(invocation: Invocation, directory: Path, key: ObjectKey, point: dict[str, int]) -> dict[str, Any]:
    from goverse_node.stores.wal.history import PastObject, object_at  # noqa: PLC0415 - only this command needs it
    from goverse_node.stores.wal.store import WalStore  # noqa: PLC0415 - as above

    async def work(past: PastObject) -> dict[str, Any]:
        store = WalStore(directory, create=False)
        await store.open()
        try:
            present = store.load(key)
            expected = present.version if present is not None else 0
            now_ms = time.time_ns() // 1_000_000
            creation = present.creation if present is not None else None
            record = CommitRecord(
                key, expected, expected + 1, past.state, past.state_version, now_ms, creation=creation
            )
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


def milliseconds(option: str, text: str) -> int:
    """Return a time as milliseconds since 1970.

    Raises:
        Failure: it is not a time.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise Failure(
            f"{option}: {text!r} is not a time", hint="write it like 2026-11-21T09:30:00Z", exit_code=ExitCode.USAGE
        ) from error
    return round(at.astimezone(UTC).timestamp() * 1000)
