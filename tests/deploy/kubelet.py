"""The parts of a kubelet that podman lacks: it runs probes and hooks, and stops Pods within their grace period.

podman runs the containers. It supports only probes that are commands in a container, and no hooks. This module runs the
other probes and the hooks as the rendered manifest defines them.
"""

from __future__ import annotations

import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.deploy.engine import Engine

Document = dict[str, Any]
Probe = Document

PATIENCE_S = 240.0
_SHOWN = 8_000
"""Number of log characters that a failed wait shows."""


def until(condition: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Wait for a condition, at most ``patience_s``."""
    end = time.monotonic() + patience_s
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < end, f"within {patience_s:.0f} s it did not come true: {what}"
        pause.wait(0.1)


def await_end(engine: Engine, container: str) -> Document:
    """Wait until a container has ended and its log is complete; return its state.

    The container's monitor copies the output into the log, and may continue after the state is "exited". The process id
    in the state is not reliable: it may remain after the monitor has ended, and podman's cleanup removes it. So the
    monitor is identified by its command line.
    """

    def state() -> Document:
        return dict(engine.inspect("container", container)["State"])

    until(lambda: state()["Status"] in {"exited", "stopped"}, f"{container} has ended")
    identity = engine.inspect("container", container)["Id"].encode()
    until(lambda: not _monitored(identity), f"the log of {container} is complete")
    return state()


def _monitored(identity: bytes) -> bool:
    """Return True if the monitor of this container is running."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # the process has ended
            program, *words = path.read_bytes().split(b"\0")
            if program.endswith(b"conmon") and identity in words:
                return True
    return False


class Kubelet:
    """Runs the Pods of one machine.

    Attributes:
        pods: rendered Pods by name.
        identities: names of started Pods by podman's identity.
    """

    def __init__(self, engine: Engine, script: ModuleType, folder: Path, documents: list[Document]) -> None:
        """Write the manifests for podman and create the secrets."""
        self._engine = engine
        self.machine = script.Machine(folder, documents)
        self.difference: str = self.machine.write()
        self.pods = {pod.name: pod for pod in self.machine.pods}
        self.identities: dict[str, str] = {}
        self._folder = folder
        for secret in (folder / "secrets").glob("*.json"):
            engine.run("podman", "secret", "create", secret.stem, secret)

    def of(self, component: str) -> list[str]:
        """Return the names of a component's Pods."""
        return [name for name, pod in self.pods.items() if pod.component == component]

    def add(self, document: Document) -> str:
        """Add the Pod of one more object and return its name."""
        (pod,) = self.machine.add(document)
        self.pods[pod.name] = pod
        return str(pod.name)

    def start(self, name: str) -> None:
        """Start a Pod; returns when its init containers have completed."""
        self._engine.run("podman", "kube", "play", self._folder / "pods" / f"{name}.yaml")
        self.identities[self._engine.inspect("pod", name)["Id"]] = name

    def main(self, name: str) -> Document:
        """Return the main container of a Pod."""
        return dict(self.pods[name].rendered["spec"]["containers"][0])

    def container(self, name: str, part: str | None = None) -> str:
        """Return podman's name of a container of a Pod; the default is the main one."""
        return f"{name}-{part or self.main(name)['name']}"

    def address(self, name: str) -> str:
        """Return the address of a Pod."""
        return str(self.pods[name].address)

    def log(self, name: str) -> str:
        """Return the output of all containers of a Pod."""
        parts = [*self.pods[name].rendered["spec"].get("initContainers", []), self.main(name)]
        return "\n".join(self._engine.log(self.container(name, part["name"])) for part in parts)

    def state(self, name: str, part: str | None = None) -> Document:
        """Return the state of a container."""
        return dict(self._engine.inspect("container", self.container(name, part))["State"])

    def run_to_end(self, name: str) -> str:
        """Run the Pod of a Job until it ends, return its output, and remove it."""
        self.start(name)
        try:
            state = await_end(self._engine, self.container(name))
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log(name)[-_SHOWN:]}") from None
        log = self.log(name)
        assert state["ExitCode"] == 0, log
        self.remove(name)
        return log

    def stop(self, name: str) -> int:
        """Stop a Pod as a kubelet does: preStop hook, then SIGTERM. Fails on SIGKILL; returns the exit code."""
        spec = self.pods[name].rendered["spec"]
        began = time.monotonic()
        hook = self.main(name).get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command")
        if hook:
            self._engine.attempt("podman", "exec", self.container(name), *hook)
        left = spec["terminationGracePeriodSeconds"] - int(time.monotonic() - began)
        self._engine.run("podman", "stop", f"--time={left}", self.container(name))
        code = int(self.state(name)["ExitCode"])
        self.remove(name)
        return code

    def remove(self, name: str) -> None:
        """Remove a Pod; its volumes are kept."""
        self._engine.run("podman", "pod", "rm", "--force", "--time=0", name)

    # Probes ------------------------------------------------------------------------------------------------------

    def probes(self, name: str) -> dict[str, Probe]:
        """Return the probes of a Pod by kind."""
        return {kind: self.main(name)[kind] for kind in ("startupProbe", "livenessProbe", "readinessProbe")}

    def passes(self, name: str, kind: str) -> bool:
        """Run one probe once, as it is rendered."""
        probe = self.probes(name)[kind]
        if "httpGet" in probe:
            return self._answers(name, probe["httpGet"], float(probe.get("timeoutSeconds", 1)))
        if kind == "livenessProbe":  # the only kind of probe that podman runs itself
            command = ["podman", "healthcheck", "run", self.container(name)]
        else:
            exec_ = [word.replace("=127.0.0.1", f"={self.address(name)}") for word in probe["exec"]["command"]]
            command = ["podman", "exec", self.container(name), *exec_]
        return self._engine.attempt(*command).returncode == 0

    def await_ready(self, *names: str) -> None:
        """Wait until the Pods are ready, each within the limits of its startup and readiness probes."""
        for name in names:
            probe = self.probes(name)["startupProbe"]
            allowed_s = probe["periodSeconds"] * probe["failureThreshold"]
            for kind in ("startupProbe", "readinessProbe"):
                try:
                    until(partial(self.passes, name, kind), f"{kind} of {name}", allowed_s)
                except AssertionError as error:
                    raise AssertionError(f"{error}\n{self.log(name)[-_SHOWN:]}") from None

    def _answers(self, name: str, asked: Document, timeout_s: float) -> bool:
        port = asked["port"]
        if isinstance(port, str):
            (port,) = [each["containerPort"] for each in self.main(name)["ports"] if each["name"] == port]
        scheme = asked.get("scheme", "HTTP").lower()
        request = urllib.request.Request(f"{scheme}://{self.address(name)}:{port}{asked['path']}")
        for header in asked.get("httpHeaders", []):
            request.add_header(header["name"], header["value"])
        context = ssl.create_default_context()  # a kubelet does not verify the certificate
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            with urllib.request.urlopen(request, timeout=timeout_s, context=context) as answer:
                return bool(200 <= answer.status < 400)
        except (OSError, urllib.error.HTTPError):
            return False


NOTHING = {**dict.fromkeys(("CapEff", "CapPrm", "CapBnd"), "0" * 16), "NoNewPrivs": "1", "Seccomp": "2"}
"""Fields of /proc/PID/status for a process without privileges."""


def confinement(pid: int) -> dict[str, str]:
    """Return the privileges and ids of a process, as the kernel reports them."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    pairs = dict(line.split(":", 1) for line in status.splitlines())
    return {name: pairs[name].split()[0] for name in ("Uid", "Gid", *NOTHING)}
