"""Tests of images built from the unchanged Dockerfiles, run like the chart runs them: unprivileged and read-only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from benchmarks.ports import free_ports
from benchmarks.postgres import server
from tests.deploy.engine import Engine
from tests.deploy.kubelet import NOTHING, await_end, confinement, until
from tests.etcd_server import etcd_cluster

pytestmark = [pytest.mark.deploy, pytest.mark.requirement("OPS-1")]

CONFINED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=host", "--pull=never")

# Maximum size that an image may add to its base, in MB. If a limit is exceeded, check the size of new dependencies
# (`du` in /opt/goverse/lib of the image), and leave out unneeded ones for the role in scripts/image_requirements.py.
# If the role needs them, raise the limit here and the figures in docs/design/images.md.
SIZES_MB = {"gate": 112, "node": 125, "tools": 130, "app": 125}


@pytest.mark.parametrize("name", SIZES_MB)
def test_images_stay_small(name: str, containers: Engine, images: dict[str, str]) -> None:
    own, base = (containers.inspect("image", images[each])["Size"] / 1_000_000 for each in (name, "base"))

    assert own - base <= SIZES_MB[name], f"{name} adds {own - base:.0f} MB to its base: see SIZES_MB for what to do"


@pytest.mark.parametrize("name", SIZES_MB)
def test_images_are_labelled_and_run_unprivileged(name: str, containers: Engine, images: dict[str, str]) -> None:
    image = containers.inspect("image", images[name])

    assert image["User"] == "65532:65532"
    assert image["Architecture"] in {"amd64", "arm64"}
    assert image["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert ("Healthcheck" in image and image["Healthcheck"]["Test"][0] == "CMD") == (name != "tools")


@dataclass(frozen=True)
class Service:
    """Containers of a cluster without TLS.

    Attributes:
        url: URL of the gate.
        names: names of the containers of node and gate.
    """

    url: str
    names: tuple[str, str]


def _run(containers: Engine, name: str, image: str, settings: Mapping[str, object], *command: str) -> None:
    variables = [f"--env=GOVERSE_{key}={value}" for key, value in settings.items()]
    containers.run("podman", "run", "--detach", f"--name={name}", *CONFINED, *variables, image, *command)


@pytest_asyncio.fixture
async def service(containers: Engine, images: dict[str, str], tmp_path: Path) -> AsyncIterator[Service]:
    """A database created by the tools, a node with the sample application, and a gate; the test stops the last two."""
    with server(Path("/var/tmp")) as postgres:
        async with etcd_cluster(tmp_path) as etcd:
            wire, admin, http = free_ports(3)
            common = {"ETCD__ENDPOINTS": ",".join(etcd.urls), "CLUSTER__SHARDS": 64}
            database = {"POSTGRES__DSN": postgres.dsn}
            _run(containers, "migrate", images["tools"], database, "db", "migrate")
            assert await_end(containers, "migrate")["ExitCode"] == 0, containers.log("migrate")
            listens = {"CLUSTER__LISTEN": f"127.0.0.1:{wire}", "CLUSTER__ADMIN_LISTEN": f"127.0.0.1:{admin}"}
            _run(containers, "node", images["app"], {**common, **database, **listens, "NODE__ID": "n1"})
            gate = {"GATE__HOST": "127.0.0.1", "GATE__PORT": http, "NODE__ID": "gate-1"}
            _run(containers, "gate", images["gate"], {**common, **gate})
            try:
                yield Service(f"http://127.0.0.1:{http}", ("node", "gate"))
            finally:
                containers.run("podman", "rm", "--force", "--time=0", "migrate", "node", "gate")


# It writes a line in two pieces, the second one on request.
TALKER = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
for number in range(20_000):
    print(number)
os.write(1, b"two pi")
signal.sigwait([signal.SIGUSR1])
os.write(1, b"eces\\n")
"""


def test_the_log_of_a_container_that_has_ended_is_whole(containers: Engine, images: dict[str, str]) -> None:
    """Tests read the log right after the end, and after podman has removed the monitor."""
    talking = ("--detach", "--name=talker", "--entrypoint=python3", *CONFINED)
    containers.run("podman", "run", *talking, images["tools"], "-c", TALKER)
    try:
        file = Path(containers.inspect("container", "talker")["HostConfig"]["LogConfig"]["Path"])
        until(lambda: "two pi" in file.read_text(encoding="utf-8"), "the first piece is in the log")
        containers.run("podman", "kill", "--signal=USR1", "talker")
        await_end(containers, "talker")
        assert containers.log("talker").splitlines() == [*map(str, range(20_000)), "two pieces"]

        until(lambda: "ConmonPid" not in containers.inspect("container", "talker")["State"], "podman has cleaned up")
        assert await_end(containers, "talker")["ExitCode"] == 0
    finally:
        containers.run("podman", "rm", "--force", "--time=0", "talker")


def _first_call(url: str) -> httpx.Response:
    """Increment a counter as soon as the gate is ready."""
    with httpx.Client(base_url=url, timeout=30) as client:

        def ready() -> bool:
            try:
                return client.get("/readyz").status_code == 200
            except httpx.TransportError:
                return False

        until(ready, "the gate is ready")
        return client.post("/objects/Counter/c1/call/increment", json={"by": 2})


def _is_healthy(containers: Engine, name: str) -> bool:
    """Run the image's health check. On a busy machine it can exceed its time limit, so an engine repeats it too."""
    return containers.attempt("podman", "healthcheck", "run", name).returncode == 0


async def test_containers_serve_confined_and_end_in_order(containers: Engine, service: Service) -> None:
    answer = await asyncio.to_thread(_first_call, service.url)
    assert (answer.status_code, answer.json()) == (200, 2)

    for name in service.names:
        state = containers.inspect("container", name)["State"]
        assert confinement(state["Pid"]) == {"Uid": "65532", "Gid": "65532", **NOTHING}
        tried = containers.attempt("podman", "exec", name, "touch", "/written")
        assert (tried.returncode, "Read-only file system" in tried.stderr) == (1, True), tried.stderr
        until(partial(_is_healthy, containers, name), f"the health check of {name} succeeds")
    for name in reversed(service.names):
        containers.run("podman", "stop", "--time=60", name)
        assert containers.inspect("container", name)["State"]["ExitCode"] == 0, name
