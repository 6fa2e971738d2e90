"""Where the certificates of one link are, and what they are called in settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from goverse.errors import ConfigError


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file, and the setting that names it."""

    setting: str
    path: Path

    def __str__(self) -> str:
        """Return both, as the beginning of a complaint."""
        return f"{self.setting}: {self.path}"

    def wrong(self, complaint: str) -> ConfigError:
        """Return what is to be said about it."""
        return ConfigError(f"{self} {complaint}", setting=self.setting)


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """The files of one link, in PEM form.

    Attributes:
        link: its name in metrics and logs: ``wire``, ``gate``, ``etcd`` or ``postgres``.
        ca: the authorities whose signature is believed; without it those of the system, or nobody is asked for any.
        cert: the certificate that we show, and those between it and its authority.
        key: the certificate's key.
        name: a name that the certificate has to carry, "" for any.
    """

    link: str
    ca: NamedFile | None = None
    cert: NamedFile | None = None
    key: NamedFile | None = None
    name: str = ""

    @property
    def all(self) -> tuple[NamedFile | None, ...]:
        """The three of them, in the order above."""
        return self.ca, self.cert, self.key


def named(setting: str, path: Path | None) -> NamedFile | None:
    """Return the file that a setting names, if it names one."""
    return None if path is None else NamedFile(setting, path)
