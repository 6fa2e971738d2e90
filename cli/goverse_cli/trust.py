"""Certificates of commands that talk to a server over https: whom they believe, and what they show."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from goverse_cli.failure import ExitCode, Failure

Ca = Annotated[
    Path | None,
    typer.Option(
        "--ca",
        help="File with the authorities that sign the server's certificate; those of the system without it.",
        envvar="GOVERSE_CA",
        show_default=False,
    ),
]
Cert = Annotated[
    Path | None,
    typer.Option(
        "--cert", help="File with the certificate to show, with --cert-key.", envvar="GOVERSE_CERT", show_default=False
    ),
]
CertKey = Annotated[
    Path | None,
    typer.Option("--cert-key", help="File with the certificate's key.", envvar="GOVERSE_CERT_KEY", show_default=False),
]


@dataclass(frozen=True, slots=True)
class Trust:
    """The files, as the command line names them."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Return what connections use.

        Raises:
            Failure: a file is of no use, or one of two is missing.
        """
        if (self.cert is None) != (self.key is None):
            raise Failure("a certificate and its key go together: --cert and --cert-key", exit_code=ExitCode.USAGE)
        context = ssl.create_default_context()
        named, at = "--ca", self.ca
        try:
            if self.ca is not None:
                context = ssl.create_default_context(cafile=self.ca)
            if self.cert is not None:
                named, at = "--cert and --cert-key", self.cert
                context.load_cert_chain(self.cert, self.key)
        except ssl.SSLError as error:
            raise Failure(f"{named}: {at} cannot be used: {error.reason or error}", exit_code=ExitCode.USAGE) from error
        except OSError as error:
            raise Failure(f"{named}: {at} cannot be read: {error.strerror}", exit_code=ExitCode.USAGE) from error
        return context


def distrust(error: BaseException) -> str | None:
    """Return the reason of OpenSSL, if a request failed in the handshake; a connection that just ended is no such case.

    With TLS 1.3 a server can end a connection after the client has sent its request, so the request may have been
    executed.
    """
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, ssl.SSLEOFError) or "UNEXPECTED_EOF" in str(getattr(found, "reason", "")):
            return None
        if isinstance(found, ssl.SSLError):
            return str(getattr(found, "verify_message", "") or getattr(found, "reason", "") or found)
        found = found.__cause__ or found.__context__
    return None
