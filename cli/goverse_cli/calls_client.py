"""Requests of ``goverse calls`` to a server, and how calls are shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlencode

import orjson
import typer

from goverse_cli.invocation import Invocation
from goverse_cli.owner_of_data import admin_authorization
from goverse_cli.printable import line
from goverse_cli.trust import Trust

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        help="Data directory of the server, whose admin token is used. Default: the setting wal.data_dir, .goverse.",
        show_default=False,
    ),
]
"""The ``--data-dir`` option. With the setting gate.admin_token_file it is not needed."""

_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Target:
    """The server that is asked, as the command line names it."""

    url: str
    namespace: str | None
    data_dir: Path | None
    trust: Trust


class CallsClient:
    """Sends requests about reliable calls with the admin token."""

    def __init__(self, invocation: Invocation, target: Target) -> None:
        """Prepare requests. Nothing is sent yet.

        Raises:
            Failure: the URL is invalid, or a certificate cannot be used.
        """
        from goverse_cli.server_client import ServerClient  # noqa: PLC0415 - keeps commands without HTTP fast

        self._server = ServerClient(target.url, timeout_s=_TIMEOUT_S, trust=target.trust)
        directory = target.data_dir or invocation.settings({}).values.wal.data_dir
        self._headers = admin_authorization(invocation, directory)
        if target.namespace is not None:
            self._headers["goverse-namespace"] = target.namespace

    def get(self, path: str, query: Mapping[str, str | int | None]) -> dict[str, Any]:
        """Return a document; members of ``query`` that are None are left out.

        Raises:
            Failure: the server is unreachable or refuses the request.
        """
        return self._ask("GET", path + _query(query), None)

    def result(self, call_id: str, sender: str | None) -> bytes:
        """Return the stored response of a call that succeeded.

        Raises:
            Failure: the server is unreachable or refuses the request, or the call ended with an error.
        """
        path = call_at(call_id, "/result") + _query({"sender": sender})
        return self._server.request("GET", path, headers=self._headers).content

    def post(self, path: str, fields: Mapping[str, Any], query: Mapping[str, str | None] = {}) -> dict[str, Any]:
        """Send a request with JSON fields; those that are None are left out.

        Raises:
            Failure: the server is unreachable or refuses the request.
        """
        body = orjson.dumps({name: value for name, value in fields.items() if value is not None})
        return self._ask("POST", path + _query(query), body)

    def delete(self, path: str, query: Mapping[str, str | None]) -> None:
        """Send a DELETE request.

        Raises:
            Failure: the server is unreachable or refuses the request.
        """
        self._server.request("DELETE", path + _query(query), headers=self._headers)

    def _ask(self, method: str, path: str, body: bytes | None) -> dict[str, Any]:
        headers = self._headers | ({} if body is None else {"content-type": "application/json"})
        return dict(orjson.loads(self._server.request(method, path, body=body, headers=headers).content))


def call_at(call_id: str, action: str = "", *, among: str = "calls") -> str:
    """Return the path of a call, or of an action on it; ``among`` is the collection that the call is in."""
    return f"/{among}/{quote(call_id, safe='')}{action}"


def summary(call: Mapping[str, Any]) -> str:
    """Return one line about a call: its id, its state, who calls what, and why it waits or failed."""
    sender, receiver, problem = call["sender"], call["receiver"], call["problem"]
    found = f"{call['id']}  {call['state']}  {receiver['type']}/{receiver['id']}.{call['method']}"
    if sender != receiver:
        found += f" from {sender['type']}/{sender['id']}"
    if call["attempts"]:
        found += f", attempt {call['attempts']}"
    if call["waits_for"]:
        found += f", {call['waits_for']}"
    if problem is not None:
        found += f", {problem['code']}: {problem['detail']}"
    return line(found)


def _query(members: Mapping[str, str | int | None]) -> str:
    given = {name: value for name, value in members.items() if value is not None}
    return f"?{urlencode(given)}" if given else ""
