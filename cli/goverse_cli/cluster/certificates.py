"""The certificates of one process's links: read at the start, looked at until its end."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any

import grpc

from goverse.etcd.connections import credentials_of
from goverse.settings import Settings
from goverse.tls.rotation import Rotating, keep_current
from goverse.wire.credentials import Credentials, LinkSecurity, WireCertificates, server_credentials, wire_certificates
from goverse_gate.tls import server_context


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """What each link shows and believes; ``None`` where it is not encrypted, or not this process's.

    Attributes:
        etcd: to etcd.
        gate: to callers.
        wire: between processes.
        wire_name: what the certificate of a node has to carry.
        postgres: to PostgreSQL.
    """

    etcd: Credentials | None = None
    gate: Rotating[ssl.SSLContext] | None = None
    wire: Rotating[WireCertificates] | None = None
    wire_name: str = ""
    postgres: Rotating[ssl.SSLContext] | None = None

    @classmethod
    def of_node(cls, values: Settings, postgres: Rotating[ssl.SSLContext] | None) -> Certificates:
        """Read those of a node.

        Raises:
            ConfigError: something is wrong with them.
        """
        files, name = values.wire.tls_files(name=values.wire.tls_name), values.wire.tls_name
        wire = Rotating(files, wire_certificates) if files is not None else None
        return cls(etcd=credentials_of(values.etcd.options()), wire=wire, wire_name=name, postgres=postgres)

    @classmethod
    def of_gate(cls, values: Settings) -> Certificates:
        """Read those of a gate.

        Raises:
            ConfigError: something is wrong with them.
        """
        files, shown = values.wire.tls_files(), values.gate.tls_files()
        return cls(
            etcd=credentials_of(values.etcd.options()),
            gate=Rotating(shown, server_context) if shown is not None else None,
            wire=Rotating(files, wire_certificates) if files is not None else None,
            wire_name=values.wire.tls_name,
        )

    @property
    def links(self) -> tuple[Rotating[Any], ...]:
        """All that have files."""
        every: tuple[Rotating[Any] | None, ...] = (self.gate, self.wire, self.etcd, self.postgres)
        return tuple(link for link in every if link is not None and any(link.files.all))

    @property
    def out(self) -> LinkSecurity | None:
        """For links to nodes."""
        return None if self.wire is None else LinkSecurity(self.wire, self.wire_name)

    @property
    def into(self) -> grpc.ServerCredentials | None:
        """For the streams that others open."""
        return None if self.wire is None else server_credentials(self.wire)

    def follow(self, undo: AsyncExitStack) -> None:
        """Look at the files from now on."""
        if not self.links:
            return
        looking = asyncio.create_task(keep_current(self.links), name="goverse-tls")

        async def stop() -> None:
            looking.cancel()
            with suppress(asyncio.CancelledError):
                await looking

        undo.push_async_callback(stop)
