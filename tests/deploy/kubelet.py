"""What a kubelet does for the Pods that podman runs: asks their probes, runs their hooks, ends them in time.

podman runs the containers. It knows probes only as commands inside a container, and no hooks: those are done here, with
what the rendered manifest says.
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
"""How many characters of a log a failed wait shows."""


def until(condition: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Wait for a condition, at most so long."""
    end = time.monotonic() + patience_s
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < end, f"within {patience_s:.0f} s it did not come true: {what}"
        pause.wait(0.1)


def await_end(engine: Engine, container: str) -> Document:
    """Wait until a container has ended and its log is complete; return its state.

    Its monitor copies its output into the log, and may still do so after the state is "exited". Once the monitor has
    ended, the state may still hold its number or, after podman's cleanup, no number: only its command line is certain.
    """

    def state() -> Document:
        return dict(engine.inspect("container", container)["State"])

    until(lambda: state()["Status"] in {"exited", "stopped"}, f"{container} has ended")
    identity = engine.inspect("container", container)["Id"].encode()
    until(lambda: not _monitored(identity), f"the log of {container} is complete")
    return state()


def _monitored(identity: bytes) -> bool:
    """Tell whether a monitor of this container is running."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # the process has ended meanwhile
            program, *words = path.read_bytes().split(b"\0")
            if program.endswith(b"conmon") and identity in words:
                return True
    return False


class Kubelet:
    """Runs the Pods of one machine.

    Attributes:
        pods: as rendered, by name.
        identities: the names of Pods that were started, by the identity that podman gave them.
    """

    def __init__(self, engine: Engine, script: ModuleType, folder: Path, documents: list[Document]) -> None:
        """Write the manifests for podman and give it the secrets."""
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
        """Know the Pod of one more object; return its name."""
        (pod,) = self.machine.add(document)
        self.pods[pod.name] = pod
        return str(pod.name)

    def start(self, name: str) -> None:
        """Start a Pod; returns when its init containers are through."""
        self._engine.run("podman", "kube", "play", self._folder / "pods" / f"{name}.yaml")
        self.identities[self._engine.inspect("pod", name)["Id"]] = name

    def main(self, name: str) -> Document:
        """Return the container that the Pod is there for."""
        return dict(self.pods[name].rendered["spec"]["containers"][0])

    def container(self, name: str, part: str | None = None) -> str:
        """Return how podman calls a container of a Pod, the main one if no other is named."""
        return f"{name}-{part or self.main(name)['name']}"

    def address(self, name: str) -> str:
        """Return the address of a Pod."""
        return str(self.pods[name].address)

    def log(self, name: str) -> str:
        """Return what all containers of a Pod have printed."""
        parts = [*self.pods[name].rendered["spec"].get("initContainers", []), self.main(name)]
        return "\n".join(self._engine.log(self.container(name, part["name"])) for part in parts)

    def state(self, name: str, part: str | None = None) -> Document:
        """Return what became of a container."""
        return dict(self._engine.inspect("container", self.container(name, part))["State"])

    def run_to_end(self, name: str) -> str:
        """Run the Pod of a Job to its end; return what it printed. It is removed."""
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
        """End a Pod as the kubelet does: the hook, SIGTERM, and no SIGKILL within the grace period; give its code."""
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
        """Remove a Pod; its volumes stay."""
        self._engine.run("podman", "pod", "rm", "--force", "--time=0", name)

    # Probes ------------------------------------------------------------------------------------------------------

    def probes(self, name: str) -> dict[str, Probe]:
        """Return the probes of a Pod by their kind."""
        return {kind: self.main(name)[kind] for kind in ("startupProbe", "livenessProbe", "readinessProbe")}

    def passes(self, name: str, kind: str) -> bool:
        """Ask one probe once, as it is rendered."""
        probe = self.probes(name)[kind]
        if "httpGet" in probe:
            return self._answers(name, probe["httpGet"], float(probe.get("timeoutSeconds", 1)))
        if kind == "livenessProbe":  # the one kind that podman runs itself
            command = ["podman", "healthcheck", "run", self.container(name)]
        else:
            exec_ = [word.replace("=127.0.0.1", f"={self.address(name)}") for word in probe["exec"]["command"]]
            command = ["podman", "exec", self.container(name), *exec_]
        return self._engine.attempt(*command).returncode == 0

    def await_ready(self, *names: str) -> None:
        """Wait until the Pods are ready, each within what its startup probe allows and its readiness after that."""
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
        context = ssl.create_default_context()  # a kubelet checks no certificate
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            with urllib.request.urlopen(request, timeout=timeout_s, context=context) as answer:
                return bool(200 <= answer.status < 400)
        except (OSError, urllib.error.HTTPError):
            return False


NOTHING = {**dict.fromkeys(("CapEff", "CapPrm", "CapBnd"), "0" * 16), "NoNewPrivs": "1", "Seccomp": "2"}
"""What the kernel says of a process that may do nothing in particular."""


def confinement(pid: int) -> dict[str, str]:
    """Return what the kernel says that a process may do, and who it is."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    pairs = dict(line.split(":", 1) for line in status.splitlines())
    return {name: pairs[name].split()[0] for name in ("Uid", "Gid", *NOTHING)}
