"""Gates and nodes accept the certificates that the page on security creates."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from goverse.model.keys import ObjectKey
from goverse.tls.credentials import LinkSecurity, server_credentials, wire_certificates
from goverse.tls.files import TlsFiles, named
from goverse.tls.material import contents_of, validate
from goverse.tls.rotation import Rotating
from goverse.wire.peer_role import RoleNames
from tests.docs.walkthrough import walk_through
from tests.integration.wire.asking import ask, outcome
from tests.links import ledgers, link_to, server_of
from tests.tree import ROOT

pytestmark = pytest.mark.requirement("SEC-3")


async def test_its_commands_create_certificates_that_are_accepted(tmp_path: Path) -> None:
    assert walk_through(ROOT / "docs" / "guide" / "security.md", tmp_path)

    def files(name: str, carried: str = "") -> TlsFiles:
        ca, cert, key = (tmp_path / each for each in ("ca.pem", f"{name}.pem", f"{name}.key"))
        return TlsFiles(link="wire", ca=named("ca", ca), cert=named("cert", cert), key=named("key", key), name=carried)

    node, gate = Rotating(files("node", "goverse-node"), wire_certificates), Rotating(files("gate"), wire_certificates)
    for file, name in (("gate", "localhost"), ("gate", "127.0.0.1"), ("caller", "a-caller")):
        shown = files(file, name)
        assert validate(shown, contents_of(shown), time.time()).expires > time.time()
    roles = RoleNames("goverse-node", "goverse-gate")
    async with (
        ledgers() as ledger,
        server_of(ledger, credentials=server_credentials(node), roles=roles) as (_, address),
        link_to(address, security=LinkSecurity(gate, "goverse-node")) as link,
    ):
        assert (await ask(link, "add")).problem is None
        forged = await ask(link, "add", chain=(ObjectKey("default", "Ledger", "z"),))
        assert outcome(forged) == ("access_denied", "no")
