"""A call from a gate over a node to another node, on real streams with TLS: what arrives of caller and trace."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from goverse import Object, call, handler
from goverse.model.caller import identified
from goverse.model.frames import Operation, Reply, Request
from goverse.model.keys import ObjectKey
from goverse.model.trace_context import span_id, trace_id
from goverse.ports.link import Link
from goverse.settings.cluster_sections import WireSettings
from goverse.tls.credentials import LinkSecurity, WireCertificates, server_credentials, wire_certificates
from goverse.tls.rotation import Rotating
from goverse.wire.peer_role import RoleNames
from tests.certificates import Authority, Volume
from tests.links import NODE, ledgers, link_to, server_of

NODE_NAME, GATE_NAME = "goverse-node", "goverse-gate"
TRACE, CLIENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Front(Object):
    """Asks a ``Back`` object, which lives on another node."""

    @call(readonly=True)
    async def ask(self) -> list[list[str]]:
        return [_seen(self), await self.ref(Back, "b").answer()]


class Back(Object):
    """Answers other objects only."""

    @handler(readonly=True)
    async def answer(self) -> list[str]:
        return _seen(self)


def _seen(one: Object) -> list[str]:
    context = one.context
    caller = context.caller
    return [caller.kind, str(caller), str(caller.object), context.traceparent, context.tracestate]


def _certificates(folder: Path, authority: Authority, name: str) -> Rotating[WireCertificates]:
    volume = Volume(folder / name).fill(authority.issue(name, name), authority.certificate)
    files = WireSettings(tls_ca=volume.ca, tls_cert=volume.cert, tls_key=volume.key).tls_files()
    assert files is not None
    return Rotating(files, wire_certificates)


async def _ask(link: Link, key: ObjectKey, method: str) -> Reply:
    deadline = asyncio.get_running_loop().time() + 20.0
    request = Request(Operation.CALL, key, method, b"", deadline, "r1", caller=identified("ann"))
    request.traceparent, request.tracestate = f"00-{TRACE}-{CLIENT}-01", "congo=t61"
    return await link.submit(request)


@pytest.mark.requirement("SEC-3", "OBJ-8", "OBS-3")
async def test_a_gate_reaches_a_handler_only_through_an_object_and_caller_and_trace_arrive(tmp_path: Path) -> None:
    authority, roles = Authority(tmp_path), RoleNames(NODE_NAME, GATE_NAME)
    node, gate = (_certificates(tmp_path, authority, name) for name in (NODE_NAME, GATE_NAME))
    hello = replace(NODE, id="first")
    async with (
        ledgers((Front, Back)) as first,
        ledgers((Front, Back)) as second,
        server_of(first, credentials=server_credentials(node), roles=roles) as (_, first_address),
        server_of(second, credentials=server_credentials(node), roles=roles) as (_, second_address),
        link_to(second_address, security=LinkSecurity(node, NODE_NAME), hello=hello) as first.calls,
        link_to(first_address, security=LinkSecurity(gate, NODE_NAME)) as link,
    ):
        refused = await _ask(link, ObjectKey("default", "Back", "b"), "answer")
        assert refused.problem is not None
        assert (refused.problem.code, refused.problem.extra["rule"]) == ("access_denied", "handler")

        reply = await _ask(link, ObjectKey("default", "Front", "f"), "ask")
        assert reply.problem is None, reply.problem
        front, back = orjson.loads(reply.body)
        assert second.stats.activations == 1
        assert [front[:3], back[:3]] == [["client", "ann", "None"], ["object", "ann", "Front/f"]]
        assert [front[4], back[4]] == ["congo=t61", "congo=t61"]
        assert {trace_id(front[3]), trace_id(back[3])} == {TRACE}
        assert len({CLIENT, span_id(front[3]), span_id(back[3])}) == 3, "each turn is a span of its own"
