"""Commands other than ``goverse dev``: results on standard output, errors on standard error, documented exit codes."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.ports import free_port
from tests.integration.cli.processes import COUNTER, Dev, application, dev, goverse

REFUSAL = """
from goverse import BusinessError


class SoldOut(BusinessError):
    \"\"\"Nothing is left.\"\"\"

    status = 409
    code = "sold_out"
"""

SHOP = (
    REFUSAL
    + COUNTER
    + """
    @call(raises=(SoldOut,))
    async def buy(self) -> None:
        raise SoldOut(left=0)

    @call
    async def nap(self, seconds: float) -> None:
        import asyncio
        await asyncio.sleep(seconds)

    @call
    async def echo(self, text: str) -> str:
        return text


class Order(Object, create_on_call=False):
    @call(readonly=True)
    async def total(self) -> int:
        return 0


class Account(Object):
    owner: str = ""
    limit: int = 0

    async def on_create(self, owner: str, limit: int) -> None:
        self.owner, self.limit = owner, limit

    @call(readonly=True)
    async def total(self) -> int:
        return 0
"""
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an application."""
    path = tmp_path_factory.mktemp("shop")
    application(path, SHOP)
    return path


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Dev]:
    """A server that serves the application."""
    with dev(folder, "app.py", "--no-reload") as running:
        running.wait_for("serving")
        yield running


@pytest.mark.requirement("QUA-1", "GATE-1")
def test_a_call_prints_the_result(server: Dev, folder: Path) -> None:
    first = goverse("call", "Counter", "printed", "increment", '{"by": 2}', "--url", server.url, cwd=folder)
    second = goverse("call", "Counter", "printed", "increment", cwd=folder, GOVERSE_URL=server.url)

    assert (first.returncode, first.stdout, first.stderr) == (0, "2\n", "")
    assert (second.returncode, second.stdout, second.stderr) == (0, "3\n", "")


def test_a_call_as_json_has_version_position_and_replay(server: Dev, folder: Path) -> None:
    command = ("call", "-o", "json", "Counter", "keyed", "increment", "--key", "k1", "--url", server.url)

    first, again = (json.loads(goverse(*command, cwd=folder).stdout) for _ in range(2))

    assert (first["result"], first["version"], first["replayed"]) == (1, "1", False)
    assert int(first["commit_seq"]) > 0
    assert (again["result"], again["version"], again["replayed"]) == (1, "1", True)


def test_arguments_come_from_a_file_or_standard_input_and_ids_are_any_text(server: Dev, folder: Path) -> None:
    (folder / "arguments.json").write_text('{"text": "grüße"}', encoding="utf-8")
    odd = "a/b ?#%ä"

    filed = goverse("call", "Counter", odd, "echo", "@arguments.json", "--url", server.url, cwd=folder)
    piped = goverse("call", "Counter", odd, "echo", "-", "--url", server.url, cwd=folder, stdin='{"text": "x"}')

    assert (filed.returncode, json.loads(filed.stdout)) == (0, "grüße")
    assert (piped.returncode, json.loads(piped.stdout)) == (0, "x")


def test_namespaces_are_separate(server: Dev, folder: Path) -> None:
    call = ("call", "Counter", "n", "increment", "--url", server.url)

    outcomes = [
        goverse(*call, *more, cwd=folder).stdout for more in ((), ("--namespace", "other"), ("--namespace", "other"))
    ]

    assert outcomes == ["1\n", "1\n", "2\n"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["Counter", "x", "buy"], 1, "Nothing is left. (409 sold_out)"),
        (["Counter", "x", "increment", '{"by": "much"}'], 1, "/by: "),
        (["Counter", "x", "incremet"], 1, "did you mean 'increment'? it has"),
        (["Conter", "x", "increment"], 1, "did you mean 'counter'? this application has"),
        (["Counter", "x", "nap", '{"seconds": 60}', "--timeout", "0.2"], 1, "(504 timeout, request "),
        (["Counter", "x", "increment", "{by: 2}"], 2, "the arguments are not JSON"),
        (["Counter", "x", "increment", "[2]"], 2, "the arguments must be a JSON object"),
        (["Counter", "x", "increment", "@absent.json"], 2, "absent.json cannot be read: No such file or directory"),
        (["Counter", "x", "increment", "--key", "ä"], 2, "Idempotency-Key: 'ä' is invalid"),
        (["Counter", "x", "increment", "--key", "~1"], 1, "an idempotency key cannot begin with"),
        (["Counter", "x"], 2, "missing argument 'METHOD'"),
        (["Counter", "x", "increment", "--timeout", "never"], 2, "--timeout"),
        (["Counter", "x", "increment", "--ur", "x"], 2, "no such option"),
    ],
)
def test_a_call_that_fails_says_why_in_a_sentence(
    server: Dev, folder: Path, arguments: list[str], code: int, said: str
) -> None:
    ended = goverse("call", *arguments, cwd=folder, GOVERSE_URL=server.url)

    assert ended.returncode == code
    assert said.lower() in ended.stderr.lower()
    assert ended.stderr.startswith("error: ")
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr


def test_a_problem_as_json_is_the_problem_document(server: Dev, folder: Path) -> None:
    ended = goverse("call", "Counter", "x", "buy", "-o", "json", "--url", server.url, cwd=folder)

    problem = json.loads(ended.stderr)
    assert (ended.returncode, problem["code"], problem["status"], problem["left"]) == (1, "sold_out", 409, 0)
    assert problem["request_id"]


def test_without_a_server_a_call_exits_with_3_and_says_how_to_start_one(folder: Path) -> None:
    port = free_port()

    ended = goverse("call", "Counter", "c1", "increment", "--url", f"http://127.0.0.1:{port}", cwd=folder)

    assert ended.returncode == 3
    assert f"no server answers at http://127.0.0.1:{port}" in ended.stderr
    assert "goverse dev" in ended.stderr


def test_a_proxy_of_the_environment_is_not_used_for_loopback(server: Dev, folder: Path) -> None:
    proxy = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY"), "http://127.0.0.1:9")

    ended = goverse("call", "Counter", "proxied", "increment", "--url", server.url, cwd=folder, **proxy)

    assert (ended.returncode, ended.stdout) == (0, "1\n")


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://localhost", "http://"])
def test_an_invalid_url_is_a_usage_error(folder: Path, url: str) -> None:
    ended = goverse("call", "Counter", "c1", "increment", "--url", url, cwd=folder)

    assert ended.returncode == 2
    assert "is not a valid URL" in ended.stderr


def test_the_api_document_is_the_same_from_code_and_from_the_server(server: Dev, folder: Path) -> None:
    from_code = goverse("openapi", "export", "app.py", cwd=folder)
    from_server = goverse("openapi", "export", "--url", server.url, "--out", "served.json", cwd=folder)

    assert (from_code.returncode, from_server.returncode) == (0, 0)
    document = json.loads(from_code.stdout)
    assert document["info"]["version"] in goverse("version", cwd=folder).stdout
    assert "/objects/Counter/{id}/call/increment" in document["paths"]
    served = json.loads((folder / "served.json").read_text())
    assert {path: item for path, item in served["paths"].items() if path.startswith("/objects")} == {
        path: item for path, item in document["paths"].items() if path.startswith("/objects")
    }
    assert goverse("openapi", "export", "app.py", cwd=folder).stdout == from_code.stdout
    assert goverse("openapi", "export", cwd=folder).returncode == 2


@pytest.mark.requirement("GATE-2")
def test_a_document_that_breaks_clients_is_refused_with_every_place(folder: Path, server: Dev, tmp_path: Path) -> None:
    assert goverse("openapi", "export", "app.py", "--out", str(tmp_path / "old.json"), cwd=folder).returncode == 0
    document = json.loads((tmp_path / "old.json").read_text(encoding="utf-8"))
    arguments = document["components"]["schemas"]["Counter_increment_arguments"]
    arguments["properties"] = {"by": {"type": "string"}}
    del document["paths"]["/objects/Counter/{id}/call/buy"]
    (tmp_path / "new.json").write_text(json.dumps(document), encoding="utf-8")
    check = ("openapi", "check", "old.json")

    same = goverse(*check, str(folder / "app.py"), cwd=tmp_path)
    served = goverse(*check, "--url", server.url, cwd=tmp_path)
    broken = goverse(*check, "new.json", cwd=tmp_path)
    told = goverse(*check, "new.json", "-o", "json", cwd=tmp_path)

    assert (same.returncode, same.stdout) == (0, "compatible: no change breaks clients of old.json\n")
    assert served.returncode == 0
    assert (broken.returncode, broken.stdout) == (1, "")
    assert "2 changes break clients of old.json" in broken.stderr
    assert "/objects/Counter/{id}/call/buy: the path was removed" in broken.stderr
    assert "body.by: integer was accepted and is no longer accepted" in broken.stderr
    assert [each["what"] for each in json.loads(told.stderr)["breaks"]] == [
        "the path was removed",
        "integer was accepted and is no longer accepted",
    ]
    (tmp_path / "none.json").write_text("[]")
    for wrong, code in ((("none.json",), 2), (("absent.json",), 2), ((), 2), (("new.json", "--url", server.url), 2)):
        refused = goverse(*check, *wrong, cwd=tmp_path)
        assert refused.returncode == code, wrong
        assert "Traceback" not in refused.stderr
        assert refused.stderr


def test_a_document_that_cannot_be_written_is_a_usage_error(folder: Path) -> None:
    ended = goverse("openapi", "export", "app.py", "--out", "absent/openapi.json", cwd=folder)

    assert ended.returncode == 2
    assert "absent/openapi.json cannot be written: No such file or directory" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "hint"),
    [
        (["Order", "o 1", "total"], 1, "hint: curl -X PUT {url}/objects/Order/o%201\n"),
        (["Order", "o1", "total", "--namespace", "b"], 1, "/objects/Order/o1 -H 'GoVerse-Namespace: b'\n"),
        (["Account", "a1", "total"], 1, """/objects/Account/a1 -d '{{"owner": ..., "limit": ...}}'\n"""),
    ],
)
def test_a_call_of_a_missing_object_names_the_command_that_creates_it(
    server: Dev, folder: Path, arguments: list[str], code: int, hint: str
) -> None:
    ended = goverse("call", *arguments, cwd=folder, GOVERSE_URL=server.url)

    assert ended.returncode == code
    assert hint.format(url=server.url) in ended.stderr


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data of a stopped server, in which c1 was incremented to 1, 2 and 3."""
    path = tmp_path_factory.mktemp("written")
    application(path)
    with dev(path, "app.py", "--no-reload") as running:
        assert [running.increment() for _ in range(3)] == [1, 2, 3]
        running.increment(object_id="c2")
    return path


@pytest.fixture
def data(written: Path, tmp_path: Path) -> Path:
    """A copy of ``written``."""
    return Path(shutil.copytree(written, tmp_path, dirs_exist_ok=True))


@pytest.mark.requirement("WAL-3")
def test_dump_restore_and_diff(data: Path) -> None:
    dumped = goverse("dump", cwd=data)
    lines = [json.loads(line) for line in dumped.stdout.splitlines()]
    assert [(line["id"], line["version"], line["state"]) for line in lines] == [
        ("c1", 3, {"value": 3}),
        ("c2", 1, {"value": 1}),
    ]
    (data / "today.ndjson").write_text(dumped.stdout)

    made = goverse("restore", "--to-seq", "2", "--into", "restored", "-o", "json", cwd=data)
    assert (made.returncode, json.loads(made.stdout)["seq"]) == (0, "2")
    same = goverse("diff", ".goverse", "today.ndjson", cwd=data)
    assert (same.returncode, same.stdout) == (0, "")
    differs = goverse("diff", ".goverse", "restored", cwd=data)
    assert differs.returncode == 1
    assert differs.stdout.splitlines() == ["Counter/c1 (default): version, state", "Counter/c2 (default): only in a"]
    assert (
        json.loads(goverse("diff", ".goverse", "restored", "-o", "json", cwd=data).stdout.splitlines()[1])["id"] == "c2"
    )

    with dev(data, "app.py", "--no-reload", "--data-dir", "restored") as running:
        assert running.increment() == 3


def test_numbers_keep_all_their_digits(tmp_path: Path) -> None:
    line = {"namespace": "default", "type": "T", "id": "a", "version": 1, "state": {"n": 99999999999999999999}}
    (tmp_path / "some.ndjson").write_text(json.dumps(line) + "\n")
    (tmp_path / "none.ndjson").write_text("")
    application(tmp_path, COUNTER.replace("by: int = 1", "by: int = 99999999999999999999"))

    differs = goverse("diff", "some.ndjson", "none.ndjson", "-o", "json", cwd=tmp_path)
    document = goverse("openapi", "export", "app.py", cwd=tmp_path)
    with dev(tmp_path, "app.py", "--no-reload", LOG_FORMAT="text") as running:
        shown = running.wait_for("curl -X POST")["event"]
        url = shown.split()[3].partition("/objects")[0]
        served = goverse("openapi", "export", "--url", url, cwd=tmp_path)

    assert differs.returncode == 1
    assert json.loads(differs.stdout)["a"]["state"] == {"n": 99999999999999999999}
    assert "99999999999999999999" in shown
    assert '"default": 99999999999999999999' in document.stdout
    assert '"default": 99999999999999999999' in served.stdout


@pytest.mark.requirement("WAL-3")
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["restore", "--to-seq", "99", "--into", "new"], 1, "position 99 is not covered"),
        (["restore", "--into", "."], 2, ". is not empty; name a new directory"),
        (["restore"], 2, "nothing to restore was named"),
        (["restore", "--to-seq", "1", "--to-time", "2026-01-01", "--into", "new"], 2, "not both"),
        (["restore", "--to-time", "yesterday", "--into", "new"], 2, "--to-time: 'yesterday' is not a timestamp"),
        (["dump", "--data-dir", "absent"], 2, "the data directory absent does not exist"),
        (["restore", "--data-dir", "absent", "--into", "new"], 2, "the data directory absent does not exist"),
        (["snapshot", "--data-dir", "absent"], 2, "the data directory absent does not exist"),
        (["trim", "--data-dir", "absent", "--yes"], 2, "the data directory absent does not exist"),
        (["diff", ".goverse", "absent"], 2, "absent does not exist"),
        (["trim"], 2, "can no longer be restored after this"),
        (["trim", "--no-input"], 2, "--yes"),
        (["snapshot", "--data-dir", "empty"], 2, "empty is not a data directory"),
        (["dump", "--data-dir", "empty"], 2, "empty is not a data directory: manifest.json is missing"),
        (["diff", ".goverse", "empty"], 2, "empty is not a data directory: manifest.json is missing"),
    ],
)
def test_storage_commands_report_why_they_cannot_run(data: Path, arguments: list[str], code: int, said: str) -> None:
    (data / "empty").mkdir()

    ended = goverse(*arguments, cwd=data)

    assert ended.returncode == code
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (data / "new").exists()


@pytest.mark.requirement("WAL-3")
def test_restore_to_a_time_takes_what_was_before(data: Path) -> None:
    at_ms = json.loads(goverse("dump", "--to-seq", "1", cwd=data).stdout)["modified_ms"]
    seconds, milliseconds = divmod(at_ms, 1000)
    from datetime import UTC, datetime

    exact = datetime.fromtimestamp(seconds, UTC).replace(microsecond=milliseconds * 1000)
    ended = goverse("restore", "--to-time", exact.isoformat(), "--into", "then", "-o", "json", cwd=data)
    early = goverse("restore", "--to-time", "2001-01-01T00:00:00Z", "--into", "dawn", "-o", "json", cwd=data)

    assert ended.returncode == 0
    assert 1 <= int(json.loads(ended.stdout)["seq"]) <= 4
    assert (early.returncode, json.loads(early.stdout)["seq"]) == (0, "0")


@pytest.mark.requirement("WAL-2")
def test_snapshot_and_trim_at_rest(data: Path) -> None:
    made = goverse("snapshot", "-o", "json", cwd=data)
    trimmed = goverse("trim", "--yes", "-o", "json", cwd=data)

    assert (made.returncode, json.loads(made.stdout)["objects"]) == (0, 2)
    assert (trimmed.returncode, set(json.loads(trimmed.stdout))) == (0, {"segments", "snapshots", "bytes"})
    with dev(data, "app.py", "--no-reload") as running:
        assert running.increment() == 4


@pytest.mark.requirement("WAL-2")
def test_snapshot_and_trim_go_through_the_server_that_holds_the_directory(data: Path) -> None:
    with dev(data, "app.py", "--no-reload") as running:
        made = goverse("snapshot", "-o", "json", "--url", running.url, cwd=data)
        trimmed = goverse("trim", "--yes", "--url", running.url, cwd=data)
        nobody = goverse("snapshot", "--url", "http://127.0.0.1:9", cwd=data)
        dumped = goverse("dump", cwd=data)

        assert (made.returncode, json.loads(made.stdout)["objects"]) == (0, 2), made.stderr
        assert (trimmed.returncode, trimmed.stdout[:8]) == (0, "removed "), trimmed.stderr
        assert nobody.returncode == 3
        assert "is in use by process" in nobody.stderr
        assert len(dumped.stdout.splitlines()) == 2
        assert running.increment() == 4


def test_a_reader_that_closes_the_pipe_early_causes_no_error(data: Path) -> None:
    import subprocess
    import sys

    from tests.integration.cli.processes import environment

    with (data / "many.ndjson").open("w") as many:
        line = '{"namespace":"default","type":"T","id":"%07d","version":1,"state":{}}\n'
        many.writelines(line % number for number in range(50_000))
    shutil.copy(data / "many.ndjson", data / "none.ndjson")
    (data / "none.ndjson").write_text("")
    command = f"{sys.executable} -m goverse_cli diff many.ndjson none.ndjson | head -1"
    ended = subprocess.run(
        ["bash", "-c", command], cwd=data, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )

    assert ended.stdout == "T/0000000 (default): only in a\n"
    assert ended.stderr == ""


def test_config_check_show_and_generate(tmp_path: Path) -> None:
    generated = goverse("config", "generate", cwd=tmp_path)
    (tmp_path / "goverse.yaml").write_text(generated.stdout)

    assert goverse("config", "check", "--config", "goverse.yaml", cwd=tmp_path).returncode == 0
    shown = goverse("config", "show", "-o", "json", cwd=tmp_path, GOVERSE_GATE__PORT="9000", LOG_LEVEL="debug")
    values = json.loads(shown.stdout)
    assert values["gate.port"] == {"value": 9000, "origin": "environment variable GOVERSE_GATE__PORT"}
    assert values["log.level"] == {"value": "debug", "origin": "environment variable LOG_LEVEL"}
    assert values["wal.data_dir"] == {"value": ".goverse", "origin": "default"}
    changed = goverse("config", "show", "--changed", cwd=tmp_path, GOVERSE_GATE__PORT="9000")
    assert changed.stdout.split() == ["gate.port", "9000", "environment", "variable", "GOVERSE_GATE__PORT"]


def test_config_check_reports_all_errors_and_exits_with_2(tmp_path: Path) -> None:
    (tmp_path / "goverse.yaml").write_text("gate:\n  prot: 1\n  port: x\n")

    text = goverse("config", "check", cwd=tmp_path, GOVERSE_CONFIG="goverse.yaml")
    as_json = goverse("config", "check", "-o", "json", cwd=tmp_path, GOVERSE_CONFIG="goverse.yaml")

    assert text.returncode == as_json.returncode == 2
    assert "gate.prot (goverse.yaml, line 2): unknown setting; did you mean gate.port?" in text.stderr
    assert [problem["setting"] for problem in json.loads(as_json.stderr)["problems"]] == ["gate.port", "gate.prot"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [([], 2), (["config"], 2), (["--help"], 0), (["dev", "--help"], 0), (["frobnicate"], 2), (["version"], 0)],
)
def test_help_and_usage(tmp_path: Path, arguments: list[str], code: int) -> None:
    ended = goverse(*arguments, cwd=tmp_path)

    assert ended.returncode == code
    assert "Traceback" not in ended.stderr
    assert (ended.stdout if code == 0 or not arguments or arguments == ["config"] else ended.stderr) != ""


def test_a_traceback_is_shown_on_request(tmp_path: Path) -> None:
    quiet = goverse("dump", "--data-dir", "absent", cwd=tmp_path)
    loud = goverse("dump", "--data-dir", "absent", "--debug", cwd=tmp_path)

    assert "Traceback" not in quiet.stderr
    assert "Traceback" in loud.stderr
    assert quiet.returncode == loud.returncode == 2
