"""``goverse dev``: start in a new folder, errors that prevent a start, shutdown, and the texts for the user."""

import json
import signal
import socket
import subprocess
import threading
from pathlib import Path

import httpx
import pytest

from tests.integration.cli.processes import COUNTER, application, dev, goverse, runs, until

RELOAD = pytest.mark.parametrize("mode", ["--reload", "--no-reload"])

SLOW = (
    COUNTER
    + """
    @call
    async def dawdle(self) -> str:
        import asyncio
        import pathlib
        pathlib.Path("begun").touch()
        await asyncio.sleep(1.5)
        return "done"
"""
)


@RELOAD
@pytest.mark.requirement("QUA-1", "DUR-1", "GATE-1")
def test_a_new_folder_is_served_and_keeps_its_data_after_a_kill(tmp_path: Path, mode: str) -> None:
    application(tmp_path)

    with dev(tmp_path, "app.py", mode) as server:
        record = server.wait_for("serving")
        assert record["types"] == ["Counter"]
        assert record["docs"] == f"{record['url']}/docs"
        assert server.increment(by=2) == 2
        state = httpx.get(f"{server.url}/objects/Counter/c1")
        assert (state.json(), state.headers["ETag"]) == ({"value": 2}, '"1"')
        assert httpx.get(f"{server.url}/ready").json()["ready"] is True
        assert httpx.get(record["docs"]).status_code == 200
        assert "goverse_build_info" in httpx.get(f"{server.url}/metrics").text
        server.close()

    assert (tmp_path / ".goverse" / "manifest.json").is_file()
    with dev(tmp_path, "app.py", mode) as again:
        assert again.increment(by=2) == 4


LEAVING = (
    COUNTER
    + """
    @call
    async def leave(self, how: str) -> None:
        import asyncio
        self.value = 100
        await asyncio.gather(self._leave(how), asyncio.sleep(0))

    @call
    async def leave_together(self, how: str) -> None:
        import asyncio
        async with asyncio.TaskGroup() as group:
            group.create_task(self._leave(how))

    async def _leave(self, how: str) -> None:
        raise {"exit": SystemExit(3), "interrupt": KeyboardInterrupt()}[how]
"""
)


@RELOAD
@pytest.mark.requirement("OBJ-9")
def test_an_exit_in_a_task_of_a_method_fails_its_call_and_the_server_keeps_serving(tmp_path: Path, mode: str) -> None:
    application(tmp_path, LEAVING)

    with dev(tmp_path, "app.py", mode) as server:
        pid = server.server_pid() if mode == "--reload" else None
        assert server.increment() == 1
        for method in ("leave", "leave_together"):
            for how in ("exit", "interrupt"):
                failed = httpx.post(f"{server.url}/objects/Counter/c1/call/{method}", json={"how": how}, timeout=60)
                assert (failed.status_code, failed.json()["code"]) == (500, "method_failed")
        assert server.increment() == 2
        assert pid is None or server.server_pid() == pid
        server.signal(signal.SIGTERM)
        assert server.wait() == 0


@RELOAD
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_lets_running_calls_finish(tmp_path: Path, mode: str, number: signal.Signals) -> None:
    application(tmp_path, SLOW)
    answers: list[httpx.Response] = []

    with dev(tmp_path, "app.py", mode) as server:
        url = f"{server.url}/objects/Counter/c1/call/dawdle"
        caller = threading.Thread(target=lambda: answers.append(httpx.post(url, timeout=60)))
        caller.start()
        until((tmp_path / "begun").exists, "the call to begin")
        server.signal(number)
        assert server.wait() == 0
        caller.join(60)

    assert [answer.json() for answer in answers] == ["done"]


def test_a_second_signal_ends_the_server_immediately(tmp_path: Path) -> None:
    application(tmp_path, SLOW.replace("1.5", "1000"))

    with dev(tmp_path, "app.py") as server:
        url = f"{server.url}/objects/Counter/c1/call/dawdle"
        pid = server.server_pid()
        caller = threading.Thread(target=_post_and_forget, args=(url,))
        caller.start()
        until((tmp_path / "begun").exists, "the call to begin")
        server.signal(signal.SIGTERM)
        server.wait_for("stopping after the running calls finish")
        server.signal(signal.SIGTERM)
        assert server.wait() == 1
        caller.join(60)

    assert not runs(pid)


def _post_and_forget(url: str) -> None:
    try:
        httpx.post(url, timeout=60)
    except httpx.TransportError:
        return


@RELOAD
def test_a_port_in_use_is_reported_with_a_remedy(tmp_path: Path, mode: str) -> None:
    application(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        ended = goverse("dev", "app.py", mode, "--port", str(port), cwd=tmp_path)

    assert ended.returncode == 3
    assert f"port {port} of 127.0.0.1 is in use by another program" in ended.stderr
    assert "--port" in ended.stderr
    assert "Traceback" not in ended.stderr


@RELOAD
@pytest.mark.requirement("WAL-1")
def test_a_data_directory_in_use_is_reported_with_a_remedy(tmp_path: Path, mode: str) -> None:
    application(tmp_path)
    with dev(tmp_path, "app.py") as server:
        server.wait_for("serving")

        ended = goverse("dev", "app.py", mode, "--port", "0", cwd=tmp_path)

        assert ended.returncode == 3
        assert f"\nerror: the data directory .goverse is in use by process {server.pid}\n" in ended.stderr
        assert "hint: stop that process, or choose another directory with --data-dir" in ended.stderr
        assert "Traceback" not in ended.stderr
        assert server.increment() == 1


@RELOAD
@pytest.mark.requirement("WAL-4")
def test_damaged_data_is_refused_and_the_file_is_named(tmp_path: Path, mode: str) -> None:
    application(tmp_path)
    with dev(tmp_path, "app.py", "--no-reload") as server:
        server.increment()
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
    (tmp_path / ".goverse" / "manifest.json").write_text("{}")

    ended = goverse("dev", "app.py", mode, "--port", "0", cwd=tmp_path)

    assert ended.returncode == 1
    assert "manifest.json" in ended.stderr
    assert "Traceback" not in ended.stderr


@RELOAD
def test_a_data_directory_that_cannot_be_written_is_named(tmp_path: Path, mode: str) -> None:
    application(tmp_path)

    ended = goverse("dev", "app.py", mode, "--port", "0", "--data-dir", "/proc/goverse", cwd=tmp_path)

    assert ended.returncode == 1
    assert "/proc/goverse" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ap.py"], "file or folder not found: ap.py; did you mean app.py?"),
        (["app.py", "--host", "0.0.0.0"], "gate.host (flag --host): other machines can reach 0.0.0.0"),
        (["app.py", "--port", "65536"], "gate.port (flag --port): input should be less than or equal to 65535"),
        (["app.py", "--config", "none.yaml"], "none.yaml cannot be read"),
        (["app.py", "--host", "192.0.2.7.x"], "other machines can reach 192.0.2.7.x"),
        (["empty.py", "--no-reload"], "empty.py has no object types"),
        (["broken.py", "--no-reload"], "ZeroDivisionError"),
    ],
)
def test_errors_in_the_command_are_reported_before_the_start(tmp_path: Path, arguments: list[str], said: str) -> None:
    application(tmp_path)
    application(tmp_path, "x = 1\n", "empty.py")
    application(tmp_path, "x = 1 / 0\n", "broken.py")

    ended = goverse("dev", *arguments, cwd=tmp_path)

    assert ended.returncode == 2
    assert said in ended.stderr
    assert not (tmp_path / ".goverse").exists()


def test_serving_other_machines_logs_a_warning(tmp_path: Path) -> None:
    application(tmp_path)
    allow = {"GOVERSE_GATE__ALLOW_UNAUTHENTICATED_REMOTE": "true"}

    with dev(tmp_path, "app.py", "--no-reload", "--host", "0.0.0.0", **allow) as server:
        warning = server.wait_for("other machines can reach 0.0.0.0")
        assert warning["level"] == "warning"
        assert server.url.startswith("http://127.0.0.1:")
        assert server.increment() == 1


def test_a_terminal_shows_the_address_the_types_and_a_first_call(tmp_path: Path) -> None:
    application(tmp_path)

    with dev(tmp_path, "app.py", "--no-reload", LOG_FORMAT="text") as server:
        first = server.wait_for("curl -X POST")["event"].split()
        shown = "\n".join(record["event"] for record in server.records)
        url = first[3]
        arguments = json.loads(first[5].strip("'")) if "-d" in first else {}
        answer = httpx.post(url, json=arguments)

    assert answer.status_code == 200
    assert "/docs" in shown
    assert str(tmp_path / ".goverse") in shown
    assert "Counter" in shown
    assert "\x1b[" not in shown


def test_the_first_call_needs_no_create_and_the_pid_is_that_of_the_command(tmp_path: Path) -> None:
    application(tmp_path, "from counting import Counter\nfrom rooms import Attic\n")
    application(tmp_path, COUNTER, "counting.py")
    application(tmp_path, COUNTER.replace("Counter(Object)", "Attic(Object, create_on_call=False)"), "rooms.py")

    with dev(tmp_path, "app.py", LOG_FORMAT="text") as server:
        first = server.wait_for("curl -X POST")["event"].split()
        pid = server.wait_for(" pid ")["event"].split()
        assert httpx.post(first[3], json={}).status_code == 200
        assert (int(pid[1]), int(pid[4].rstrip(")"))) == (server.pid, server.server_pid())


def test_the_first_call_to_a_type_without_create_on_call_follows_its_create(tmp_path: Path) -> None:
    application(tmp_path, COUNTER.replace("Counter(Object)", "Attic(Object, create_on_call=False)"))

    with dev(tmp_path, "app.py", "--no-reload", LOG_FORMAT="text") as server:
        create = server.wait_for("curl -X PUT")["event"].split()
        first = server.wait_for("curl -X POST")["event"].split()
        assert httpx.put(create[3]).status_code == 201
        assert httpx.post(first[3], json={}).status_code == 200


CART = (
    COUNTER.replace("import Object, call", "import BusinessError, Object, call")
    + """

class Paid(BusinessError):
    status = 409
    code = "paid"


class Cart(Object):
    items: dict[str, int] = {}

    @call(raises=(Paid,))
    async def add(self, article: str, count: int) -> None:
        raise Paid

    @call
    async def pay(self) -> None:
        if not self.items:
            raise Paid
"""
)
TOTAL = """
    @call(readonly=True)
    async def total(self) -> int:
        return len(self.items)
"""
ALONE = "\n\ndel Counter\n"
HOOK = """
    async def on_create(self, owner: str) -> None:
        self.items[owner] = 1
"""
REFUSING = """
    @raises(Paid)
    async def on_create(self) -> None:
        raise Paid
"""


@pytest.mark.parametrize(
    ("source", "paths"),
    [
        (CART, ["Counter/counter-1/call/increment"]),
        (CART + TOTAL + ALONE, ["Cart/cart-1", "Cart/cart-1/call/total"]),
        (CART + TOTAL + HOOK + ALONE, ["Cart/cart-1", "Cart/cart-1/call/total"]),
        (
            CART.replace("    @call\n    async def pay", "    @call(raises=(Paid,))\n    async def pay") + ALONE,
            ["Cart/cart-1", "Cart/cart-1"],
        ),
        (CART.replace("import B", "import raises, B") + REFUSING + ALONE, ["Cart"]),
    ],
)
def test_the_printed_requests_succeed_as_they_are(tmp_path: Path, source: str, paths: list[str]) -> None:
    application(tmp_path, source)

    with dev(tmp_path, "app.py", "--no-reload", LOG_FORMAT="text") as server:
        server.wait_for(" pid ")
        server.wait_for("curl ")
        until(lambda: server.count("  curl ") == len(paths), "the whole banner")
        printed = [record["event"] for record in server.records if "  curl " in record["event"]]
        assert [line.partition("/objects/")[2].split(" ")[0] for line in printed] == paths
        for line in printed:
            done = subprocess.run(
                ["sh", "-c", f"{line} -sS -o answer -w '%{{http_code}}'"],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
            )
            assert done.stdout.startswith("20"), (line, (tmp_path / "answer").read_text())


def test_a_web_page_is_served_beside_the_objects(tmp_path: Path) -> None:
    application(tmp_path)
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "index.html").write_text("<h1>Counters</h1>")

    with dev(tmp_path, "app.py", "--no-reload", "--web", "web") as server:
        assert "Counters" in httpx.get(server.url + "/").text
        assert server.increment() == 1


def test_the_log_level_changes_while_it_runs(tmp_path: Path) -> None:
    application(tmp_path)

    with dev(tmp_path, "app.py", "--no-reload") as server:
        refused = httpx.put(f"{server.url}/admin/log-level", json={"level": "DEBUG"})
        admin = {"Authorization": f"Bearer {(tmp_path / '.goverse' / 'admin.token').read_text().strip()}"}
        changed = httpx.put(f"{server.url}/admin/log-level", json={"level": "DEBUG"}, headers=admin)

        assert (refused.status_code, refused.json()["setting"]) == (403, "gate.admin_token_file")
        assert changed.status_code == 200
        assert httpx.get(f"{server.url}/admin/log-level", headers=admin).json() == {"level": "DEBUG"}
        shown = httpx.get(f"{server.url}/admin/config", headers=admin).json()
        assert shown["gate.port"] == {"value": 0, "origin": "flag --port"}


LOGGING = """
import logging.config

logging.config.dictConfig(
    {
        "version": 1,
        "handlers": {"own": {"class": "logging.StreamHandler"}},
        "loggers": {"shop": {"handlers": ["own"], "level": "INFO"}},
    }
)
logging.getLogger("shop").info("from the shop")
"""


@pytest.mark.requirement("OBS-3")
def test_an_application_that_configures_logging_does_not_silence_the_server(tmp_path: Path) -> None:
    boom = COUNTER + "\n    @call\n    async def boom(self) -> None:\n        raise ZeroDivisionError\n"
    application(tmp_path, LOGGING + boom)

    with dev(tmp_path, "app.py") as server:
        failed = httpx.post(f"{server.url}/objects/Counter/c1/call/boom", headers={"X-Request-Id": "r1"})

        assert failed.status_code == 500
        record = server.wait_for("method failed")
        assert record["request_id"] == "r1"
        assert "ZeroDivisionError" in record["exception"]


@pytest.mark.requirement("OBJ-14")
def test_the_configuration_sets_access_to_delete(tmp_path: Path) -> None:
    application(tmp_path)
    (tmp_path / "goverse.yaml").write_text("objects:\n  Counter:\n    delete: anyone\n")

    with dev(tmp_path, "app.py", "--no-reload") as server:
        assert server.increment() == 1
        refused = httpx.delete(f"{server.url}/objects/Counter/c1")
        assert (refused.status_code, refused.json()["code"]) == (403, "access_denied")
        server.close()
    with dev(tmp_path, "app.py", "--no-reload", "--config", "goverse.yaml") as server:
        assert httpx.delete(f"{server.url}/objects/Counter/c1").status_code == 204


@RELOAD
@pytest.mark.requirement("OBJ-14")
def test_a_setting_for_an_unknown_type_is_an_error(tmp_path: Path, mode: str) -> None:
    application(tmp_path)
    (tmp_path / "goverse.yaml").write_text("objects:\n  Conter:\n    delete: anyone\n")

    ended = goverse("dev", "app.py", mode, "--port", "0", "--config", "goverse.yaml", cwd=tmp_path)
    assert ended.returncode == 2
    assert "objects.Conter: the application has no object type 'Conter'; did you mean objects.Counter?" in ended.stderr


@RELOAD
@pytest.mark.parametrize("command", ["dev", "gate"])
def test_a_missing_folder_of_pages_is_reported_before_the_start(tmp_path: Path, mode: str, command: str) -> None:
    application(tmp_path)
    arguments = ["app.py", mode] if command == "dev" else []

    ended = goverse(command, *arguments, "--web", "nodir", "--port", "0", cwd=tmp_path)

    assert ended.returncode == 2
    assert "the web folder nodir does not exist" in ended.stderr
    assert "name another folder with --web (gate.web_dir)" in ended.stderr
    assert not (tmp_path / ".goverse").exists()
