"""TLS to PostgreSQL, as the data source name asks for it (``sslmode=verify-full&sslrootcert=...&sslcert=...``).

The driver reads the files for each connection, so it follows a change, but would also follow a broken one into an
outage. So the files that a name says are looked after here as those of any link, and a connection is handed the newest
context that was in order. What goes further (``sslcrl``, ``sslpassword``, ``PGSSLROOTCERT``, ...) is the driver's.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from goverse.settings.data_source import SETTING, DataSource
from goverse.tls.files import NamedFile, TlsFiles
from goverse.tls.material import Material
from goverse.tls.rotation import Rotating

_CHECKED: Final = ("require", "verify-ca", "verify-full")  # with an authority, ``require`` is ``verify-ca``
_BEYOND: Final = ("sslcrl", "sslpassword", "ssl_min_protocol_version", "ssl_max_protocol_version", "service")


def certificates_of(dsn: str) -> Rotating[ssl.SSLContext] | None:
    """Return what follows the files that a data source name says, if it says any that are ours to follow.

    Raises:
        ConfigError: something is wrong with them.
    """
    query = DataSource.parse(dsn).parameters
    mode = query.get("sslmode", "")
    if mode not in _CHECKED or "sslrootcert" not in query or any(word in query for word in _BEYOND):
        return None
    ca, cert, key = (_file(query, name) for name in ("sslrootcert", "sslcert", "sslkey"))
    if (cert is None) != (key is None):
        return None  # the driver knows places of its own for the other one

    def context(files: TlsFiles, _material: Material) -> ssl.SSLContext:
        return _context(files, named_host=mode == "verify-full")

    return Rotating(TlsFiles(link="postgres", ca=ca, cert=cert, key=key), context)


def _file(query: dict[str, str], name: str) -> NamedFile | None:
    return NamedFile(f"{SETTING} ({name})", Path(query[name])) if name in query else None


def _context(files: TlsFiles, *, named_host: bool) -> ssl.SSLContext:
    assert files.ca is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = named_host
    context.load_verify_locations(files.ca.path)
    if files.cert is not None and files.key is not None:
        context.load_cert_chain(files.cert.path, files.key.path)
    context.set_alpn_protocols(["postgresql"])
    return context
