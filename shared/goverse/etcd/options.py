"""Options of the etcd client: endpoints, credentials and timeouts, validated once."""

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
    """The client address of an etcd member."""

    host: str
    port: int
    tls: bool

    @property
    def address(self) -> str:
        """Return the address in gRPC's format."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        """Return the address as a URL."""
        return f"{'https' if self.tls else 'http'}://{self.address}"

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Parse ``http://host:port``, ``https://host:port`` or ``host:port``; the default port is 2379.

        Raises:
            ConfigError: the text is not an address.
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
    shown = re.sub(r"//.*@", "//…@", text)  # a password in the address must not reach the log
    return ConfigError(
        f"invalid etcd address {shown!r}; write it like http://etcd-0.etcd:2379", setting="etcd.endpoints"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdOptions:
    """Options of ``EtcdCoordinator``.

    Attributes:
        endpoints: all members; any of them can be used at any time.
        namespace: a prefix of every key in etcd that callers do not see.
        username, password: the etcd user; empty without authentication.
        tls_ca, tls_cert, tls_key: PEM files: the authorities of the members' certificates (default: those of the
            system), and our client certificate with its key.
        operation_timeout_s: timeout of an operation, including all attempts.
        attempt_timeout_s: timeout of the first attempt; doubles with every round over the members.
        connect_timeout_s: timeout of connecting to one member.
        ask_s: silence of a watch after which its member is pinged.
        silence_s_max: silence of a watch after which another member is used.

    Raises:
        ConfigError: options contradict each other.
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
        """Check that the options are consistent."""
        if not self.endpoints:
            raise ConfigError("etcd.endpoints is empty; name at least one member", setting="etcd.endpoints")
        if len({endpoint.tls for endpoint in self.endpoints}) > 1:
            raise ConfigError("use https:// for all etcd endpoints or for none", setting="etcd.endpoints")
        if bool(self.username) != bool(self.password):
            raise ConfigError("set etcd.username and etcd.password together", setting="etcd.username")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ConfigError("set etcd.tls_cert and etcd.tls_key together", setting="etcd.tls_cert")
        if not self.tls and (self.tls_ca or self.tls_cert):
            raise ConfigError("etcd certificates need endpoints with https://", setting="etcd.endpoints")

    @property
    def tls(self) -> bool:
        """True if connections are encrypted."""
        return self.endpoints[0].tls

    @property
    def tls_files(self) -> TlsFiles:
        """The certificate files."""
        return TlsFiles(
            link="etcd",
            ca=named("etcd.tls_ca", self.tls_ca),
            cert=named("etcd.tls_cert", self.tls_cert),
            key=named("etcd.tls_key", self.tls_key),
        )
