"""Tests that a repeated option with a value is refused, because one of the values would be ignored."""

import pytest

from goverse_cli.failure import ExitCode
from goverse_cli.main import run


@pytest.mark.parametrize(
    ("line", "option"),
    [
        ("call A b c --key k1 --key k2", "--key"),
        ("call A b c --key=k1 --key k1", "--key"),
        ("-o json version -o text", "--output"),
        ("config show --config a.yaml --config b.yaml", "--config"),
        ("restore A b --as-of 1 --as-of 2", "--as-of"),
        ("db status --dsn a --dsn b", "--dsn"),
        ("shards move 1 n --timeout 3 --timeout 4", "--timeout"),
        ("nodes list --output text --output json", "--output"),
        ("openapi export app.py --out a --out b", "--out"),
        ("new shop --into a --into b", "--into"),
    ],
)
def test_a_repeated_option_is_refused(line: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(line.split()) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert f"{option} was given 2 times; give it once" in said
    assert "see goverse" in said


def test_a_repeated_flag_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--no-input", "--no-input", "version"]) == ExitCode.OK
    assert "goverse" in capsys.readouterr().out
