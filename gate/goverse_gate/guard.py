"""Protection against foreign web pages: checks of ``Host`` and ``Origin``, and CORS headers.

Every web page that a developer opens can send requests to a gate on the developer's machine. Each request is therefore
checked before it has any effect:

* ``Host`` must be allowed. A page that points its own host name to 127.0.0.1 (DNS rebinding) sends that name.
* ``Origin`` must be the gate's own host or an allowed origin, for every HTTP method.
* A cross-site request without ``Origin`` (image, script, frame) is denied. A link that opens in a tab is allowed.
* For browsers without ``Sec-Fetch`` headers, responses forbid frames of other origins (``frame_headers``).

The error names the setting that would allow the request.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from goverse.errors import AccessDenied, MalformedRequest
from goverse_gate.options import GateOptions

Header = tuple[bytes, bytes]
Headers = list[Header]

EXPOSED: Final = (
    b"ETag, GoVerse-Commit-Seq, GoVerse-Request-Id, Idempotency-Replayed, Location, Preference-Applied, Retry-After"
)
ALLOWED_METHODS: Final = b"GET, HEAD, POST, PUT, DELETE, OPTIONS"
ALLOWED_HEADERS: Final = (
    b"Authorization, Content-Type, GoVerse-Delay, GoVerse-Min-Seq, GoVerse-Namespace, GoVerse-Not-Before, "
    b"GoVerse-Request-Id, GoVerse-Timeout, Idempotency-Key, If-Match, If-None-Match, "
    b"Prefer, baggage, traceparent, tracestate, X-Request-Id"
)
PREFLIGHT_AGE_S: Final = b"600"
VARY_ORIGIN: Final[Header] = (b"vary", b"Origin")

_KNOWN_HOSTS_MAX: Final = 1_024  # bounds the cache: clients can send an allowed name with any of 65 535 ports
_SHOWN_MAX: Final = 64  # characters of a client's value in an error
_HOST: Final = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]+|[\x80-\xff]+)(:[0-9]*)?")


class Guard:
    """The checks of one gate. They use only the request headers.

    Attributes:
        vary: the ``Vary`` header, if responses depend on the origin.
        frame_headers: headers that control which pages may show a response in a frame.
        known_hosts: Host headers that passed ``check_host``.
    """

    def __init__(self, options: GateOptions) -> None:
        """Read the allowed hosts, origins and headers from ``options``."""
        self._any_host = "*" in options.allowed_hosts
        self._hosts = frozenset(host.lower() for host in options.allowed_hosts)
        self._any_origin = "*" in options.allowed_origins
        self._origins = frozenset(origin.lower().rstrip("/") for origin in options.allowed_origins)
        self.vary: tuple[Header, ...] = (VARY_ORIGIN,) if self._origins and not self._any_origin else ()
        self.frame_headers = _frame_headers(options.allowed_origins)
        self._allowed_headers = b", ".join(
            [ALLOWED_HEADERS, *(name.encode("ascii") for name in options.allowed_headers)]
        )
        self.known_hosts: set[bytes] = set()

    def check_host(self, host: bytes, http_version: str = "1.1") -> None:
        """Check that the Host header is allowed, and remember it.

        Raises:
            MalformedRequest: the Host header is invalid, or is missing in HTTP/1.1.
            AccessDenied: the host is not in ``gate.allowed_hosts``.
        """
        if host in self.known_hosts or not self.names_host(host, http_version):
            return
        name = host.strip(b" \t").decode("latin-1").lower()
        if not (self._any_host or name in self._hosts or _without_port(name) in self._hosts):
            raise AccessDenied(
                f"the host {_shown(name)} is not allowed; to allow it, add it to the setting gate.allowed_hosts",
                rule="host",
                setting="gate.allowed_hosts",
            )
        if len(self.known_hosts) < _KNOWN_HOSTS_MAX:
            self.known_hosts.add(host)

    @staticmethod
    def names_host(host: bytes, http_version: str) -> bool:
        """True if the request has a valid Host header; False if it has none, which only HTTP/1.0 allows.

        Raises:
            MalformedRequest: the Host header is invalid, or is missing in HTTP/1.1.
        """
        host = host.strip(b" \t")
        if not host:
            if http_version == "1.0":
                return False  # browsers do not send HTTP/1.0, so this is no web page
            raise MalformedRequest("the Host header is missing")
        if _HOST.fullmatch(host) is None:
            raise MalformedRequest("invalid Host header: expected a host name or address, and optionally a port")
        return True

    def check_page(self, method: str, host: bytes, headers: Mapping[bytes, bytes]) -> tuple[Header, ...]:
        """Check that no foreign web page sent the request, and return the CORS headers for the response.

        Raises:
            AccessDenied: a page of another origin sent the request.
        """
        origin = headers.get(b"origin")
        if origin is None:
            self._check_fetch_site(method, headers)
            return self.vary
        text = origin.decode("latin-1").lower()
        if self._any_origin:
            return ((b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", EXPOSED))
        if text in self._origins:
            allow = (b"access-control-allow-origin", origin)
            return (allow, (b"access-control-expose-headers", EXPOSED), VARY_ORIGIN)
        scheme, _, authority = text.partition("://")
        if scheme in ("http", "https") and host and authority == host.decode("latin-1").lower():
            return self.vary
        raise AccessDenied(
            f"the origin {_shown(text)} is not allowed; to allow its pages, add it to the setting gate.allowed_origins",
            rule="origin",
            setting="gate.allowed_origins",
        )

    def preflight_headers(self, cors: Iterable[Header], headers: Mapping[bytes, bytes]) -> Headers:
        """Return the headers for a preflight response in addition to ``cors``; none if ``cors`` allows no origin."""
        if not any(name == b"access-control-allow-origin" for name, _ in cors):
            return []
        answer = [
            (b"access-control-allow-methods", ALLOWED_METHODS),
            (b"access-control-allow-headers", self._allowed_headers),
            (b"access-control-max-age", PREFLIGHT_AGE_S),
        ]
        if headers.get(b"access-control-request-private-network") == b"true":
            answer.append((b"access-control-allow-private-network", b"true"))
        return answer

    def _check_fetch_site(self, method: str, headers: Mapping[bytes, bytes]) -> None:
        site = headers.get(b"sec-fetch-site")
        if site is None or site in (b"same-origin", b"none") or self._any_origin:
            return
        if (
            headers.get(b"sec-fetch-mode") == b"navigate"
            and headers.get(b"sec-fetch-dest", b"document") == b"document"  # not a frame, an object or an embed
            and method in ("GET", "HEAD")
        ):
            return
        raise AccessDenied(
            "pages of other sites cannot load this; use fetch() in the page, and add its origin to the setting "
            "gate.allowed_origins",
            rule="origin",
            setting="gate.allowed_origins",
        )


def is_preflight(method: str, headers: Mapping[bytes, bytes]) -> bool:
    """True if the request is a CORS preflight."""
    return method == "OPTIONS" and b"origin" in headers and b"access-control-request-method" in headers


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


def _shown(value: str) -> str:
    """Return a client's value, shortened and escaped, for an error text."""
    return repr(value if len(value) <= _SHOWN_MAX else f"{value[:_SHOWN_MAX]}…")


def _frame_headers(allowed_origins: Iterable[str]) -> tuple[Header, ...]:
    """Return the headers that allow frames only in the gate's own pages and in pages of ``allowed_origins``."""
    origins = tuple(allowed_origins)
    if "*" in origins:
        return ()
    if origins:
        return ((b"content-security-policy", " ".join(("frame-ancestors 'self'", *origins)).encode()),)
    return ((b"content-security-policy", b"frame-ancestors 'self'"), (b"x-frame-options", b"SAMEORIGIN"))
