"""Runs `kubectl` and `helm` with a timeout. A failure becomes one exception with their error message.

The environment variables ``OPERATE_KUBECTL`` and ``OPERATE_HELM`` replace the programs found on the path.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class Refused(Exception):
    """An operation failed; the message says which one and why."""


@dataclass(frozen=True)
class Programs:
    """`kubectl` and `helm` for one release in one namespace."""

    release: str
    namespace: str
    kubeconfig: Path | None = None
    context: str = ""
    patience_s: float = 60.0

    def kubectl(self, *words: str | Path, given: str | None = None, patience_s: float | None = None) -> str:
        """Run kubectl in the namespace and return its output.

        Raises:
            Refused: it failed or timed out.
        """
        where = ["--namespace", self.namespace]
        where += ["--kubeconfig", str(self.kubeconfig)] if self.kubeconfig else []
        where += ["--context", self.context] if self.context else []
        return self._run(os.environ.get("OPERATE_KUBECTL", "kubectl"), [*where, *words], given, patience_s)

    def helm(self, *words: str | Path, patience_s: float | None = None) -> str:
        """Run helm in the namespace and return its output.

        Raises:
            Refused: it failed or timed out.
        """
        where = ["--namespace", self.namespace]
        where += ["--kubeconfig", str(self.kubeconfig)] if self.kubeconfig else []
        where += ["--kube-context", self.context] if self.context else []
        return self._run(os.environ.get("OPERATE_HELM", "helm"), [*words, *where], None, patience_s)

    def document(self, *words: str) -> Any:
        """Return the parsed output of `kubectl ... --output json`.

        Raises:
            Refused: as ``kubectl``.
        """
        return json.loads(self.kubectl(*words, "--output", "json"))

    def of_release(self, kinds: str) -> Any:
        """Return the release's objects of these kinds.

        Raises:
            Refused: as ``kubectl``.
        """
        return self.document("get", kinds, "--selector", f"app.kubernetes.io/instance={self.release}")

    def inside(self, pod: str, container: str, *words: str) -> str:
        """Run a command in a container and return its output.

        Raises:
            Refused: as ``kubectl``.
        """
        return self.kubectl("exec", pod, "--container", container, "--", *words)

    def goverse(self, pod: str, container: str, *words: str) -> Any:
        """Run `goverse -o json ...` in a container, which is configured for the cluster's stores; return its result.

        Raises:
            Refused: as ``kubectl``.
        """
        return json.loads(self.inside(pod, container, "/opt/goverse/bin/goverse", "-o", "json", *words))

    def _run(self, program: str, words: list[str | Path], given: str | None, patience_s: float | None) -> str:
        limit_s = self.patience_s if patience_s is None else patience_s
        told = " ".join([Path(program).name, *(str(word) for word in words[:6]), *(["..."] if len(words) > 6 else [])])
        try:
            ran = subprocess.run(
                [program, *words], input=given, capture_output=True, text=True, timeout=limit_s, check=False
            )
        except FileNotFoundError as error:
            raise Refused(
                f"{program} was not found: install it, or set OPERATE_KUBECTL or OPERATE_HELM to its path"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise Refused(f"{told} timed out after {limit_s:g} s") from error
        if ran.returncode:
            raise Refused(f"{told}: {ran.stderr.strip() or ran.stdout.strip() or f'exit code {ran.returncode}'}")
        return ran.stdout
