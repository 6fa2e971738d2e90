"""Gates and nodes log one JSON object per line, also when they cannot start."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.processes import COUNTER, goverse


def records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.requirement("OBS-3")
@pytest.mark.parametrize(
    ("command", "settings", "expected"),
    [
        (["node", "missing.py"], {}, "missing.py"),
        (["node", "app.py", "--listen", "0.0.0.0:7400"], {}, "wire.allow_plaintext_remote"),
        (["node", "app.py"], {"GOVERSE_CLUSTER__SHARDS": "many"}, "cluster.shards"),
        (["gate", "--port", "0"], {"GOVERSE_ETCD__OPERATION_TIMEOUT_S": "0.2"}, "etcd"),
    ],
)
def test_a_server_that_cannot_start_logs_the_error_in_json(
    tmp_path: Path, command: list[str], settings: dict[str, str], expected: str
) -> None:
    (tmp_path / "app.py").write_text(COUNTER)
    ended = goverse(*command, cwd=tmp_path, **{"GOVERSE_ETCD__ENDPOINTS": "http://127.0.0.1:1", **settings})
    assert ended.returncode != 0
    found = records(ended.stderr)
    assert found[-1]["level"] == "error"
    assert expected in found[-1]["event"]
    assert found[-1]["exit_code"] == ended.returncode
    assert ended.stdout == ""


def test_a_server_in_a_terminal_logs_text(tmp_path: Path) -> None:
    ended = goverse("node", "missing.py", cwd=tmp_path, LOG_FORMAT="text")
    assert ended.stderr.startswith("error: ")
