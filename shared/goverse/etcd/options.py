"""What the client of etcd can be told, checked once: where the members are, who we are, how patient to be."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from goverse import limits
from goverse.errors import ConfigError
from goverse.tls.files import TlsFiles, named

DEFAULT_PORT: Final = 2379

_BARE: Final = re.compile(r"^(?![a-z]+://)")


class Endpoint(NamedTuple):
    """A member's client address."""

    host: str
    port: int
    tls: bool

    @property
    def address(self) -> str:
        """Return it as gRPC takes it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        """Return it as people write it."""
        return f"{'https' if self.tls else 'http'}://{self.address}"

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Read ``http://host:port``, ``https://host:port`` or ``host:port``; the port is 2379 where it is missing.

        Raises:
            ConfigError: it is neither.
        """
        try:
            parts = urlsplit(_BARE.sub("http://", text.strip()))
            port = parts.port or DEFAULT_PORT
        except ValueError:
            raise _wrong(text) from None
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise _wrong(text)
        if parts.path not in ("", "/") or parts.query or parts.fragment or re.search(r"\s", parts.hostname):
            raise _wrong(text)
        return cls(parts.hostname, port, parts.scheme == "https")


def _wrong(text: str) -> ConfigError:
    shown = re.sub(r"//.*@", "//…@", text)  # whoever writes a password here should not read it in the log
    return ConfigError(
        f"{shown!r} is no address of etcd; write it like http://etcd-0.etcd:2379", setting="etcd.endpoints"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdOptions:
    """Options of ``EtcdCoordinator``.

    Attributes:
        endpoints: all members; any of them will do at any time.
        namespace: what every key begins with in etcd and nobody sees here.
        username, password: a user of etcd; empty without authentication.
        tls_ca, tls_cert, tls_key: files in PEM form: who signed the members' certificates (the system's authorities
            where it is missing), and the certificate that we show.
        operation_timeout_s: longest time of an operation, over all attempts.
        attempt_timeout_s: how long the first member that is asked may take; doubles with every round over the members.
        connect_timeout_s: longest time to connect to one member.
        ask_s: silence of a watch after which its member is asked for a sign of life.
        silence_s_max: silence of a watch after which another member is asked.

    Raises:
        ConfigError: options that do not go together.
    """

    endpoints: tuple[Endpoint, ...]
    namespace: str = ""
    username: str = ""
    password: str = ""
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    operation_timeout_s: float = limits.ETCD_OPERATION_TIMEOUT_S
    attempt_timeout_s: float = limits.ETCD_ATTEMPT_TIMEOUT_S
    connect_timeout_s: float = limits.ETCD_CONNECT_TIMEOUT_S
    ask_s: float = limits.ETCD_WATCH_ASK_S
    silence_s_max: float = limits.ETCD_WATCH_SILENCE_S_MAX

    def __post_init__(self) -> None:
        """Check what belongs together."""
        if not self.endpoints:
            raise ConfigError("etcd needs at least one endpoint", setting="etcd.endpoints")
        if len({endpoint.tls for endpoint in self.endpoints}) > 1:
            raise ConfigError("some endpoints of etcd use TLS and some do not", setting="etcd.endpoints")
        if bool(self.username) != bool(self.password):
            raise ConfigError("etcd needs a user's name and password together", setting="etcd.username")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ConfigError("etcd needs a certificate and its key together", setting="etcd.tls_cert")
        if not self.tls and (self.tls_ca or self.tls_cert):
            raise ConfigError("certificates are for endpoints with https://", setting="etcd.endpoints")

    @property
    def tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.endpoints[0].tls

    @property
    def tls_files(self) -> TlsFiles:
        """Where the certificates are."""
        return TlsFiles(
            link="etcd",
            ca=named("etcd.tls_ca", self.tls_ca),
            cert=named("etcd.tls_cert", self.tls_cert),
            key=named("etcd.tls_key", self.tls_key),
        )
