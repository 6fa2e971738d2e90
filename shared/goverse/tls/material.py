"""Validation of a link's certificate files.

Everything that would make a TLS handshake fail is detected here and reported with the name of the setting: a missing
file, invalid PEM, a key that belongs to another certificate, a certificate that has expired or is not valid yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from goverse.tls.files import NamedFile, TlsFiles

Contents = tuple[bytes | None, ...]
"""The bytes of ``TlsFiles.all``, in the same order."""

_FOREVER: Final = float("inf")


class Material(NamedTuple):
    """The validated contents of a link's files.

    Attributes:
        ca, chain, key: the contents of the ``ca``, ``cert`` and ``key`` files.
        begins, expires: validity of our certificate; without one, that of the authority that is valid longest. Seconds
            since the Unix epoch.
    """

    ca: bytes | None
    chain: bytes | None
    key: bytes | None
    begins: float
    expires: float


def contents_of(files: TlsFiles) -> Contents:
    """Read all files.

    Raises:
        ConfigError: a file cannot be read.
    """
    return tuple(None if file is None else _read(file) for file in files.all)


def validate(files: TlsFiles, contents: Contents, now: float) -> Material:
    """Return the contents if they are valid at the time ``now``.

    Raises:
        ConfigError: a file is invalid; the message names the file and the reason.
    """
    ca, chain, key = contents
    times = (0.0, _FOREVER)
    if files.ca is not None and ca is not None:
        times = _check_authorities(files.ca, ca, now)
    if files.cert is not None and files.key is not None and chain is not None and key is not None:
        shown = _certificates(files.cert, chain)[0]
        times = _check_time(files.cert, shown, now)
        _check_key(files.key, key, shown, files.cert)
        _check_name(files.cert, shown, files)
    return Material(ca, chain, key, *times)


def _read(file: NamedFile) -> bytes:
    try:
        return file.path.read_bytes()
    except OSError as error:
        raise file.wrong(f"cannot be read: {error.strerror or error}") from error


def _certificates(file: NamedFile, content: bytes) -> Sequence[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise file.wrong("is not a valid PEM certificate") from error


def _check_authorities(file: NamedFile, content: bytes, now: float) -> tuple[float, float]:
    last = max(_certificates(file, content), key=lambda one: one.not_valid_after_utc)
    begins, expires = _life(last)
    if expires <= now:
        raise file.wrong(f"contains no valid authority; the last one expired on {moment(expires)}")
    return begins, expires


def _check_time(file: NamedFile, shown: x509.Certificate, now: float) -> tuple[float, float]:
    begins, expires = _life(shown)
    if expires <= now:
        raise file.wrong(f"contains a certificate that expired on {moment(expires)}")
    if begins > now:
        raise file.wrong(f"contains a certificate that is not valid before {moment(begins)}")
    return begins, expires


def _check_key(file: NamedFile, content: bytes, shown: x509.Certificate, beside: NamedFile) -> None:
    try:
        key = load_pem_private_key(content, password=None)
    except TypeError as error:
        raise file.wrong("is encrypted; store the key without a passphrase") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise file.wrong("is not a valid PEM private key") from error
    if key.public_key() != shown.public_key():
        raise file.wrong(f"does not belong to the certificate in {beside.path}")


def _check_name(file: NamedFile, shown: x509.Certificate, files: TlsFiles) -> None:
    names, name = names_of(shown), files.name
    if name and not carries(names, name):
        found = ", ".join(names) or "none"
        raise file.wrong(
            f"does not carry the name {name} that peers require ({files.name_setting}); its names are: {found}"
        )


def names_of(certificate: x509.Certificate) -> list[str]:
    """Return the DNS names and IP addresses in a certificate."""
    try:
        carried = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [*carried.get_values_for_type(x509.DNSName), *map(str, carried.get_values_for_type(x509.IPAddress))]


def carries(names: Iterable[str], name: str) -> bool:
    """True if ``name`` is one of the names of a certificate, or matches one with a wildcard."""
    wildcard = f"*.{name.partition('.')[2]}"
    return not {name.lower(), wildcard.lower()}.isdisjoint(each.lower() for each in names)


def _life(certificate: x509.Certificate) -> tuple[float, float]:
    return certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()


def moment(seconds: float) -> str:
    """Return a Unix time as text, e.g. ``2026-11-21 10:00 UTC``."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
