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

from goverse_client import deadline
from goverse_client.exchange import Answer, Lost, Send
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
    """

    url: str
    retries: RetryPolicy = field(default_factory=RetryPolicy)
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    verify: ssl.SSLContext | bool = True
    connections_max: int = 100

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
            headers=dict(send.headers),
            content=send.body,
            timeout=timeout,
        )


async def send_async(client: httpx.AsyncClient, request: httpx.Request, timeout_s: float) -> Answer | Lost:
    """Send a request; wait no longer than ``timeout_s`` for the whole of the answer."""
    try:
        with anyio.fail_after(timeout_s):  # an HTTP client bounds each read, not all of them together
            return _answer_of(await client.send(request))
    except httpx.HTTPError as error:
        return _lost(error)
    except TimeoutError:
        return _TOO_LONG


def send_sync(client: httpx.Client, request: httpx.Request, timeout_s: float) -> Answer | Lost:
    """Send a request; wait no longer than ``timeout_s`` for the whole of the answer.

    Only a name is looked up, and each of its addresses tried for at most ``CONNECT_TIMEOUT_S``, before that is noticed.
    """
    request.extensions["trace"] = deadline.trace
    try:
        with deadline.within(timeout_s):
            return _answer_of(client.send(request))
    except httpx.HTTPError as error:
        return _lost(error)
    except TimeoutError:
        return _TOO_LONG


async def pause_async(seconds: float) -> None:
    """Wait."""
    await anyio.sleep(seconds)


def pause_sync(seconds: float) -> None:
    """Wait."""
    time.sleep(seconds)


def _answer_of(response: httpx.Response) -> Answer:
    return Answer(response.status_code, response.headers, response.content)


def _lost(error: httpx.HTTPError) -> Lost:
    reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return Lost(reason, not isinstance(error, _UNSENT))
