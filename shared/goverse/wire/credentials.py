"""gRPC's credentials, of the certificates that a link has at the moment.

A server asks for the newest ones at each handshake; a client is given them with each new channel. Streams between
processes are mutual: each side shows a certificate that ``wire.tls_ca`` signed, and a node's carries a certain name
whatever address it is reached at, because pods change their addresses and no certificate could list them.
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
"""For channels of a client."""


def channel_credentials(_files: TlsFiles, material: Material) -> grpc.ChannelCredentials:
    """Return what a channel takes; without authorities it believes those of the system."""
    return grpc.ssl_channel_credentials(material.ca, material.key, material.chain)


class WireCertificates(NamedTuple):
    """What both ends of a stream between processes take."""

    channel: grpc.ChannelCredentials
    server: grpc.ServerCertificateConfiguration


def wire_certificates(files: TlsFiles, material: Material) -> WireCertificates:
    """Return what is made of all three files."""
    assert material.key is not None
    assert material.chain is not None
    server = grpc.ssl_server_certificate_configuration([(material.key, material.chain)], material.ca)
    return WireCertificates(channel_credentials(files, material), server)


def server_credentials(rotating: Rotating[WireCertificates]) -> grpc.ServerCredentials:
    """Return credentials of a server that asks every client for a certificate, and follows ``rotating``."""
    used = rotating.generation

    def newest() -> grpc.ServerCertificateConfiguration | None:
        """Return what changed since the last handshake; gRPC asks one at a time, in a thread of its own."""
        nonlocal used
        if used == rotating.generation:
            return None
        used = rotating.generation
        return rotating.current.server

    fetch = cast("Callable[[], grpc.ServerCertificateConfiguration]", newest)  # its types do not know "unchanged"
    return grpc.dynamic_ssl_server_credentials(rotating.current.server, fetch, require_client_authentication=True)


@dataclass(frozen=True, slots=True)
class LinkSecurity:
    """How links to nodes are secured: what is shown and believed, and the name that a node has to carry."""

    certificates: Rotating[WireCertificates]
    name: str

    @property
    def credentials(self) -> grpc.ChannelCredentials:
        """What a new channel takes."""
        return self.certificates.current.channel

    @property
    def channel(self) -> list[tuple[str, str]]:
        """Further options of the channel."""
        return [("grpc.ssl_target_name_override", self.name)]


_CUT: Final = ("Socket closed", "Connection reset", "Broken pipe", "recvmsg", "Unwrap failed")
"""How gRPC says that the other side hung up. A server that refuses a certificate does so without a word."""


def explained(reason: str, *, secure: bool) -> str:
    """Return why a connection did not come about, with what that usually means where gRPC knows less than we do."""
    if "WRONG_VERSION_NUMBER" in reason:
        return f"{reason} (it speaks no TLS; has it the same tls settings?)"
    if not any(word in reason for word in _CUT):
        return reason
    if secure:
        return f"{reason} (where it hangs up at once, it refuses our certificate; its log says why)"
    return f"{reason} (where it hangs up at once, it wants TLS)"
