"""gRPC credentials, made from the newest certificates of a link.

A server takes the newest certificates at each handshake, a client with each new channel. Streams between processes use
mutual TLS: each side shows a certificate signed by ``wire.tls_ca``. A node's certificate carries a fixed name
regardless of its address, because Pods change addresses and a certificate cannot list them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, cast

import grpc

from goverse.tls.files import TlsFiles
from goverse.tls.material import Material
from goverse.tls.rotation import Rotating

Credentials = Rotating[grpc.ChannelCredentials]
"""Credentials for client channels."""


def channel_credentials(_files: TlsFiles, material: Material) -> grpc.ChannelCredentials:
    """Return client credentials; without authorities, those of the system are trusted."""
    return grpc.ssl_channel_credentials(material.ca, material.key, material.chain)


class WireCertificates(NamedTuple):
    """The credentials of both ends of a stream between processes."""

    channel: grpc.ChannelCredentials
    server: grpc.ServerCertificateConfiguration


def wire_certificates(files: TlsFiles, material: Material) -> WireCertificates:
    """Return the credentials made from all three files."""
    assert material.key is not None
    assert material.chain is not None
    server = grpc.ssl_server_certificate_configuration([(material.key, material.chain)], material.ca)
    return WireCertificates(channel_credentials(files, material), server)


def server_credentials(rotating: Rotating[WireCertificates]) -> grpc.ServerCredentials:
    """Return server credentials that require client certificates and follow changes of ``rotating``."""
    used = rotating.generation

    def newest() -> grpc.ServerCertificateConfiguration | None:
        """Return the configuration if it changed since the last handshake. gRPC calls this in a thread of its own."""
        nonlocal used
        if used == rotating.generation:
            return None
        used = rotating.generation
        return rotating.current.server

    fetch = cast("Callable[[], grpc.ServerCertificateConfiguration]", newest)  # its types do not know "unchanged"
    return grpc.dynamic_ssl_server_credentials(rotating.current.server, fetch, require_client_authentication=True)


@dataclass(frozen=True, slots=True)
class LinkSecurity:
    """The security of links to nodes: the certificates, and the name that a node's certificate must carry."""

    certificates: Rotating[WireCertificates]
    name: str

    @property
    def credentials(self) -> grpc.ChannelCredentials:
        """The credentials for a new channel."""
        return self.certificates.current.channel

    @property
    def channel(self) -> list[tuple[str, str]]:
        """Additional channel options."""
        return [("grpc.ssl_target_name_override", self.name)]


_CUT: Final = ("Socket closed", "Connection reset", "Broken pipe", "recvmsg", "Unwrap failed")
"""Error texts of gRPC for a connection closed by the peer. A server that rejects a certificate gives no reason."""


def explained(reason: str, *, secure: bool) -> str:
    """Return why a connection failed, with the usual cause added where gRPC's text does not name it."""
    if "WRONG_VERSION_NUMBER" in reason:
        return f"{reason} (the server does not use TLS; check that both sides have the same tls settings)"
    if not any(word in reason for word in _CUT):
        return reason
    if secure:
        return f"{reason} (if this happens immediately, the server rejects our certificate; its log says why)"
    return f"{reason} (if this happens immediately, the server requires TLS)"
