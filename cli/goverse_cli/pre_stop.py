"""``python -m goverse_cli.pre_stop SECONDS``: preStop hook of a node's Pod if `nodes.shutdown` is `auto`.

The hook reads the Pod's StatefulSet from the Kubernetes API server.

* If the StatefulSet still wants the Pod, Kubernetes will restart it. The hook sends SIGQUIT, so that the node leaves
  fast, and waits up to SECONDS for it to exit. It must wait: the SIGTERM that follows would end the node immediately.
* Otherwise, or if the StatefulSet cannot be read, the hook does nothing. The SIGTERM that follows makes the node leave
  gracefully, which is correct in every case.

Kubernetes discards the output of a hook, so the decision is written to the node's own log, through
``/proc/PID/fd/2``: a process of the same user may open it even on a read-only file system. The hook never fails.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import signal
import ssl
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Final
from urllib.parse import quote

ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Folder in which Kubernetes mounts the Pod's token and the CA certificate of the API server."""

PATIENCE_S: Final = 3.0
"""Timeout of the whole query. The chart adds it to the grace period."""

_ANSWER_BYTES_MAX: Final = 4 << 20
_REASON_MAX: Final = 500  # keeps a line below 4 096 bytes, which a pipe accepts as one atomic write
_LOOK_S: Final = 0.1
_POD: Final = re.compile(r"(?P<owner>.+)-(?P<ordinal>0|[1-9][0-9]*)")


@dataclass(frozen=True)
class Decision:
    """The result of the query: True if the Pod will be restarted, None if that is unknown, and the reason."""

    comes_back: bool | None
    reason: str

    @property
    def shutdown(self) -> str:
        """The shutdown mode of the node: ``fast`` or ``graceful``."""
        return "fast" if self.comes_back else "graceful"


class Unknown(Exception):
    """The API server's answer is missing or not usable; the text is the reason."""


def find_out(environ: Mapping[str, str], account: Path = ACCOUNT, patience_s: float = PATIENCE_S) -> Decision:
    """Determine whether the Pod will be restarted. Always returns a decision, within ``patience_s``."""
    answers: SimpleQueue[Decision] = SimpleQueue()

    def ask() -> None:
        try:
            answers.put(_found_out(environ, account, patience_s))
        except Unknown as error:
            answers.put(Decision(None, str(error)))
        except Exception as error:  # the node must be able to leave, whatever the error is
            answers.put(Decision(None, f"the request to the API server failed: {type(error).__name__}: {error}"))

    # A daemon thread, because resolving an unknown name can take longer than any socket timeout.
    Thread(target=ask, name="question", daemon=True).start()
    try:
        return answers.get(timeout=patience_s)
    except Empty:
        return Decision(None, f"the API server did not respond within {patience_s:g} s")


def _found_out(environ: Mapping[str, str], account: Path, patience_s: float) -> Decision:
    pod = _POD.fullmatch(_of(environ, "POD_NAME"))
    if pod is None:
        raise Unknown(f"POD_NAME is {environ['POD_NAME']}: not a Pod of a StatefulSet, because it has no number")
    owner = pod["owner"]
    path = (
        f"/apis/apps/v1/namespaces/{quote(_of(environ, 'POD_NAMESPACE'), safe='')}/statefulsets/{quote(owner, safe='')}"
    )
    return judge(owner, int(pod["ordinal"]), _get(environ, account, path, patience_s))


def _of(environ: Mapping[str, str], name: str) -> str:
    if not environ.get(name):
        raise Unknown(f"{name} is not set")
    return environ[name]


def _get(environ: Mapping[str, str], account: Path, path: str, patience_s: float) -> Any:
    host, port = _of(environ, "KUBERNETES_SERVICE_HOST"), int(_of(environ, "KUBERNETES_SERVICE_PORT"))
    try:
        token = (account / "token").read_text(encoding="ascii").strip()
        context = ssl.create_default_context(cafile=account / "ca.crt")
    except FileNotFoundError:
        raise Unknown(f"the Pod has no service account token, or no CA certificate, in {account}") from None
    if len(token.split()) != 1:  # checked here, because http.client would put the secret into its error
        raise Unknown(f"the service account token in {account} is empty or contains white space")
    connection = http.client.HTTPSConnection(host, port, timeout=patience_s, context=context)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}", "Accept": "application/json"})
        answer = connection.getresponse()
        body = answer.read(_ANSWER_BYTES_MAX)
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise Unknown(f"the API server responded with {answer.status} to GET {path}")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise Unknown("the API server's response is not valid JSON") from None


def judge(owner: str, ordinal: int, answer: Any) -> Decision:
    """Decide from the StatefulSet that the API server returned.

    Args:
        owner: name of the StatefulSet.
        ordinal: number of the Pod in it.
        answer: the StatefulSet, as parsed JSON.

    Raises:
        Unknown: the response is not a StatefulSet of that name with replicas.
    """
    try:
        kind, name = answer["kind"], answer["metadata"]["name"]
        deleted = answer["metadata"].get("deletionTimestamp")
        replicas, ordinals = answer["spec"]["replicas"], answer["spec"].get("ordinals")
        first = ordinals["start"] if ordinals else 0
    except (AttributeError, KeyError, TypeError):
        raise Unknown("the API server's response is not a StatefulSet with replicas") from None
    numbers = all(type(number) is int and number >= 0 for number in (replicas, first))
    if (kind, name) != ("StatefulSet", owner) or not numbers:
        raise Unknown(f"unexpected response of the API server: {kind} {name}, replicas {replicas}, first {first}")
    wants = f"StatefulSet {owner} has {replicas} replicas from number {first}; this Pod is number {ordinal}"
    if deleted:
        return Decision(False, f"StatefulSet {owner} is being deleted")
    return Decision(first <= ordinal < first + replicas, wants)


def tell(decided: Decision, pid: int, pod: str) -> None:
    """Write the decision as one JSON log line to the standard error of process ``pid``, or else to our own."""
    entry = {
        "ts": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": "info" if decided.comes_back is not None else "warning",
        "logger": "goverse.pre_stop",
        "event": f"the Pod is stopping; its node leaves {'fast' if decided.comes_back else 'gracefully'}",
        "shutdown": decided.shutdown,
        "reason": decided.reason[:_REASON_MAX],
        "node": pod,
    }
    line = f"{json.dumps(entry)}\n"
    try:
        # Non-blocking: the log may be a pipe without a reader, and the hook must not block on it.
        log = os.open(f"/proc/{pid}/fd/2", os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            os.write(log, line.encode())
        finally:
            os.close(log)
    except OSError:
        sys.stderr.write(line)


def end_soon(pid: int, stay_s: float) -> None:
    """Send SIGQUIT to the node, and wait until it has exited or ``stay_s`` has passed.

    Raises:
        OSError: the signal cannot be sent.
    """
    os.kill(pid, signal.SIGQUIT)
    end = time.monotonic() + stay_s
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(_LOOK_S)


def main(words: Sequence[str], environ: Mapping[str, str] = os.environ) -> int:
    """Decide, log the decision, and make the node leave fast if its Pod will be restarted."""
    parser = argparse.ArgumentParser(prog="python -m goverse_cli.pre_stop", description="preStop hook of a node's Pod.")
    parser.add_argument("stay_s", type=float, metavar="SECONDS", help="maximum wait for a node that leaves fast")
    parser.add_argument("--pid", type=int, default=1, help="process id of the node (default: 1)")
    parser.add_argument("--account", type=Path, default=ACCOUNT, help="folder of the service account")
    given = parser.parse_args(words)
    decided = find_out(environ, given.account)
    pod = environ.get("POD_NAME", "")
    tell(decided, given.pid, pod)
    if decided.comes_back:
        try:
            end_soon(given.pid, given.stay_s)
        except OSError as error:
            tell(Decision(None, f"SIGQUIT could not be sent to the node: {error}"), given.pid, pod)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
