"""Tests of files named on the command line: an unreadable or unwritable file is reported with a hint."""

import json
from pathlib import Path

import pytest

from goverse_cli.failure import ExitCode
from goverse_cli.main import run

LINE = json.dumps(
    {"namespace": "default", "type": "T", "id": "a", "version": 1, "commit_seq": 1, "modified_ms": 1}
    | {"state_version": 1, "state": {}}
)


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("call A b c @absent.json", ExitCode.USAGE, "absent.json cannot be read: No such file or directory"),
        ("openapi check absent.json app.py", ExitCode.USAGE, "absent.json cannot be read: No such file or directory"),
        ("load absent --into x", ExitCode.USAGE, "absent cannot be read: No such file or directory"),
        ("load text --into x", ExitCode.FAILED, "line 1: invalid JSON: Expecting value, column 1"),
        (
            "load dump --into /proc/x",
            ExitCode.FAILED,
            "nothing was loaded into /proc/x: No such file or directory; choose another directory with --into",
        ),
        (
            "openapi export app.py --out /proc/x",
            ExitCode.USAGE,
            "/proc/x cannot be written: No such file or directory\nhint: name another file with --out",
        ),
        (
            "openapi export app.py --out /dev/full",
            ExitCode.FAILED,
            "/dev/full cannot be written: No space left on device",
        ),
        ("snapshot --data-dir text", ExitCode.USAGE, "the data directory text does not exist"),
        ("new shop --into text", ExitCode.USAGE, "text is not a folder\nhint: name a folder with --into"),
        (
            "new shop --into absent",
            ExitCode.USAGE,
            "the folder absent does not exist\nhint: create it first: mkdir -p absent",
        ),
        (
            "db init --admin-dsn postgresql://postgres@127.0.0.1:1/x",
            ExitCode.UNAVAILABLE,
            "hint: check that the server is running and that --admin-dsn",
        ),
        (
            "db status --dsn postgresql://x@127.0.0.1:1/x",
            ExitCode.UNAVAILABLE,
            "that postgres.dsn (or --dsn) is correct",
        ),
    ],
)
def test_what_cannot_be_read_or_written_is_named(
    line: str,
    code: ExitCode,
    said: str,
    *,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "app.py").write_text("from goverse import Object\n\n\nclass T(Object):\n    value: int = 0\n")
    (tmp_path / "text").write_text("no dump\n")
    (tmp_path / "dump").write_text(LINE)
    monkeypatch.chdir(tmp_path)

    assert run(line.split()) == code
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert said in told
    assert {path.name for path in tmp_path.iterdir()} <= {"app.py", "text", "dump", "__pycache__"}
