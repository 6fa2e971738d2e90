"""The TLS certificates of one process: read at the start, and reloaded when their files change."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any

import grpc

from goverse.etcd.connections import credentials_of
from goverse.settings import Settings
from goverse.tls.credentials import Credentials, LinkSecurity, WireCertificates, server_credentials, wire_certificates
from goverse.tls.rotation import Rotating, keep_current
from goverse.wire.peer_role import RoleNames
from goverse_gate.tls import server_context


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """The certificates of each kind of connection; ``None`` if it is not encrypted or this process does not have it.

    Attributes:
        etcd: connections to etcd.
        gate: connections of HTTP clients to a gate.
        wire: streams between gates and nodes.
        wire_name: DNS name that the certificate of a node must contain.
        roles: the names by which a node tells the certificates of its peers apart.
        postgres: connections to PostgreSQL.
    """

    etcd: Credentials | None = None
    gate: Rotating[ssl.SSLContext] | None = None
    wire: Rotating[WireCertificates] | None = None
    wire_name: str = ""
    roles: RoleNames | None = None
    postgres: Rotating[ssl.SSLContext] | None = None

    @classmethod
    def of_node(cls, values: Settings, postgres: Rotating[ssl.SSLContext] | None) -> Certificates:
        """Read the certificates of a node.

        Raises:
            ConfigError: a certificate or key cannot be read or used.
        """
        files, name = values.wire.tls_files(name=values.wire.tls_name), values.wire.tls_name
        wire = Rotating(files, wire_certificates) if files is not None else None
        return cls(
            etcd=credentials_of(values.etcd.options()),
            wire=wire,
            wire_name=name,
            roles=None if wire is None else RoleNames(name, values.wire.tls_gate_name),
            postgres=postgres,
        )

    @classmethod
    def of_gate(cls, values: Settings) -> Certificates:
        """Read the certificates of a gate.

        Raises:
            ConfigError: a certificate or key cannot be read or used.
        """
        shown = values.gate.tls_files()
        files = values.wire.tls_files(name=values.wire.tls_gate_name, name_setting="wire.tls_gate_name")
        return cls(
            etcd=credentials_of(values.etcd.options()),
            gate=Rotating(shown, server_context) if shown is not None else None,
            wire=Rotating(files, wire_certificates) if files is not None else None,
            wire_name=values.wire.tls_name,
        )

    @property
    def links(self) -> tuple[Rotating[Any], ...]:
        """All certificates that are read from files."""
        every: tuple[Rotating[Any] | None, ...] = (self.gate, self.wire, self.etcd, self.postgres)
        return tuple(link for link in every if link is not None and any(link.files.all))

    @property
    def out(self) -> LinkSecurity | None:
        """Security of outgoing links to nodes."""
        return None if self.wire is None else LinkSecurity(self.wire, self.wire_name)

    @property
    def into(self) -> grpc.ServerCredentials | None:
        """Security of incoming streams of gates and other nodes."""
        return None if self.wire is None else server_credentials(self.wire)

    def follow(self, undo: AsyncExitStack) -> None:
        """Watch the files and reload changed certificates until ``undo`` is closed."""
        if not self.links:
            return
        looking = asyncio.create_task(keep_current(self.links), name="goverse-tls")

        async def stop() -> None:
            looking.cancel()
            with suppress(asyncio.CancelledError):
                await looking

        undo.push_async_callback(stop)
