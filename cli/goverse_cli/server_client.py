"""HTTP client of a running GoVerse server, for commands such as ``goverse call``."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any, cast
from urllib.parse import quote

import httpx

from goverse.model.json_values import decode
from goverse.settings.data_source import hide_passwords
from goverse_cli.failure import ExitCode, Failure
from goverse_cli.invocation import DEFAULT_URL
from goverse_cli.printable import line
from goverse_cli.trust import Trust, distrust

_CONNECT_TIMEOUT_S = 5.0
_ANSWER_BYTES_MAX = 64 * 1024 * 1024
_SERVER_ERROR = 500
_SERVICE_UNAVAILABLE = 503
_READ_MARGIN_S = 5.0  # the server reports `timeout` itself; the margin applies to a server that sends nothing


class ServerClient:
    """Client of one server. Every error is raised as a ``Failure`` with a hint.

    Attributes:
        shown: the URL of the server for messages, without user and password.
    """

    def __init__(self, url: str, *, timeout_s: float, trust: Trust = Trust()) -> None:  # noqa: B008 - it is frozen
        """Prepare requests to the server at ``url``. Nothing is sent yet.

        Raises:
            Failure: the URL is invalid, or a certificate cannot be used.
        """
        self._url = url.rstrip("/")
        try:
            parsed = httpx.URL(self._url)
        except httpx.InvalidURL as error:
            raise Failure(f"{hide_passwords(url)!r} is not a valid URL: {error}", exit_code=ExitCode.USAGE) from error
        if parsed.scheme not in ("http", "https") or not parsed.host:
            shown = hide_passwords(url)
            raise Failure(f"{shown!r} is not a valid URL; it must look like {DEFAULT_URL}", exit_code=ExitCode.USAGE)
        self.shown = shown_url(parsed)
        self._timeout = httpx.Timeout(timeout_s + _READ_MARGIN_S, connect=_CONNECT_TIMEOUT_S)
        self._secure = parsed.scheme == "https"
        self._verify = trust.context() if self._secure else True
        self._proxied = not _is_local(parsed.host)

    def request(
        self, method: str, path: str, *, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """Send a request and return a successful response.

        Raises:
            Failure: the server is unreachable, closes the connection, or responds with a problem.
        """
        url = f"{self._url}{path}"
        sent = {**(headers or {}), "accept-encoding": "identity"}
        try:
            # For a loopback address the proxy of the environment is ignored: it could not reach this machine.
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
                f"{self.shown} did not respond in time; the request may or may not have taken effect",
                hint=_AGAIN,
                exit_code=ExitCode.UNAVAILABLE,
            ) from error
        except httpx.TransportError as error:
            raise self._distrusted(error) or Failure(
                f"the connection to {self.shown} broke ({error}); the request may or may not have taken effect",
                hint=f"{_AGAIN}; {_SHOW if self._secure else _SECURE}",
                exit_code=ExitCode.UNAVAILABLE,
            ) from error
        answer = httpx.Response(answer.status_code, headers=answer.headers, content=content, request=answer.request)
        if answer.is_success:
            return answer
        raise _problem(answer)

    def _content(self, answer: httpx.Response) -> bytes:
        """Read the body of a response up to ``_ANSWER_BYTES_MAX``, in case a broken server never ends it."""
        encoding = answer.headers.get("content-encoding", "identity")
        if encoding.strip().lower() != "identity":
            raise Failure(
                f"{self.shown} sent the content encoding {line(encoding[:50])!r}, which this command did not accept",
                hint="check that --url is the URL of a GoVerse server",
            )
        content = bytearray()
        for piece in answer.iter_raw():
            content += piece
            if len(content) > _ANSWER_BYTES_MAX:
                raise Failure(
                    f"the response of {self.shown} is longer than {_ANSWER_BYTES_MAX} bytes; the request may or may "
                    "not have taken effect",
                    hint="check that --url is the URL of a GoVerse server",
                )
        return bytes(content)

    def _distrusted(self, error: Exception) -> Failure | None:
        """Return the failure if ``error`` is a failed TLS handshake, which means that nothing was executed."""
        reason = distrust(error)
        if reason is None:
            return None
        words = reason.lower().replace("_", " ")
        if "wrong version number" in words or "record layer failure" in words:
            hint = "if the server uses plain HTTP, use an http:// URL"
        elif "alert" in words:
            hint = "the server rejected the client certificate: set --cert and --cert-key"
        else:
            hint = "set --ca to the CA of the server's certificate, and use a host name that the certificate contains"
        return Failure(f"TLS handshake with {self.shown} failed: {words}", hint=hint, exit_code=ExitCode.UNAVAILABLE)

    def _unreachable(self, error: Exception) -> Failure:
        return Failure(
            f"no server answers at {self.shown} ({error})",
            hint="start one with: goverse dev app.py    or set --url to another server",
            exit_code=ExitCode.UNAVAILABLE,
        )


_AGAIN = "a call with --key can be repeated safely: it takes effect once"
_SHOW = "if the server requires a client certificate, set --cert and --cert-key (the server's log has the reason)"
_SECURE = "if the server uses TLS, use an https:// URL"


def call_path(type_name: str, object_id: str, method: str) -> str:
    """Return the path of a method of an object. The parts are percent-encoded, so the id may contain any character."""
    type_part, id_part, method_part = (quote(part, safe="") for part in (type_name, object_id, method))
    return f"/objects/{type_part}/{id_part}/call/{method_part}"


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def shown_url(url: httpx.URL) -> str:
    """Return a URL for a message: without user and password."""
    return str(url.copy_with(userinfo=b""))


def _problem(answer: httpx.Response) -> Failure:
    """Return the failure for a response that is not a success: a problem document, or anything else."""
    document = _json_object(answer)
    if document is None:
        return Failure(
            f"{shown_url(answer.url)} responded with {answer.status_code} {answer.reason_phrase}, not as a GoVerse "
            "server does",
            hint="check that --url is the URL of a GoVerse server",
        )
    code, detail = line(str(document.get("code", ""))), line(str(document.get("detail", "")))
    errors: object = document.get("errors")
    items = cast("list[object]", errors) if isinstance(errors, list) else []
    found = [cast("dict[str, object]", item) for item in items if isinstance(item, dict)]
    fields = [f"\n  {line(str(item.get('path') or '/'))}: {line(str(item.get('message')))}" for item in found]
    exit_code = ExitCode.UNAVAILABLE if answer.status_code == _SERVICE_UNAVAILABLE else ExitCode.FAILED
    hint = "the error may be temporary: retry, with the same --key if you used one" if document.get("retryable") else ""
    request_id = line(str(document.get("request_id") or ""))
    name = f", request {request_id}" if request_id and answer.status_code >= _SERVER_ERROR else ""
    message = f"{detail} ({answer.status_code} {code}{name})" + "".join(fields)
    return Failure(message, hint=hint, exit_code=exit_code, document=document)


def _json_object(answer: httpx.Response) -> dict[str, Any] | None:
    try:
        found = decode(answer.content)
    except ValueError:
        return None
    return cast("dict[str, Any]", found) if isinstance(found, dict) and "code" in found else None
