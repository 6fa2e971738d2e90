"""The certificates of a process: gates and nodes check their own names when they start."""

from __future__ import annotations

from pathlib import Path

import pytest

from goverse.errors import ConfigError
from goverse.settings import Settings, load_settings
from goverse.wire.peer_role import RoleNames
from goverse_cli.cluster.certificates import Certificates
from tests.certificates import Authority, Volume

pytestmark = pytest.mark.requirement("SEC-3")


def _settings(folder: Path, *names: str, gate_name: str = "goverse-gate") -> Settings:
    authority = Authority(folder / "authority")
    volume = Volume(folder / "wire").fill(authority.issue("one", *names), authority.certificate)
    files = {"CA": volume.ca, "CERT": volume.cert, "KEY": volume.key}
    settings = {f"GOVERSE_WIRE__TLS_{name}": str(path) for name, path in files.items()}
    return load_settings(environ={**settings, "GOVERSE_WIRE__TLS_GATE_NAME": gate_name}).values


def test_a_node_knows_the_names_of_gates_and_nodes(tmp_path: Path) -> None:
    certificates = Certificates.of_node(_settings(tmp_path, "goverse-node"), None)
    assert certificates.roles == RoleNames("goverse-node", "goverse-gate")
    assert certificates.into is not None


def test_a_node_without_tls_has_no_names() -> None:
    assert Certificates.of_node(load_settings(environ={}).values, None).roles is None


def test_a_gate_does_not_start_without_the_name_that_nodes_require(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"goverse-gate that peers require \(wire\.tls_gate_name\).*: localhost"):
        Certificates.of_gate(_settings(tmp_path, "localhost"))


@pytest.mark.parametrize(
    ("names", "gate_name"), [(("localhost",), ""), (("localhost", "goverse-gate"), "goverse-gate")]
)
def test_a_gate_starts_with_the_name_or_if_none_is_required(
    names: tuple[str, ...], gate_name: str, tmp_path: Path
) -> None:
    certificates = Certificates.of_gate(_settings(tmp_path, *names, gate_name=gate_name))
    assert certificates.out is not None
    assert certificates.out.name == "goverse-node"
