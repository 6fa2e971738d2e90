"""A running server, as commands talk to it over HTTP."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any, cast
from urllib.parse import quote

import httpx

from goverse.model.json_values import decode
from goverse_cli.failure import ExitCode, Failure
from goverse_cli.invocation import DEFAULT_URL
from goverse_cli.printable import line
from goverse_cli.trust import Trust, distrust

_CONNECT_TIMEOUT_S = 5.0
_ANSWER_BYTES_MAX = 64 * 1024 * 1024
_SERVER_ERROR = 500
_SERVICE_UNAVAILABLE = 503
_READ_MARGIN_S = 5.0  # the server answers `timeout` itself; this is for a server that says nothing at all


class Server:
    """Requests to one server; whatever goes wrong is a ``Failure`` that says what to do."""

    def __init__(self, url: str, *, timeout_s: float, trust: Trust = Trust()) -> None:  # noqa: B008 - it is frozen
        """Talk to the server at ``url``; nothing is sent yet.

        Raises:
            Failure: it is no URL, or a certificate is of no use.
        """
        self._url = url.rstrip("/")
        try:
            parsed = httpx.URL(self._url)
        except httpx.InvalidURL as error:
            raise Failure(f"{url!r} is no URL: {error}", exit_code=ExitCode.USAGE) from error
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise Failure(f"{url!r} is no URL like {DEFAULT_URL}", exit_code=ExitCode.USAGE)
        self._timeout = httpx.Timeout(timeout_s + _READ_MARGIN_S, connect=_CONNECT_TIMEOUT_S)
        self._secure = parsed.scheme == "https"
        self._verify = trust.context() if self._secure else True
        self._proxied = not _is_local(parsed.host)

    def request(
        self, method: str, path: str, *, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """Send a request and return a successful answer.

        Raises:
            Failure: the server cannot be reached, breaks off, or answers with a problem.
        """
        url = f"{self._url}{path}"
        sent = {**(headers or {}), "accept-encoding": "identity"}
        try:
            # A proxy from the environment would not find this machine's own servers.
            with (
                httpx.Client(timeout=self._timeout, trust_env=self._proxied, verify=self._verify) as client,
                client.stream(method, url, content=body, headers=sent) as answer,
            ):
                content = self._content(answer)
        except httpx.ConnectError as error:
            raise self._distrusted(error) or self._unreachable(error) from error
        except httpx.ConnectTimeout as error:
            raise self._unreachable(error) from error
        except httpx.TimeoutException as error:
            raise Failure(
                f"{self._url} did not answer in time; whether the request took effect is unknown",
                hint=_AGAIN,
                exit_code=ExitCode.UNAVAILABLE,
            ) from error
        except httpx.TransportError as error:
            raise self._distrusted(error) or Failure(
                f"the connection to {self._url} broke ({error}); whether the request took effect is unknown",
                hint=f"{_AGAIN}; {_SHOW if self._secure else _SECURE}",
                exit_code=ExitCode.UNAVAILABLE,
            ) from error
        answer = httpx.Response(answer.status_code, headers=answer.headers, content=content, request=answer.request)
        if answer.is_success:
            return answer
        raise _problem(answer)

    def _content(self, answer: httpx.Response) -> bytes:
        """Read the body of an answer, which a broken server may never end, up to its limit."""
        encoding = answer.headers.get("content-encoding", "identity")
        if encoding.strip().lower() != "identity":
            raise Failure(
                f"{self._url} answered with the encoding {line(encoding[:50])!r}, which was not asked for",
                hint="see whether --url names the right server",
            )
        content = bytearray()
        for piece in answer.iter_raw():
            content += piece
            if len(content) > _ANSWER_BYTES_MAX:
                raise Failure(
                    f"the answer of {self._url} has more than {_ANSWER_BYTES_MAX} bytes; whether the request took "
                    "effect is unknown",
                    hint="see whether --url names the right server",
                )
        return bytes(content)

    def _distrusted(self, error: Exception) -> Failure | None:
        """Return the failure of a handshake, if it is one: then nothing was carried out."""
        reason = distrust(error)
        if reason is None:
            return None
        words = reason.lower().replace("_", " ")
        if "wrong version number" in words or "record layer failure" in words:
            hint = "where the server speaks plain HTTP, name it with http://"
        elif "alert" in words:
            hint = "the server refuses what this command shows: give it a certificate with --cert and --cert-key"
        else:
            hint = "name the authority of the server's certificate with --ca, and the server as its certificate does"
        return Failure(f"no trusted connection to {self._url}: {words}", hint=hint, exit_code=ExitCode.UNAVAILABLE)

    def _unreachable(self, error: Exception) -> Failure:
        return Failure(
            f"no server answers at {self._url} ({error})",
            hint="start one with: goverse dev app.py    or name another one with --url",
            exit_code=ExitCode.UNAVAILABLE,
        )


_AGAIN = "with --key K the same command can be repeated safely: it takes effect once"
_SHOW = "where the server asks for a certificate, show one with --cert and --cert-key (its log says what it refuses)"
_SECURE = "where the server speaks TLS, name it with https://"


def call_path(type_name: str, object_id: str, method: str) -> str:
    """Return the path of a method of an object; the id may hold any character."""
    type_part, id_part, method_part = (quote(part, safe="") for part in (type_name, object_id, method))
    return f"/objects/{type_part}/{id_part}/call/{method_part}"


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _problem(answer: httpx.Response) -> Failure:
    """Return the failure that a problem document describes, or any other answer that is no success."""
    document = _json_object(answer)
    if document is None:
        return Failure(
            f"{answer.url} answered {answer.status_code} {answer.reason_phrase}, and not as a GoVerse server does",
            hint="see whether --url names the right server",
        )
    code, detail = line(str(document.get("code", ""))), line(str(document.get("detail", "")))
    errors: object = document.get("errors")
    items = cast("list[object]", errors) if isinstance(errors, list) else []
    found = [cast("dict[str, object]", item) for item in items if isinstance(item, dict)]
    fields = [f"\n  {line(str(item.get('path') or '/'))}: {line(str(item.get('message')))}" for item in found]
    exit_code = ExitCode.UNAVAILABLE if answer.status_code == _SERVICE_UNAVAILABLE else ExitCode.FAILED
    hint = "this may pass: try again, with the same --key if you gave one" if document.get("retryable") else ""
    request_id = line(str(document.get("request_id") or ""))
    name = f", request {request_id}" if request_id and answer.status_code >= _SERVER_ERROR else ""  # for the log
    message = f"{detail} ({answer.status_code} {code}{name})" + "".join(fields)
    return Failure(message, hint=hint, exit_code=exit_code, document=document)


def _json_object(answer: httpx.Response) -> dict[str, Any] | None:
    try:
        found = decode(answer.content)
    except ValueError:
        return None
    return cast("dict[str, Any]", found) if isinstance(found, dict) and "code" in found else None
