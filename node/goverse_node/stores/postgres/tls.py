"""TLS to PostgreSQL, with the files in the data source name (``sslmode=verify-full&sslrootcert=...&sslcert=...``).

The driver reads these files for each connection. It would therefore use a renewed certificate, but also a broken one,
which would be an outage. So this module loads and checks the files, as for every link, and a new connection gets the
newest valid context. Other parameters (``sslcrl``, ``sslpassword``, ``PGSSLROOTCERT``, ...) are left to the driver.
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
    """Return a TLS context that follows the files in a data source name, or None if the driver has to handle them.

    Raises:
        ConfigError: the files are unusable.
    """
    query = DataSource.parse(dsn).parameters
    mode = query.get("sslmode", "")
    if mode not in _CHECKED or "sslrootcert" not in query or any(word in query for word in _BEYOND):
        return None
    ca, cert, key = (_file(query, name) for name in ("sslrootcert", "sslcert", "sslkey"))
    if (cert is None) != (key is None):
        return None  # the driver looks for the other file in its default locations

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
