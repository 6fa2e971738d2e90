"""Work on a data directory: done by this process, or by the server that holds the directory's lock."""

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
        return {}  # the server's refusal explains that a token is needed


def at_rest_or_asked(
    at_rest: Callable[[], dict[str, Any]],
    url: str,
    path: str,
    authorization: dict[str, str],
    body: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Run ``at_rest``, or send the request to the server that holds the directory, with its admin token.

    Raises:
        Failure: the server is unreachable or refuses the request.
    """
    try:
        return at_rest()
    except StoreLocked as locked:
        try:
            from goverse_cli.server_client import ServerClient  # noqa: PLC0415 - keeps other commands fast

            content = orjson.dumps(body) if body is not None else None
            headers = {**authorization, **({"content-type": "application/json"} if body is not None else {})}
            answer = ServerClient(url, timeout_s=_SERVER_TIMEOUT_S).request("POST", path, body=content, headers=headers)
        except Failure as failure:
            if failure.document is not None:
                raise
            raise Failure(
                f"{locked.detail}, and the request to that server failed: {failure.message}",
                hint="set --url to the server that uses the directory, or stop that server",
                exit_code=ExitCode.UNAVAILABLE,
            ) from failure
        return dict(orjson.loads(answer.content))
