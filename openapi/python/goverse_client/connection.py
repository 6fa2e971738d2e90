"""HTTP transport of both clients: the target, the settings of httpx, and the translation of its failures."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import anyio
import httpx

from goverse_client import streams
from goverse_client.exchange import Answer, Lost, Outcome, Send, Unusable
from goverse_client.retries import RetryPolicy

CONNECT_TIMEOUT_S: Final = 5.0
_TOO_LONG: Final = Lost("the response took too long", sent=True)
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"(?:[!-~](?:[\t -~]*[!-~])?)?")
_USER: Final = re.compile(r"//.*@", re.DOTALL)
_UNSENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@dataclass(frozen=True, slots=True)
class Target:
    """The gate's URL and the settings of connections to it.

    Attributes:
        url: the URL of the gate, for example ``https://gate.example``. It can include the path prefix of a proxy.
        retries: the retry policy.
        headers: headers for every request, for example ``authorization``.
        verify: the certificates to trust. True uses the authorities of the system.
        connections_max: the largest number of open connections.
        answer_bytes_max: the largest response body that is read. Results of a gate have at most 4 MiB by default.
    """

    url: str
    retries: RetryPolicy = field(default_factory=RetryPolicy)
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    verify: ssl.SSLContext | bool = True
    connections_max: int = 100
    answer_bytes_max: int = 16 * 1024 * 1024

    def __post_init__(self) -> None:
        """Check the URL and the headers.

        Raises:
            ValueError: the URL or a header is invalid.
        """
        for name, value in self.headers.items():
            if _NAME.fullmatch(name) is None or _VALUE.fullmatch(value) is None:  # the value may be secret
                raise ValueError(f"invalid header {name!r}: its name and value must be printable ASCII")
        try:
            parsed = httpx.URL(self.url)
        except httpx.InvalidURL:
            parsed = httpx.URL()
        if parsed.scheme not in ("http", "https") or not parsed.host:
            shown = _USER.sub("//********@", self.url)
            raise ValueError(f"invalid gate URL {shown!r}; expected, for example, https://gate.example")

    def settings(self) -> dict[str, Any]:
        """Return the arguments for an httpx client."""
        return {
            "headers": dict(self.headers),
            "verify": self.verify,
            "limits": httpx.Limits(max_connections=self.connections_max, max_keepalive_connections=None),
            "follow_redirects": False,
            "trust_env": True,
        }

    def request(self, client: httpx.AsyncClient | httpx.Client, send: Send) -> httpx.Request:
        """Return the HTTP request of one attempt."""
        base = httpx.URL(self.url)
        # As ``raw_path``, because httpx would normalise an id such as ".."
        raw_path = base.raw_path.rstrip(b"/") + send.path.encode("ascii")
        timeout = httpx.Timeout(send.timeout_s, connect=min(send.timeout_s, CONNECT_TIMEOUT_S))
        return client.build_request(
            send.method,
            base.copy_with(raw_path=raw_path),
            headers={**send.headers, "accept-encoding": "identity"},
            content=send.body,
            timeout=timeout,
        )


async def send_async(client: httpx.AsyncClient, target: Target, send: Send) -> Outcome:
    """Send a request and read the response, within ``send.timeout_s`` and ``target.answer_bytes_max``."""
    request = target.request(client, send)
    request.extensions["trace"] = streams.trace_async
    body = bytearray()
    try:
        # httpx has a timeout for each read, but not for the whole response
        with anyio.fail_after(send.timeout_s), streams.reading() as reads:
            response = await client.send(request, stream=True)
            try:
                refused = _refused(response, reads)
                if refused is None:
                    async for piece in response.aiter_raw():
                        body += piece
                        if len(body) > target.answer_bytes_max:
                            return _too_large(response, target)
            finally:
                await response.aclose()
    except httpx.HTTPError as error:
        return _lost(error)
    except TimeoutError:
        return _TOO_LONG
    return refused or Answer(response.status_code, response.headers, bytes(body))


def send_sync(client: httpx.Client, target: Target, send: Send) -> Outcome:
    """Send a request and read the response, within ``send.timeout_s`` and ``target.answer_bytes_max``.

    While connecting, the timeout is not enforced: the name lookup has no limit, and each address of the host is tried
    for up to ``CONNECT_TIMEOUT_S``.
    """
    request = target.request(client, send)
    request.extensions["trace"] = streams.trace_sync
    body = bytearray()
    try:
        with streams.within(send.timeout_s), streams.reading() as reads:
            response = client.send(request, stream=True)
            try:
                refused = _refused(response, reads)
                if refused is None:
                    for piece in response.iter_raw():
                        body += piece
                        if len(body) > target.answer_bytes_max:
                            return _too_large(response, target)
            finally:
                response.close()
    except httpx.HTTPError as error:
        return _lost(error)
    except TimeoutError:
        return _TOO_LONG
    return refused or Answer(response.status_code, response.headers, bytes(body))


async def pause_async(seconds: float) -> None:
    """Sleep for ``seconds``."""
    await anyio.sleep(seconds)


def pause_sync(seconds: float) -> None:
    """Sleep for ``seconds``."""
    time.sleep(seconds)


def _refused(response: httpx.Response, reads: streams.Reads) -> Unusable | None:
    """Return the reason for rejecting a response before its body is read, or None.

    The connection of a rejected response is closed and not reused.
    """
    if not reads.count:
        reason = "the response arrived before the request was sent, so it belongs to another request"
        return Unusable(reason, response.status_code)
    encoding = response.headers.get("content-encoding", "identity")
    if encoding.strip().lower() not in ("", "identity"):
        reason = f"the response has the content encoding {encoding[:50]!r}, which the client did not request"
        return Unusable(reason, response.status_code)
    return None


def _too_large(response: httpx.Response, target: Target) -> Unusable:
    limit = target.answer_bytes_max
    return Unusable(f"the response is larger than {limit} bytes (answer_bytes_max)", response.status_code)


def _lost(error: httpx.HTTPError) -> Lost:
    reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return Lost(reason, not isinstance(error, _UNSENT))
