"""HTTPS: the contexts of the gate's connections, each made for the certificates of its moment.

A change makes a new context, and a connection keeps the one that it began with. One context that is changed would do
for the certificate alone: an authority cannot be taken out of it, and it would go on taking up sessions of clients
whose authority is gone. TLS 1.2 is the oldest version, without suites of CBC mode.
"""

from __future__ import annotations

import logging
import ssl
import time
from typing import Any, Final

from goverse.tls.files import TlsFiles
from goverse.tls.material import Material
from goverse.tls.rotation import Rotating

_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2: forward secrecy, and no CBC; those of 1.3 are all fine
_TELL_S: Final = 1.0  # between two lines about handshakes that failed: whoever likes can make them fail

logger = logging.getLogger("goverse.tls")


def server_context(files: TlsFiles, _material: Material) -> ssl.SSLContext:
    """Return the context for a connection that begins now.

    Raises:
        OSError: a file is of no use to OpenSSL (``ssl.SSLError``).
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
    context.sslobject_class = _ToldHandshake
    return context


class NewestContext(ssl.SSLContext):
    """What a listener takes: hands each connection to the newest context."""

    _rotating: Rotating[ssl.SSLContext]

    def __new__(cls, rotating: Rotating[ssl.SSLContext]) -> NewestContext:
        """Follow ``rotating``."""
        made = super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)
        made._rotating = rotating
        return made

    def wrap_bio(self, *args: Any, **named: Any) -> ssl.SSLObject:
        """Begin a connection."""
        return self._rotating.current.wrap_bio(*args, **named)


class Refusals:
    """Lines about handshakes that failed, not more than one a second.

    Attributes:
        told_at: when the last one was written, on the monotonic clock.
    """

    told_at = 0.0
    _untold = 0

    @classmethod
    def tell(cls, error: ssl.SSLError) -> None:
        """Say why a client is not served, or count it for the next line."""
        now = time.monotonic()
        if now - cls.told_at < _TELL_S:
            cls._untold += 1
            return
        cls.told_at, more, cls._untold = now, cls._untold, 0
        reason = getattr(error, "verify_message", None) or error.reason or str(error)
        logger.warning("a client was refused", extra={"link": "gate", "reason": reason, "more_before": more})


class _ToldHandshake(ssl.SSLObject):
    """A connection that says in the log why it did not come about; the event loop keeps that to itself."""

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            Refusals.tell(error)
            raise
