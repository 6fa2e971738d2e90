"""The certificate files of a link, with the settings that name them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from goverse.errors import ConfigError


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file and the setting that names it."""

    setting: str
    path: Path

    def __str__(self) -> str:
        """Return setting and path, as the beginning of an error message."""
        return f"{self.setting}: {self.path}"

    def wrong(self, complaint: str) -> ConfigError:
        """Return the error for this file."""
        return ConfigError(f"{self} {complaint}", setting=self.setting)


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """The PEM files of one link.

    Attributes:
        link: the link's name in metrics and logs: ``wire``, ``gate``, ``etcd`` or ``postgres``.
        ca: trusted authorities. Without it, those of the system are trusted, or no peer certificate is requested.
        cert: our certificate, with the intermediate certificates up to its authority.
        key: the certificate's private key.
        name: a name that our certificate must carry, "" for any.
        name_setting: the setting that requires this name.
    """

    link: str
    ca: NamedFile | None = None
    cert: NamedFile | None = None
    key: NamedFile | None = None
    name: str = ""
    name_setting: str = "wire.tls_name"

    @property
    def all(self) -> tuple[NamedFile | None, ...]:
        """The three files: ``ca``, ``cert``, ``key``."""
        return self.ca, self.cert, self.key


def named(setting: str, path: Path | None) -> NamedFile | None:
    """Return the file named by a setting, or None if the setting is empty."""
    return None if path is None else NamedFile(setting, path)
