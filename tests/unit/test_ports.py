"""Reserved ports: two processes that search at the same time never get the same port."""

import os
import socket
import subprocess
import sys

import pytest

from benchmarks.ports import free_port, free_ports
from tests.tree import ROOT


def test_ports_are_distinct_free_and_below_the_ephemeral_range() -> None:
    ports = free_ports(50)

    assert len(set(ports)) == 50
    assert max(ports) < 32_768
    for port in ports:
        with socket.socket() as server:
            server.bind(("127.0.0.1", port))


@pytest.mark.system
def test_a_reserved_port_is_not_given_to_another_process() -> None:
    """The other process tries to reserve that very port, although no server listens on it."""
    code = "import sys; from benchmarks import ports; ports._PORTS = [int(sys.argv[1])]; print(ports.free_port())"
    port = free_port()

    ran = subprocess.run(
        [sys.executable, "-c", code, str(port)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (ran.returncode, ran.stdout) == (1, "")
    assert "fewer than 1 TCP ports" in ran.stderr
