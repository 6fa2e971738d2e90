"""What both clients have in common: the address, the settings of the HTTP client, and how its failures are read."""

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
_TOO_LONG: Final = Lost("the answer took too long", sent=True)
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"(?:[!-~](?:[\t -~]*[!-~])?)?")
_UNSENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a gate is, and how to speak to it.

    Attributes:
        url: of the gate, for example ``https://gate.example``; it may have a path that a proxy puts in front.
        retries: when requests are sent again.
        headers: sent with every request, for example ``authorization``.
        verify: which certificates to trust: True takes the system's authorities.
        connections_max: open at one time.
        answer_bytes_max: the largest body that is read; a gate's results have at most 4 MiB unless it is configured
            otherwise.
    """

    url: str
    retries: RetryPolicy = field(default_factory=RetryPolicy)
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    verify: ssl.SSLContext | bool = True
    connections_max: int = 100
    answer_bytes_max: int = 16 * 1024 * 1024

    def __post_init__(self) -> None:
        """Check the address and the headers.

        Raises:
            ValueError: one is none.
        """
        for name, value in self.headers.items():
            if _NAME.fullmatch(name) is None or _VALUE.fullmatch(value) is None:  # the value may be secret
                raise ValueError(f"the header {name!r} cannot be sent: its name or its value is not plain ASCII")
        parsed = httpx.URL(self.url)
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise ValueError(f"{self.url!r} is no address of a gate; write for example https://gate.example")

    def settings(self) -> dict[str, Any]:
        """Return what an HTTP client is made with."""
        return {
            "headers": dict(self.headers),
            "verify": self.verify,
            "limits": httpx.Limits(max_connections=self.connections_max, max_keepalive_connections=None),
            "follow_redirects": False,
            "trust_env": True,
        }

    def request(self, client: httpx.AsyncClient | httpx.Client, send: Send) -> httpx.Request:
        """Return what leaves for one attempt."""
        base = httpx.URL(self.url)
        # The path as it is: an id such as ".." must reach the gate
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
    """Send a request; wait no longer than its ``timeout_s`` for the whole of the answer, and read no more than it may
    have."""
    request = target.request(client, send)
    request.extensions["trace"] = streams.trace_async
    body = bytearray()
    try:
        # An HTTP client bounds each read, not all of them together
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
    """Send a request; wait no longer than its ``timeout_s`` for the whole of the answer, and read no more than it may
    have.

    Only a name is looked up, and each of its addresses tried for at most ``CONNECT_TIMEOUT_S``, before that is noticed.
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
    """Wait."""
    await anyio.sleep(seconds)


def pause_sync(seconds: float) -> None:
    """Wait."""
    time.sleep(seconds)


def _refused(response: httpx.Response, reads: streams.Reads) -> Unusable | None:
    """Return why the body of an answer is not read, if it is not; its connection is then closed, not used again."""
    if not reads.count:
        return Unusable("the answer came before the request was sent: it belongs to another one", response.status_code)
    encoding = response.headers.get("content-encoding", "identity")
    if encoding.strip().lower() not in ("", "identity"):
        return Unusable(f"the answer is encoded as {encoding[:50]!r}, which was not asked for", response.status_code)
    return None


def _too_large(response: httpx.Response, target: Target) -> Unusable:
    limit = target.answer_bytes_max
    return Unusable(f"the answer has more than {limit} bytes (answer_bytes_max)", response.status_code)


def _lost(error: httpx.HTTPError) -> Lost:
    reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return Lost(reason, not isinstance(error, _UNSENT))
