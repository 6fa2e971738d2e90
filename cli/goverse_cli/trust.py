"""TLS options of commands that connect to a server over https: the trusted CA and the client certificate."""

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
        help="CA certificates to verify the server with (PEM file). Default: those of the system.",
        envvar="GOVERSE_CA",
        show_default=False,
    ),
]
Cert = Annotated[
    Path | None,
    typer.Option(
        "--cert",
        help="Client certificate (PEM file); requires --cert-key.",
        envvar="GOVERSE_CERT",
        show_default=False,
    ),
]
CertKey = Annotated[
    Path | None,
    typer.Option(
        "--cert-key",
        help="Private key of the client certificate (PEM file).",
        envvar="GOVERSE_CERT_KEY",
        show_default=False,
    ),
]


@dataclass(frozen=True, slots=True)
class Trust:
    """The certificate files that the command line names."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Return the TLS context for connections.

        Raises:
            Failure: a file cannot be read or used, or only one of certificate and key is given.
        """
        if (self.cert is None) != (self.key is None):
            raise Failure("--cert and --cert-key must be given together", exit_code=ExitCode.USAGE)
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
    """Return OpenSSL's reason if a request failed in the TLS handshake, else None.

    A connection that ended without an alert does not count as a failed handshake: with TLS 1.3 the server can close it
    after the client has sent its request, so the request may have been executed.
    """
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, ssl.SSLEOFError) or "UNEXPECTED_EOF" in str(getattr(found, "reason", "")):
            return None
        if isinstance(found, ssl.SSLError):
            return str(getattr(found, "verify_message", "") or getattr(found, "reason", "") or found)
        found = found.__cause__ or found.__context__
    return None
