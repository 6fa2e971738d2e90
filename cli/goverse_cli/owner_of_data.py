"""Work on a data directory, done here, or by the server that uses the directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from goverse.errors import StoreLocked
from goverse_cli.failure import ExitCode, Failure
from goverse_cli.invocation import Invocation

_SERVER_TIMEOUT_S = 600.0


def admin_authorization(invocation: Invocation, directory: Path) -> dict[str, str]:
    """Return the header with the admin token of the server that holds ``directory``, if its file can be read."""
    from goverse_cli.gate_options import admin_token_file  # noqa: PLC0415 - other commands start faster without

    path = admin_token_file(invocation.settings({}).values, directory)
    try:
        return {"authorization": f"Bearer {path.read_text('utf-8').strip()}"}
    except (OSError, UnicodeError):
        return {}  # the server says that it needs one


def at_rest_or_asked(
    at_rest: Callable[[], dict[str, Any]],
    url: str,
    path: str,
    authorization: dict[str, str],
    body: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Do it here, or send it to the server that holds the directory, with its admin token.

    Raises:
        Failure: the server cannot be reached, or refuses.
    """
    try:
        return at_rest()
    except StoreLocked as locked:
        try:
            from goverse_cli.server import Server  # noqa: PLC0415 - other commands start faster without

            content = orjson.dumps(body) if body is not None else None
            headers = {**authorization, **({"content-type": "application/json"} if body is not None else {})}
            answer = Server(url, timeout_s=_SERVER_TIMEOUT_S).request("POST", path, body=content, headers=headers)
        except Failure as failure:
            if failure.document is not None:
                raise
            raise Failure(
                f"{locked.detail}; and the server that was asked to do it did not: {failure.message}",
                hint="name the server that uses the directory with --url, or stop it",
                exit_code=ExitCode.UNAVAILABLE,
            ) from failure
        return dict(orjson.loads(answer.content))
