"""Reachability check of the nodes of a cluster: opens a stream to each node, all at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from goverse.cluster.member import Member
from goverse.settings import Settings
from goverse.tls.credentials import LinkSecurity
from goverse.wire.handshake import Hello
from goverse.wire.link import GrpcLink
from goverse.wire.link_state import LinkPhase, LinkState
from goverse_cli.cluster.certificates import Certificates
from goverse_cli.cluster.parts import new_incarnation

PATIENCE_S: Final = 3.0


async def silent_nodes(values: Settings, members: Iterable[Member]) -> dict[str, str]:
    """Return the nodes that do not complete a handshake within ``PATIENCE_S``, each with the reason.

    A process that died, froze or is unreachable from this machine fails the check. It keeps its shards until its lease
    expires.

    Raises:
        ConfigError: a certificate or key cannot be read or used.
    """
    nodes = list(members)
    security = Certificates.of_gate(values).out
    reasons = await asyncio.gather(*(_silence_of(values, node.address, security) for node in nodes))
    return {node.id: reason for node, reason in zip(nodes, reasons, strict=True) if reason is not None}


async def _silence_of(values: Settings, address: str, security: LinkSecurity | None) -> str | None:
    hello = Hello(kind="command", id="nodes list", incarnation=new_incarnation())
    link = GrpcLink(address, hello, options=values.wire.options(1), security=security)
    settled = asyncio.Event()
    link.watch(lambda state: settled.set() if _is_settled(state) else None)
    link.start()
    try:
        async with asyncio.timeout(PATIENCE_S):
            await settled.wait()
    except TimeoutError:
        return f"no answer within {PATIENCE_S:g} s"
    else:
        return None if link.state.phase is LinkPhase.CONNECTED else link.state.reason
    finally:
        await link.close()


def _is_settled(state: LinkState) -> bool:
    return state.phase in (LinkPhase.CONNECTED, LinkPhase.BROKEN)
