"""Tests of the suggestions for mistyped options."""

import pytest

from goverse_cli.failure import ExitCode
from goverse_cli.main import run


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("call A b c --idempotency-key x", "--key"),
        ("call A b c --timeut 3", "--timeout"),
        ("call A b c --certificate x", "--cert"),
        ("call A b c --confg x", "--config"),
        ("dev app.py --data .x", "--data-dir"),
        ("dev app.py --no-relod", "--no-reload"),
        ("node app.py --port 3", "--listen"),
        ("gate --listen 0.0.0.0:8000", "--host"),
        ("restore --time x", "--to-time"),
        ("db migrate --dns x", "--dsn"),
        ("shards move 1 n --time 3", "--timeout"),
        ("--version", "goverse version"),
    ],
)
def test_a_mistyped_option_is_answered_with_the_nearest(
    line: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(line.split()) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert f"hint: did you mean {meant}? see goverse" in said
    assert said.startswith("error: no such option: --")


@pytest.mark.parametrize("line", ["call A b c --zzz", "trim --force", "restore --at 3"])
def test_nothing_is_suggested_where_nothing_is_near(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(line.split()) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert "did you mean" not in said
    assert "hint: see goverse" in said
