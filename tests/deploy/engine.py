"""Containers of the tests: podman and buildah with runc, and a separate storage.

Images are kept in ``.deploy-images`` (``DEPLOY_IMAGES``) for later runs. Containers, Pods and secrets are removed with
the test that created them. Nothing is pulled: all images are built here.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.tree import ROOT

PREFIX = "localhost/goverse-verify"
PATIENCE_S = 600.0
STORAGE_BYTES_MAX = 8_000_000_000
"""Size at which all images are deleted and rebuilt, because every change of the sources leaves layers."""

_STORAGE = """\
[storage]
driver = "{driver}"
graphroot = "{folder}/storage"
runroot = "{scratch}/run"
"""

# runc, because crun failed where a sandbox restricts root. Such a sandbox also prevents raising limits, so
# containers get the limits of this process.
_CONTAINERS = """\
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "{scratch}/libpod"
network_config_dir = "{scratch}/networks"
volume_path = "{scratch}/volumes"
static_dir = "{scratch}/static"

[containers]
log_driver = "k8s-file"
default_ulimits = ["nofile={files}:{files}", "nproc={processes}:{processes}"]
"""


class Engine:
    """podman and buildah with their configuration.

    Attributes:
        folder: storage of images, which is kept.
        scratch: files that are removed after the test.
    """

    def __init__(self, folder: Path, scratch: Path) -> None:
        """Write the configuration of both programs. Nothing is started."""
        assert os.geteuid() == 0, "containers with a uid of their own and their own limits need root here: run as root"
        for name in ("buildah", "podman", "runc", "mmdebstrap"):
            assert shutil.which(name, path=_PATH) is not None, f"{name} is not there: scripts/install_system.sh {name}"
        self.folder, self.scratch = folder, scratch
        folder.mkdir(parents=True, exist_ok=True)
        driver = folder / "driver"
        if not driver.exists():
            driver.write_text(_driver(folder), encoding="utf-8")
        (scratch / "storage.conf").write_text(
            _STORAGE.format(driver=driver.read_text(encoding="utf-8"), folder=folder, scratch=scratch), encoding="utf-8"
        )
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        processes = int(Path("/proc/sys/kernel/pid_max").read_text(encoding="utf-8"))
        hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
        processes = processes if hard == resource.RLIM_INFINITY else min(processes, hard)
        (scratch / "containers.conf").write_text(
            _CONTAINERS.format(scratch=scratch, files=files, processes=processes), encoding="utf-8"
        )
        self._environment = {
            **os.environ,
            "PATH": _PATH,
            "CONTAINERS_STORAGE_CONF": str(scratch / "storage.conf"),
            "CONTAINERS_CONF": str(scratch / "containers.conf"),
        }

    def attempt(self, *command: str | Path, timeout_s: float = PATIENCE_S) -> subprocess.CompletedProcess[str]:
        """Run a program until it ends."""
        return subprocess.run(
            [*command],
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def run(self, *command: str | Path, timeout_s: float = PATIENCE_S) -> str:
        """Run a program that must succeed, and return its output."""
        ran = self.attempt(*command, timeout_s=timeout_s)
        shown = " ".join(str(word) for word in command[:4])
        assert ran.returncode == 0, (
            f"`{shown} …` exited with code {ran.returncode}. These tests need a machine that can run containers: "
            f"{ran.stderr[-3000:]}{ran.stdout[-1000:]}"
        )
        return ran.stdout

    def inspect(self, kind: str, name: str) -> dict[str, Any]:
        """Return podman's description of an image, a container or a Pod."""
        found = json.loads(self.run("podman", kind, "inspect", name))
        return dict(found[0] if isinstance(found, list) else found)

    def log(self, container: str) -> str:
        """Return everything that a container has printed so far, standard error last.

        It does not use `--tail`, which drops the first part of a line that was written in two parts. Unbuffered Python
        writes the end of a line separately, and podman's monitor may read it separately.
        """
        ran = self.attempt("podman", "logs", container)
        return ran.stdout + ran.stderr

    def has(self, image: str) -> bool:
        """Return True if the image exists."""
        return self.attempt("podman", "image", "exists", image).returncode == 0

    def close(self) -> None:
        """Stop and remove all containers and Pods; images are kept."""
        for command in (
            ("podman", "pod", "rm", "--all", "--force", "--time=0"),
            ("podman", "rm", "--all", "--force", "--time=0"),
            ("podman", "secret", "rm", "--all"),
            ("podman", "volume", "rm", "--all", "--force"),
        ):
            self.run(*command)


# Debian installs runc in a folder that is not on every user's path.
_PATH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"


def _driver(folder: Path) -> str:
    """Return the storage driver for this folder: overlay if the kernel can mount one there, otherwise copies."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        parts = {part: Path(name) / part for part in ("lower", "upper", "work", "merged")}
        for part in parts.values():
            part.mkdir()
        options = f"lowerdir={parts['lower']},upperdir={parts['upper']},workdir={parts['work']}"
        mounted = subprocess.run(
            ["mount", "-t", "overlay", "overlay", "-o", options, parts["merged"]], capture_output=True, check=False
        )
        if mounted.returncode == 0:
            subprocess.run(["umount", parts["merged"]], check=True)
    return "vfs" if mounted.returncode else "overlay"


def _size(folder: Path) -> int:
    """Return the size of a folder in bytes."""
    return int(subprocess.run(["du", "-sbx", folder], capture_output=True, text=True, check=True).stdout.split()[0])


@contextmanager
def engine() -> Iterator[Engine]:
    """Provide containers for one run at a time, remove them afterwards, and first remove those of a killed run."""
    folder = Path(os.environ.get("DEPLOY_IMAGES", ROOT / ".deploy-images")).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        last = folder / "scratch"
        if last.exists():
            _clear(Engine(folder, last.resolve()))
        if _size(folder) > STORAGE_BYTES_MAX:
            sys.stderr.write(
                f"{folder} has grown beyond {STORAGE_BYTES_MAX} bytes: its images are deleted and rebuilt\n"
            )
            shutil.rmtree(folder / "storage")
        # The folder contains sockets, whose paths must be short.
        scratch = Path(tempfile.mkdtemp(prefix="goverse-verify-"))
        last.unlink(missing_ok=True)
        last.symlink_to(scratch)
        made = Engine(folder, scratch)
        try:
            yield made
        finally:
            _clear(made)
            last.unlink()


def _clear(made: Engine) -> None:
    made.close()
    shutil.rmtree(made.scratch)
