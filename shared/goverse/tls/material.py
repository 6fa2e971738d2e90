"""What the files of a link hold, judged before anything is done with it.

Everything that a handshake would stumble over is found here and said with the setting's name: no such file, no PEM, a
key of another certificate, a certificate of yesterday or of tomorrow.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from goverse.tls.files import NamedFile, TlsFiles

Contents = tuple[bytes | None, ...]
"""The bytes of ``TlsFiles.all``."""

_FOREVER: Final = float("inf")


class Material(NamedTuple):
    """The contents of a link's files, in order.

    Attributes:
        ca, chain, key: as in the files.
        begins, expires: the time of our certificate; without one, that of the authority that lasts longest. Seconds
            since 1970.
    """

    ca: bytes | None
    chain: bytes | None
    key: bytes | None
    begins: float
    expires: float


def contents_of(files: TlsFiles) -> Contents:
    """Read all files.

    Raises:
        ConfigError: one cannot be read.
    """
    return tuple(None if file is None else _read(file) for file in files.all)


def judge(files: TlsFiles, contents: Contents, now: float) -> Material:
    """Return the contents if they are in order at the time ``now``.

    Raises:
        ConfigError: they are not; says which file, and why.
    """
    ca, chain, key = contents
    times = (0.0, _FOREVER)
    if files.ca is not None and ca is not None:
        times = _check_authorities(files.ca, ca, now)
    if files.cert is not None and files.key is not None and chain is not None and key is not None:
        shown = _certificates(files.cert, chain)[0]
        times = _check_time(files.cert, shown, now)
        _check_key(files.key, key, shown, files.cert)
        _check_name(files.cert, shown, files.name)
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
        raise file.wrong("holds no certificate in PEM form, or a damaged one") from error


def _check_authorities(file: NamedFile, content: bytes, now: float) -> tuple[float, float]:
    last = max(_certificates(file, content), key=lambda one: one.not_valid_after_utc)
    begins, expires = _life(last)
    if expires <= now:
        raise file.wrong(f"holds no authority that is still valid: the last one expired on {moment(expires)}")
    return begins, expires


def _check_time(file: NamedFile, shown: x509.Certificate, now: float) -> tuple[float, float]:
    begins, expires = _life(shown)
    if expires <= now:
        raise file.wrong(f"holds a certificate that expired on {moment(expires)}")
    if begins > now:
        raise file.wrong(f"holds a certificate that is not valid before {moment(begins)}")
    return begins, expires


def _check_key(file: NamedFile, content: bytes, shown: x509.Certificate, beside: NamedFile) -> None:
    try:
        key = load_pem_private_key(content, password=None)
    except TypeError as error:
        raise file.wrong("is encrypted, and nobody is there to type a passphrase; store it without") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise file.wrong("holds no private key in PEM form, or a damaged one") from error
    if key.public_key() != shown.public_key():
        raise file.wrong(f"is not the key of the certificate in {beside.path}")


def _check_name(file: NamedFile, shown: x509.Certificate, name: str) -> None:
    if not name:
        return
    try:
        carried = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = [*carried.get_values_for_type(x509.DNSName), *map(str, carried.get_values_for_type(x509.IPAddress))]
    except x509.ExtensionNotFound:
        names = []
    wildcard = f"*.{name.partition('.')[2]}"
    if not {name.lower(), wildcard.lower()} & {each.lower() for each in names}:
        carries = ", ".join(names) or "none"
        raise file.wrong(f"does not carry the name {name}, which peers look for (wire.tls_name); it carries {carries}")


def _life(certificate: x509.Certificate) -> tuple[float, float]:
    return certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()


def moment(seconds: float) -> str:
    """Return a time since 1970 as people read it."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
