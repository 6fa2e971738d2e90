"""Tests of the preStop hook: its decision, made by querying an API server over TLS, and its effect on the node."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from goverse_cli.pre_stop import Unknown, find_out, judge, main
from tests.certificates import Authority
from tests.service_account import ASKED, OWNER, TOKEN, ServiceAccount, service_account, stateful_set

pytestmark = pytest.mark.requirement("OPS-2", "OPS-4")

PATIENCE_S = 30.0
IMPATIENT_S = 0.3


@pytest.fixture
def account(tmp_path: Path) -> Iterator[ServiceAccount]:
    """A service account of a Pod with number 1 of 3 replicas."""
    with service_account(tmp_path) as made:
        yield made


def _found_out(account: ServiceAccount, **environ: str) -> tuple[bool | None, str]:
    """Return the decision and its reason; an empty variable is left out of the environment."""
    given = {name: value for name, value in {**account.environ, **environ}.items() if value}
    decided = find_out(given, account.folder, PATIENCE_S)
    assert decided.shutdown == ("fast" if decided.comes_back else "graceful")
    return decided.comes_back, decided.reason


def test_a_pod_that_is_still_wanted_comes_back(account: ServiceAccount) -> None:
    wanted = f"StatefulSet {OWNER} has 3 replicas from number 0; this Pod is number 1"

    assert _found_out(account) == (True, wanted)
    assert account.server.asked == [("GET", ASKED)]


@pytest.mark.parametrize(
    ("replicas", "pod", "comes_back"), [(2, 1, True), (1, 1, False), (0, 0, False), (11, 10, True)]
)
def test_a_pod_beyond_the_number_of_replicas_does_not_come_back(
    replicas: int, pod: int, comes_back: bool, account: ServiceAccount
) -> None:
    account.server.put(stateful_set(replicas))

    decided, reason = _found_out(account, POD_NAME=f"{OWNER}-{pod}")

    assert decided is comes_back
    assert reason == f"StatefulSet {OWNER} has {replicas} replicas from number 0; this Pod is number {pod}"


@pytest.mark.parametrize(("pod", "comes_back"), [(4, False), (5, True), (7, True), (8, False)])
def test_numbers_may_begin_elsewhere(pod: int, comes_back: bool) -> None:
    shifted = stateful_set(3)
    shifted["spec"]["ordinals"] = {"start": 5}

    assert judge(OWNER, pod, shifted).comes_back is comes_back


def test_no_pod_of_a_set_that_is_deleted_comes_back(account: ServiceAccount) -> None:
    account.server.put(stateful_set(3, deletionTimestamp="2026-05-01T00:00:00Z"))

    assert _found_out(account) == (False, f"StatefulSet {OWNER} is being deleted")


def test_a_set_that_is_gone_decides_nothing(account: ServiceAccount) -> None:
    account.server.objects.clear()

    assert _found_out(account) == (None, f"the API server responded with 404 to GET {ASKED}")


def test_an_account_without_rights_decides_nothing(account: ServiceAccount) -> None:
    account.server.forbidden.add(ASKED)

    assert _found_out(account) == (None, f"the API server responded with 403 to GET {ASKED}")


def test_an_unknown_token_decides_nothing(account: ServiceAccount) -> None:
    (account.folder / "token").write_text("of-another-account", encoding="ascii")

    assert _found_out(account) == (None, f"the API server responded with 401 to GET {ASKED}")


@pytest.mark.parametrize("file", ["token", "ca.crt"])
def test_a_pod_without_an_account_sends_no_request(file: str, account: ServiceAccount) -> None:
    (account.folder / file).unlink()

    decided, reason = _found_out(account)

    assert decided is None
    assert reason.startswith("the Pod has no service account token, or no CA certificate")
    assert account.server.asked == []


@pytest.mark.parametrize("content", ["", "two\nlines", "umläut"], ids=["empty", "two lines", "not ASCII"])
def test_an_invalid_token_decides_nothing(content: str, account: ServiceAccount) -> None:
    (account.folder / "token").write_text(content, encoding="utf-8")

    decided, reason = _found_out(account)

    assert decided is None
    assert "token" in reason or "UnicodeDecodeError" in reason
    assert "lines" not in reason
    assert account.server.asked == []


def test_a_server_that_another_authority_vouches_for_gets_no_token(account: ServiceAccount, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "stranger")
    (account.folder / "ca.crt").write_bytes(stranger.certificate.read_bytes())

    decided, reason = _found_out(account)

    assert decided is None
    assert "CERTIFICATE_VERIFY_FAILED" in reason
    assert account.server.asked == []


@pytest.mark.parametrize("pod", ["goverse-node", "goverse-node-x", "goverse-node-01", "7", "goverse-node--"])
def test_a_name_without_a_number_decides_nothing(pod: str, account: ServiceAccount) -> None:
    assert _found_out(account, POD_NAME=pod)[0] is None
    assert account.server.asked == []


@pytest.mark.parametrize(
    "variable", ["POD_NAME", "POD_NAMESPACE", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"]
)
def test_a_process_that_is_in_no_pod_decides_nothing(variable: str, account: ServiceAccount) -> None:
    assert _found_out(account, **{variable: ""}) == (None, f"{variable} is not set")


def test_an_invalid_port_decides_nothing(account: ServiceAccount) -> None:
    decided, reason = _found_out(account, KUBERNETES_SERVICE_PORT="https")

    assert decided is None
    assert reason.startswith("the request to the API server failed: ValueError")


def test_an_unreachable_server_decides_nothing(account: ServiceAccount) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        decided, reason = _found_out(account, KUBERNETES_SERVICE_PORT=str(unused.getsockname()[1]))

    assert decided is None
    assert "ConnectionRefusedError" in reason


def test_a_server_that_does_not_accept_times_out(account: ServiceAccount) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel accepts the connection, and no data follows
        environ = {**account.environ, "KUBERNETES_SERVICE_PORT": str(silent.getsockname()[1])}
        decided = find_out(environ, account.folder, IMPATIENT_S)

    assert decided.comes_back is None
    assert "timed out" in decided.reason or "did not respond within 0.3 s" in decided.reason


def test_a_server_that_never_answers_times_out(account: ServiceAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    done = threading.Event()

    def think(*_: object) -> dict[str, Any]:
        done.wait()
        return stateful_set()

    monkeypatch.setattr(account.server, "answer", think)
    try:
        decided = find_out(account.environ, account.folder, IMPATIENT_S)
    finally:
        done.set()

    assert decided.comes_back is None
    assert "timed out" in decided.reason or "did not respond within 0.3 s" in decided.reason


def test_a_name_lookup_that_never_ends_times_out(account: ServiceAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    done = threading.Event()

    def look_up(*_: object, **__: object) -> None:
        done.wait()
        raise OSError("unknown name")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    try:
        decided = find_out(account.environ, account.folder, IMPATIENT_S)
    finally:
        done.set()

    assert (decided.comes_back, decided.reason) == (None, "the API server did not respond within 0.3 s")


NONSENSE = {
    "nothing": None,
    "a number": 7,
    "a list": [stateful_set()],
    "another kind": {**stateful_set(), "kind": "Deployment"},
    "another set": {**stateful_set(), "metadata": {"name": "other-node"}},
    "no metadata": {"kind": "StatefulSet", "spec": {"replicas": 3}},
    "metadata that is text": {**stateful_set(), "metadata": OWNER},
    "no spec": {"kind": "StatefulSet", "metadata": {"name": OWNER}},
    "no replicas": {**stateful_set(), "spec": {}},
    "replicas as text": stateful_set("3"),
    "replicas that are true": stateful_set(True),
    "replicas below none": stateful_set(-1),
    "half a replica": stateful_set(2.5),
    "ordinals that are a list": {**stateful_set(), "spec": {"replicas": 3, "ordinals": [5]}},
    "a start as text": {**stateful_set(), "spec": {"replicas": 3, "ordinals": {"start": "5"}}},
}


@pytest.mark.parametrize("what", NONSENSE)
def test_an_unexpected_answer_decides_nothing(what: str) -> None:
    with pytest.raises(Unknown, match=r"response (of the API server|is not a StatefulSet)"):
        judge(OWNER, 1, NONSENSE[what])


@pytest.mark.parametrize("text", ["<html>", "", '{"kind":', "[" * 200_000], ids=["HTML", "nothing", "half", "deep"])
def test_an_answer_that_is_not_json_decides_nothing(text: str, account: ServiceAccount) -> None:
    account.server.raw[ASKED] = text

    assert _found_out(account) == (None, "the API server's response is not valid JSON")


# The hook ---------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _quit_ends_processes() -> Iterator[None]:
    """Let SIGQUIT end child processes: a shell that starts the tests in the background makes it ignored."""
    before = signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGQUIT, before)


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends at any signal, with a log of its own."""
    with (tmp_path / "sleeper.log").open("ab") as log:
        process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], stderr=log)
    reaping = threading.Thread(target=process.wait)
    reaping.start()
    yield process
    process.kill()
    reaping.join()


def _is_reaped(pid: int) -> bool:
    """Return True if the process is reaped. It asks the kernel, as the hook does: a process leaves /proc a moment
    later than it stops accepting signals.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def _said(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "sleeper.log").read_text(encoding="utf-8").splitlines()]


@pytest.mark.system
def test_the_hook_ends_a_process_that_comes_back_and_says_so_in_its_log(
    account: ServiceAccount, sleeper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    words = ["60", "--pid", str(sleeper.pid), "--account", str(account.folder)]

    assert main(words, account.environ) == 0

    assert _is_reaped(sleeper.pid), "the process has ended when the hook ends"
    (entry,) = _said(tmp_path)
    assert (entry["level"], entry["shutdown"], entry["node"]) == ("info", "fast", f"{OWNER}-1")
    assert "has 3 replicas" in entry["reason"]
    assert TOKEN not in str(entry)


@pytest.mark.system
@pytest.mark.parametrize(("replicas", "level"), [(1, "info"), (-1, "warning")], ids=["not wanted", "nonsense"])
def test_the_hook_leaves_a_process_alone_that_does_not_come_back(
    replicas: int, level: str, account: ServiceAccount, sleeper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    account.server.put(stateful_set(replicas))

    assert main(["60", "--pid", str(sleeper.pid), "--account", str(account.folder)], account.environ) == 0

    assert sleeper.poll() is None
    (entry,) = _said(tmp_path)
    assert (entry["level"], entry["shutdown"]) == (level, "graceful")


@pytest.mark.system
def test_a_hook_without_access_to_the_log_writes_to_standard_error(
    account: ServiceAccount, capsys: pytest.CaptureFixture[str]
) -> None:
    """Covers a process that has ended already: its log and the process itself are missing."""
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()

    assert main(["60", "--pid", str(gone.pid), "--account", str(account.folder)], account.environ) == 0

    decided, failed = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert decided["shutdown"] == "fast"
    assert failed["reason"].startswith("SIGQUIT could not be sent to the node: ")


@pytest.mark.system
def test_a_log_without_a_reader_does_not_block_the_hook(
    account: ServiceAccount, capsys: pytest.CaptureFixture[str]
) -> None:
    """Covers a full pipe, which accepts no line; the hook must not wait for it."""
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writes, bytes(65_536))
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], stderr=writes)
    reaping = threading.Thread(target=process.wait)
    reaping.start()
    try:
        assert main(["60", "--pid", str(process.pid), "--account", str(account.folder)], account.environ) == 0
        assert _is_reaped(process.pid)
    finally:
        process.kill()
        reaping.join()
        os.close(reads)
        os.close(writes)
    assert json.loads(capsys.readouterr().err)["shutdown"] == "fast"


@pytest.mark.system
def test_the_hook_runs_as_a_command_and_never_ends_with_a_traceback(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "goverse_cli.pre_stop", "60", "--pid", str(os.getpid()), "--account", str(tmp_path)],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ran.returncode == 0
    assert "Traceback" not in ran.stderr
