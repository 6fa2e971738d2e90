"""``python -m goverse_cli.pre_stop SECONDS``: what a node's Pod does before it ends, where `nodes.shutdown` is `auto`.

It asks the API server for the Pod's own StatefulSet. A Pod that is still wanted comes back: the node is told to leave
soon (SIGQUIT), and the hook stays until it has, at most so many seconds, since the SIGTERM that follows would end it at
once. Otherwise, and whenever it cannot be found out, nothing is done: that SIGTERM makes the node leave gracefully,
which is right in any case.

What a hook prints is lost, so what was decided is written where the node writes its log: a process of the same user may
open that, whatever is read-only. No failure ends the hook otherwise.
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
"""Where Kubernetes puts the token of a Pod and the authority of its API server."""

PATIENCE_S: Final = 3.0
"""How long the question may take in all; the chart's grace period allows for it."""

_ANSWER_BYTES_MAX: Final = 4 << 20
_REASON_MAX: Final = 500  # so that a line is written at once: a pipe takes 4 096 bytes in one piece
_LOOK_S: Final = 0.1
_POD: Final = re.compile(r"(?P<owner>.+)-(?P<ordinal>0|[1-9][0-9]*)")


@dataclass(frozen=True)
class Decision:
    """Whether the Pod comes back, None where that could not be found out, and why."""

    comes_back: bool | None
    reason: str

    @property
    def shutdown(self) -> str:
        """How the node leaves."""
        return "fast" if self.comes_back else "graceful"


class Unknown(Exception):
    """It cannot be found out whether the Pod comes back; the text says why."""


def find_out(environ: Mapping[str, str], account: Path = ACCOUNT, patience_s: float = PATIENCE_S) -> Decision:
    """Ask whether the Pod comes back; always answers, and within ``patience_s``."""
    answers: SimpleQueue[Decision] = SimpleQueue()

    def ask() -> None:
        try:
            answers.put(_found_out(environ, account, patience_s))
        except Unknown as error:
            answers.put(Decision(None, str(error)))
        except Exception as error:  # the node has to leave, whatever this is
            answers.put(Decision(None, f"the API server could not be asked: {type(error).__name__}: {error}"))

    # A thread that nobody waits for: names that are not found take longer than any timeout of a socket.
    Thread(target=ask, name="question", daemon=True).start()
    try:
        return answers.get(timeout=patience_s)
    except Empty:
        return Decision(None, f"the API server did not answer within {patience_s:g} s")


def _found_out(environ: Mapping[str, str], account: Path, patience_s: float) -> Decision:
    pod = _POD.fullmatch(_of(environ, "POD_NAME"))
    if pod is None:
        raise Unknown(f"POD_NAME is {environ['POD_NAME']}, which is no Pod of a StatefulSet: it ends with no number")
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
        raise Unknown(f"the Pod has no token of a service account, or no authority beside it, in {account}") from None
    if len(token.split()) != 1:  # what refuses it further down would say what it is
        raise Unknown(f"the token of the service account in {account} is empty, or more than one word")
    connection = http.client.HTTPSConnection(host, port, timeout=patience_s, context=context)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}", "Accept": "application/json"})
        answer = connection.getresponse()
        body = answer.read(_ANSWER_BYTES_MAX)
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise Unknown(f"the API server answered {answer.status} to GET {path}")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise Unknown("the API server's answer is no JSON") from None


def judge(owner: str, ordinal: int, answer: Any) -> Decision:
    """Decide from what the API server said.

    Args:
        owner: name of the StatefulSet.
        ordinal: number of the Pod in it.
        answer: the StatefulSet, as JSON was read.

    Raises:
        Unknown: the answer is not understood.
    """
    try:
        kind, name = answer["kind"], answer["metadata"]["name"]
        deleted = answer["metadata"].get("deletionTimestamp")
        replicas, ordinals = answer["spec"]["replicas"], answer["spec"].get("ordinals")
        first = ordinals["start"] if ordinals else 0
    except (AttributeError, KeyError, TypeError):
        raise Unknown("the API server's answer is no StatefulSet with replicas") from None
    numbers = all(type(number) is int and number >= 0 for number in (replicas, first))
    if (kind, name) != ("StatefulSet", owner) or not numbers:
        raise Unknown(f"the API server's answer is not understood: {kind} {name}, {replicas} replicas from {first} on")
    wants = f"StatefulSet {owner} wants {replicas} from number {first} on, and this is number {ordinal}"
    if deleted:
        return Decision(False, f"StatefulSet {owner} is being deleted")
    return Decision(first <= ordinal < first + replicas, wants)


def tell(decided: Decision, pid: int, pod: str) -> None:
    """Write one line, as nodes log under Kubernetes, where process ``pid`` writes its own; else on standard error."""
    entry = {
        "ts": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": "info" if decided.comes_back is not None else "warning",
        "logger": "goverse.pre_stop",
        "event": f"the Pod ends, and its node leaves {'soon' if decided.comes_back else 'gracefully'}",
        "shutdown": decided.shutdown,
        "reason": decided.reason[:_REASON_MAX],
        "node": pod,
    }
    line = f"{json.dumps(entry)}\n"
    try:
        # It may be a pipe that nobody reads, and the hook waits for nobody.
        log = os.open(f"/proc/{pid}/fd/2", os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            os.write(log, line.encode())
        finally:
            os.close(log)
    except OSError:
        sys.stderr.write(line)


def end_soon(pid: int, stay_s: float) -> None:
    """Tell the node to leave soon, and stay until it is gone, at most ``stay_s``.

    Raises:
        OSError: it cannot be told.
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
    """Decide, say so, and where the Pod comes back end the node."""
    parser = argparse.ArgumentParser(prog="python -m goverse_cli.pre_stop", description="Before a node's Pod ends.")
    parser.add_argument("stay_s", type=float, metavar="SECONDS", help="how long a node that leaves soon may take")
    parser.add_argument("--pid", type=int, default=1, help="process of the node (1)")
    parser.add_argument("--account", type=Path, default=ACCOUNT, help="folder of the service account")
    given = parser.parse_args(words)
    decided = find_out(environ, given.account)
    pod = environ.get("POD_NAME", "")
    tell(decided, given.pid, pod)
    if decided.comes_back:
        try:
            end_soon(given.pid, given.stay_s)
        except OSError as error:
            tell(Decision(None, f"the node could not be told: {error}"), given.pid, pod)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
