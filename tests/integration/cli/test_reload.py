"""``goverse dev`` with reload: new code is served without a failed request, and no process is left running."""

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.ports import free_port
from goverse_cli.dev.messages import Job
from goverse_cli.dev.server_process import ServerProcess
from goverse_cli.listener import bind
from tests.integration.cli.processes import COUNTER, Dev, application, dev, edit, goverse, runs, text_of, until


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Dev]:
    """A server with a counter."""
    application(tmp_path)
    with dev(tmp_path, "app.py", "--port", str(free_port())) as running:
        running.wait_for("serving")
        yield running


class Caller(threading.Thread):
    """Calls without a pause and records every response, until a call fails."""

    def __init__(self, server: Dev, *, keep_alive: bool) -> None:
        super().__init__()
        limits = httpx.Limits(max_keepalive_connections=1 if keep_alive else 0)
        self._client = httpx.Client(limits=limits, timeout=60)
        self._url = f"{server.url}/objects/Counter/busy/call/increment"
        self._enough = threading.Event()
        self.values: list[int] = []
        self.failure = ""

    def run(self) -> None:
        while not self._enough.is_set() and not self.failure:
            answer = self._client.post(self._url, json={"by": 1})
            if answer.status_code == 200:
                self.values.append(answer.json())
            else:
                self.failure = answer.text

    def finish(self) -> None:
        self._enough.set()
        self.join(60)
        self._client.close()


@pytest.mark.requirement("QUA-1")
def test_edits_are_served_without_a_failed_request(server: Dev, tmp_path: Path) -> None:
    caller = Caller(server, keep_alive=False)
    caller.start()

    for step in (10, 100, 1000):
        edit(tmp_path / "app.py", "return self.value", f"return self.value + {step} - {step}")
        reloads = server.count("the application was reloaded")
        until(lambda n=reloads: server.count("the application was reloaded") > n, "a reload")  # type: ignore[misc]
        seen = len(caller.values)
        until(lambda n=seen: len(caller.values) > n + 5, "calls after the reload")  # type: ignore[misc]
    caller.finish()

    assert caller.failure == ""
    assert caller.values == list(range(1, len(caller.values) + 1))


def test_an_edit_changes_what_is_answered(server: Dev, tmp_path: Path) -> None:
    assert server.increment(by=2) == 2

    edit(tmp_path / "app.py", "self.value += by", "self.value += 10 * by")

    until(lambda: server.increment(by=0, object_id="other") == 0 and server.said("reloaded") is not None, "a reload")
    assert server.increment(by=2) == 22


def test_a_module_beside_the_application_and_a_new_type_are_noticed(tmp_path: Path) -> None:
    application(tmp_path, "from counting import Counter\n")
    application(tmp_path, COUNTER, "counting.py")

    with dev(tmp_path, "app.py") as server:
        server.wait_for("serving")
        edit(tmp_path / "counting.py", "+= by", "+= 2 * by")
        server.wait_for("the application was reloaded")
        assert server.increment() == 2
        (tmp_path / "app.py").write_text("from counting import Counter\n\nclass Cart(Counter):\n    pass\n")
        until(lambda: httpx.get(f"{server.url}/objects/Cart").status_code == 200, "the new type")


def test_a_broken_edit_is_shown_and_the_old_code_keeps_serving(server: Dev, tmp_path: Path) -> None:
    edit(tmp_path / "app.py", "value: int = 0", "value: int = 1 / 0")

    shown = text_of(server.wait_for("ZeroDivisionError"))
    assert 'app.py", line 8' in shown
    assert "still serving the old code; waiting for the next change" in shown
    assert server.increment() == 1

    edit(tmp_path / "app.py", "value: int = 1 / 0", "value: int = 0")
    server.wait_for("the application was reloaded")
    assert server.increment() == 2


NO_DOCUMENT = """
import goverse_cli.serve

def describe(registry):
    raise RuntimeError("no document")

goverse_cli.serve.describe = describe
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("by: int = 1", "by: type[int] = int", "Counter.increment: parameter by: a class has no JSON form"),
        ("\n\nclass", NO_DOCUMENT + "\n\nclass", "unexpected error: RuntimeError: no document"),
        ("class Counter", "class Renamed", "Counter"),
    ],
    ids=["a type without JSON", "an unexpected error", "a setting of another type"],
)
def test_an_edit_that_cannot_be_served_leaves_the_old_code_serving(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    path = application(tmp_path)
    (tmp_path / "goverse.yaml").write_text("objects:\n  Counter:\n    delete: anyone\n")

    with dev(tmp_path, "app.py", "--config", "goverse.yaml") as server:
        assert server.increment() == 1
        edit(path, old, new)
        assert said in str(server.wait_for("still serving the old code; waiting for the next change")["event"])
        assert server.increment() == 2

        edit(path, new, old)
        server.wait_for("the application was reloaded")
        assert server.increment() == 3


@pytest.mark.parametrize("breakage", ["type", "document"])
def test_a_first_start_that_cannot_be_served_waits_for_an_edit(tmp_path: Path, breakage: str) -> None:
    source = COUNTER.replace("by: int = 1", "by: type[int] = int") if breakage == "type" else NO_DOCUMENT + COUNTER
    path = application(tmp_path, source)

    with dev(tmp_path, "app.py") as server:
        server.wait_for("nothing is served; waiting for the next change")
        path.write_text(COUNTER)
        assert server.increment() == 1


def test_a_terminal_shows_the_lines_of_a_broken_edit(tmp_path: Path) -> None:
    path = application(tmp_path)
    with dev(tmp_path, "app.py", LOG_FORMAT="text") as server:
        server.wait_for("curl ")
        edit(path, "value: int = 0", "value: int = 1 / 0")
        server.wait_for("    ZeroDivisionError: division by zero")
        shown = [str(record["event"]) for record in server.records]

    assert f'      File "{path}", line 8, in Counter' in shown
    assert [line for line in shown if "\\n" in line] == []


@pytest.mark.parametrize("target", ["nofile", "no.file", "empty.py", "app:Nothing", "app:COUNTER"])
def test_a_target_that_can_never_be_served_ends_the_command(tmp_path: Path, target: str) -> None:
    application(tmp_path, COUNTER + "\n\nCOUNTER = 1\n")
    application(tmp_path, "x = 1\n", "empty.py")

    ended = goverse("dev", target, "--port", "0", cwd=tmp_path)

    assert ended.returncode == 2
    assert ended.stderr.startswith("error: "), ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_program_that_is_broken_from_the_start_is_served_when_it_is_repaired(tmp_path: Path) -> None:
    path = application(tmp_path, COUNTER.replace("int = 0", "int = 0 +"))

    with dev(tmp_path, "app.py") as server:
        assert "nothing is served; waiting for the next change" in str(server.wait_for("SyntaxError")["event"])
        edit(path, "int = 0 +", "int = 0")
        assert server.increment() == 1


def test_a_broken_edit_while_a_reload_switches_leaves_the_code_before_it_serving(tmp_path: Path) -> None:
    held = COUNTER + (
        "\n    @call\n    async def hold(self) -> None:\n        import asyncio, pathlib\n"
        '        pathlib.Path("begun").touch()\n'
        '        while not pathlib.Path("released").exists():\n            await asyncio.sleep(0.01)\n'
    )
    path = application(tmp_path, held)

    with dev(tmp_path, "app.py") as server:
        holder = threading.Thread(target=_post_and_forget, args=(f"{server.url}/objects/Counter/held/call/hold",))
        holder.start()
        until((tmp_path / "begun").exists, "the call to begin")
        edit(path, "self.value += by", "self.value += 10 * by")
        until(lambda: not _answers(server.url), "the old process to drain")
        edit(path, "int = 0", "int = 0 +")
        until(lambda: server.count("changed") == 2, "the second change")
        (tmp_path / "released").touch()

        assert "still serving the old code" in str(server.wait_for("SyntaxError")["event"])
        assert server.increment() == 10
        holder.join(60)


def test_after_a_server_dies_over_a_broken_file_requests_wait_for_the_repair(server: Dev, tmp_path: Path) -> None:
    edit(tmp_path / "app.py", "int = 0", "int = 0 +")
    server.wait_for("still serving the old code")
    os.kill(server.server_pid(), signal.SIGKILL)
    server.wait_for("nothing is served; waiting for the next change")

    values: list[int] = []
    with socket.create_connection(("127.0.0.1", httpx.URL(server.url).port or 0)):  # the kernel accepts connections
        caller = threading.Thread(target=lambda: values.append(server.increment()))
        caller.start()
        edit(tmp_path / "app.py", "int = 0 +", "int = 0")
        server.wait_for("the application was reloaded")
        caller.join(60)

    assert values == [1]


def test_an_import_that_hangs_gives_way_to_the_next_edit(server: Dev, tmp_path: Path) -> None:
    hang = 'open("hanging", "w").close(); import threading; threading.Event().wait()\n'
    (tmp_path / "app.py").write_text(hang + COUNTER)
    until((tmp_path / "hanging").exists, "the import to hang")
    assert server.increment() == 1

    (tmp_path / "app.py").write_text(COUNTER)
    server.wait_for("the application was reloaded")
    assert server.increment() == 2


def test_a_process_that_is_killed_during_its_import_leaves_the_old_code_serving(server: Dev, tmp_path: Path) -> None:
    path = tmp_path / "app.py"
    path.write_text("import os\nos._exit(7)\n" + COUNTER)
    server.wait_for("the process that imported the application ended with exit code 7")
    assert server.increment() == 1

    path.write_text(COUNTER)
    server.wait_for("the application was reloaded")
    assert server.increment() == 2


@pytest.mark.parametrize("source", [COUNTER.replace("= 0", "= 0 +"), "import threading\nthreading.Event().wait()\n"])
def test_a_signal_ends_it_while_nothing_is_served(tmp_path: Path, source: str) -> None:
    application(tmp_path, 'open("begun", "w").close()\n' * ("Event" in source) + source)
    with dev(tmp_path, "app.py") as server:
        until(lambda: (tmp_path / "begun").exists() or server.said("nothing is served") is not None, "the import")
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert server.children() == []


def test_files_that_are_not_part_of_the_program_change_nothing(server: Dev, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no code")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "code.py").write_text("x = 1\n")
    assert server.increment() == 1

    edit(tmp_path / "app.py", "+= by", "+= 2 * by")
    server.wait_for("the application was reloaded")

    assert [record["event"] for record in server.records if "changed" in str(record["event"])] == [
        "app.py changed; importing the application again"
    ]


def test_settings_in_a_file_are_read_again(tmp_path: Path) -> None:
    application(tmp_path)
    config = tmp_path / "goverse.yaml"
    config.write_text("gate:\n  body_bytes_max: 1024\n")

    with dev(tmp_path, "app.py", "--config", "goverse.yaml") as server:
        url = f"{server.url}/objects/Counter/c1/call/increment"
        padded = b'{"by": 1' + b" " * 2048 + b"}"
        assert httpx.post(url, content=padded).status_code == 413
        config.write_text("gate:\n  body_bytes_maxx: 4096\n")
        assert "did you mean gate.body_bytes_max?" in str(server.wait_for("body_bytes_maxx")["event"])
        config.write_text("gate:\n  body_bytes_max: 4096\n")
        server.wait_for("the application was reloaded")
        assert httpx.post(url, content=padded).status_code == 200


@pytest.mark.chaos
@pytest.mark.requirement("DUR-1")
def test_a_killed_server_process_is_replaced_and_requests_wait_for_it(server: Dev) -> None:
    assert server.increment() == 1
    pid = server.server_pid()

    os.kill(pid, signal.SIGKILL)

    until(lambda: not runs(pid), "the end of the process")
    assert server.increment() == 2
    assert "the server process was ended by SIGKILL; starting it again" in str(server.wait_for("SIGKILL")["event"])
    assert server.server_pid() != pid


@pytest.mark.chaos
def test_a_server_process_that_keeps_dying_is_given_up(tmp_path: Path) -> None:
    suicide = "import os, threading\nthreading.Timer(0.3, os._exit, (9,)).start()\n"
    application(tmp_path, suicide + COUNTER)

    with dev(tmp_path, "app.py") as server:
        assert server.wait() == 1
        assert server.said("ended with exit code 9") is not None
        assert server.said("times in a row; giving up") is not None


@pytest.mark.chaos
@pytest.mark.requirement("WAL-1")
def test_a_killed_supervisor_leaves_no_process(server: Dev, tmp_path: Path) -> None:
    port = httpx.URL(server.url).port
    assert port is not None
    assert server.increment() == 1
    pid = server.server_pid()

    os.kill(server.pid, signal.SIGKILL)

    until(lambda: not runs(pid), "the end of the server process")
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", port))
    with dev(tmp_path, "app.py", "--port", str(port)) as again:
        assert again.increment() == 2


@pytest.mark.chaos
def test_the_server_of_a_killed_supervisor_ends_even_if_it_is_stuck_in_user_code(tmp_path: Path) -> None:
    stuck = COUNTER + (
        "\n    @call\n    def hang(self) -> None:\n        import pathlib, time\n"
        '        pathlib.Path("begun").touch()\n        time.sleep(1000)\n'
    )
    application(tmp_path, stuck)

    with dev(tmp_path, "app.py") as server:
        url = f"{server.url}/objects/Counter/c1/call/hang"
        pid = server.server_pid()
        caller = threading.Thread(target=_post_and_forget, args=(url,))
        caller.start()
        until((tmp_path / "begun").exists, "the call to begin")
        os.kill(server.pid, signal.SIGKILL)

        until(lambda: not runs(pid), "the end of the server process")
        caller.join(60)
        assert not caller.is_alive()


STUBBORN = """
import signal
import threading
from pathlib import Path

signal.signal(signal.SIGTERM, signal.SIG_IGN)
Path("begun").touch()
threading.Event().wait()
"""


@pytest.mark.chaos
async def test_a_server_process_that_does_not_stop_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    application(tmp_path, STUBBORN)
    monkeypatch.chdir(tmp_path)

    with bind("127.0.0.1", 0) as listener:
        process = await ServerProcess.start(Job("app.py", {}, None, listener.fileno()))
        await asyncio.to_thread(until, (tmp_path / "begun").exists, "the import to begin")
        await process.stop(0.1)

    assert process.ended.result() == "was ended by SIGKILL"
    assert process.imported.result() is None
    assert "the server process did not stop within 0.1 s; killing it" in caplog.text


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=1).is_success
    except httpx.TransportError:
        return False


def _post_and_forget(url: str) -> None:
    try:
        httpx.post(url, timeout=60)
    except httpx.TransportError:
        return


def test_a_package_reloads_for_its_own_files_and_for_what_it_imports(tmp_path: Path) -> None:
    for folder in ("shop", "tests", "clients"):
        (tmp_path / folder).mkdir()
        application(tmp_path / folder, "", "__init__.py")
    application(
        tmp_path / "shop",
        COUNTER.replace("+= by", "+= by * factor.FACTOR").replace("from goverse", "import factor\nfrom goverse"),
        "counter.py",
    )
    application(tmp_path / "shop", "from shop.counter import Counter\n", "__init__.py")
    application(tmp_path, "FACTOR = 1\n", "factor.py")
    outside = [
        application(tmp_path / "tests", "x = 1\n", "test_shop.py"),
        application(tmp_path / "clients", "x = 1\n", "c.py"),
    ]

    with dev(tmp_path, "shop") as server:
        assert server.increment() == 1
        for path in outside:
            edit(path, "x = 1", "x = 2")
        edit(tmp_path / "factor.py", "1", "10")
        until(lambda: server.count("the application was reloaded") == 1, "a reload")
        assert server.increment() == 11
        application(tmp_path / "shop", "", "new_module.py")
        until(lambda: server.count("the application was reloaded") == 2, "a reload")

        changed = [str(record["event"]) for record in server.records if "changed" in str(record["event"])]
    assert [event.partition(" changed")[0] for event in changed] == ["factor.py", "shop/new_module.py"]


def test_while_the_import_is_broken_a_change_of_any_file_beside_it_is_tried(tmp_path: Path) -> None:
    application(tmp_path, "from counting import Counter\n")

    with dev(tmp_path, "app.py") as server:
        server.wait_for("No module named 'counting'")
        application(tmp_path, COUNTER, "counting.py")
        assert server.increment() == 1
