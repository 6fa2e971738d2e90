"""HTTPS: TLS contexts for the gate's connections, replaced when the certificates rotate.

Each rotation creates a new context, and a connection keeps the context it started with. Modifying a single context
would work only for the certificate: an authority cannot be removed from a context, and the context would continue to
resume sessions of clients whose authority has been removed. The oldest version is TLS 1.2, without CBC suites.
"""

from __future__ import annotations

import logging
import ssl
import time
from typing import Any, Final

from goverse.tls.files import TlsFiles
from goverse.tls.material import Material
from goverse.tls.rotation import Rotating

_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"  # for TLS 1.2: forward secrecy, no CBC; all suites of 1.3 are fine
_REPORT_PERIOD_S: Final = 1.0  # between two log lines about failed handshakes, which any client can cause

logger = logging.getLogger("goverse.tls")


def server_context(files: TlsFiles, _material: Material) -> ssl.SSLContext:
    """Return a context with the current certificates.

    Raises:
        OSError: OpenSSL cannot use one of the files (``ssl.SSLError``).
    """
    assert files.cert is not None
    assert files.key is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(files.cert.path, files.key.path)
    if files.ca is not None:
        context.load_verify_locations(files.ca.path)
        context.verify_mode = ssl.CERT_REQUIRED
    context.sslobject_class = _LoggedHandshake
    return context


class NewestContext(ssl.SSLContext):
    """A context for the listener that starts each connection with the newest context."""

    _rotating: Rotating[ssl.SSLContext]

    def __new__(cls, rotating: Rotating[ssl.SSLContext]) -> NewestContext:
        """Use the newest context of ``rotating``."""
        made = super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)
        made._rotating = rotating
        return made

    def wrap_bio(self, *args: Any, **named: Any) -> ssl.SSLObject:
        """Start a connection."""
        return self._rotating.current.wrap_bio(*args, **named)


class Refusals:
    """The log of failed handshakes, limited to one line per second.

    Attributes:
        reported_at: when the last line was written, on the monotonic clock.
    """

    reported_at = 0.0
    _unreported = 0

    @classmethod
    def report(cls, error: ssl.SSLError) -> None:
        """Log the reason of a failed handshake, or count the failure for the next line."""
        now = time.monotonic()
        if now - cls.reported_at < _REPORT_PERIOD_S:
            cls._unreported += 1
            return
        cls.reported_at, more, cls._unreported = now, cls._unreported, 0
        reason = getattr(error, "verify_message", None) or error.reason or str(error)
        logger.warning("TLS handshake failed", extra={"link": "gate", "reason": reason, "more_before": more})


class _LoggedHandshake(ssl.SSLObject):
    """A TLS connection that logs why its handshake failed. The event loop does not report the reason."""

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            Refusals.report(error)
            raise
