"""Tests of a node's addresses: a remote port needs TLS or permission, and the advertised address must be usable."""

from __future__ import annotations

from pathlib import Path

import pytest

from goverse.errors import ConfigError
from goverse.settings import Settings, load_settings
from goverse_cli.cluster.parts import check_listen


def settings(**environ: str) -> Settings:
    return load_settings(environ={f"GOVERSE_{name}": value for name, value in environ.items()}).values


@pytest.mark.parametrize("listen", ["0.0.0.0:7400", "[::]:7400", "10.0.0.11:7400", "node-1.example:7400", ":7400"])
def test_a_node_that_other_machines_reach_needs_tls_or_a_permission(listen: str, tmp_path: Path) -> None:
    addresses = {"CLUSTER__LISTEN": listen, "CLUSTER__ADVERTISE": "node-1:7400"}
    with pytest.raises(ConfigError) as refused:
        check_listen(settings(**addresses))
    assert refused.value.extra["setting"] == "wire.allow_plaintext_remote"
    assert listen in refused.value.detail
    check_listen(settings(**addresses, WIRE__ALLOW_PLAINTEXT_REMOTE="true"))
    files = {f"WIRE__TLS_{name}": str(tmp_path / name) for name in ("CA", "CERT", "KEY")}
    for path in files.values():
        Path(path).touch()
    check_listen(settings(**addresses, **files))


@pytest.mark.parametrize("listen", ["127.0.0.1:7400", "localhost:7400", "[::1]:7400"])
def test_a_node_of_this_machine_needs_no_permission(listen: str) -> None:
    check_listen(settings(CLUSTER__LISTEN=listen))


@pytest.mark.parametrize("advertised", ["", "0.0.0.0:7400", "[::]:7400", ":7400", "node-1:0"])
def test_an_address_that_nothing_can_reach_is_not_advertised(advertised: str) -> None:
    values = settings(
        CLUSTER__LISTEN="0.0.0.0:7400", CLUSTER__ADVERTISE=advertised, WIRE__ALLOW_PLAINTEXT_REMOTE="true"
    )
    with pytest.raises(ConfigError) as refused:
        check_listen(values)
    assert refused.value.extra["setting"] == "cluster.advertise"


@pytest.mark.parametrize("wrong", ["127.0.0.1", "127.0.0.1:http", "7400"])
def test_an_address_without_a_port_is_refused_with_an_example(wrong: str) -> None:
    with pytest.raises(ConfigError, match=r"for example 10\.0\.0\.11:7400"):
        check_listen(settings(CLUSTER__LISTEN=wrong))
