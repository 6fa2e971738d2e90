"""Data source names of PostgreSQL: accepted and refused names; no message holds a secret."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from goverse.errors import ConfigError
from goverse.settings import load_settings
from goverse.settings.data_source import DataSource, hide_passwords
from goverse_cli import main

pytestmark = pytest.mark.requirement("SEC-3")

SECRET = "hunter2"


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://goverse@127.0.0.1:5432/goverse",
        "postgres:///goverse?host=/run/postgresql",
        "postgresql://u:p%40ss%2Fword@h1:5432,h2:5433,[::1]:5434/db?sslmode=require",
        "postgresql://u:a:b@h/db",
        "postgresql://u@h/db?channel_binding=prefer&gssencmode=disable&target_session_attrs=primary&client_encoding=UTF8",
        "postgresql://u@h/db?user=other&password=x&dbname=y",
    ],
)
def test_a_well_formed_name_is_accepted(dsn: str) -> None:
    assert DataSource.parse(dsn).url.startswith("postgresql://")


def test_the_parts_of_a_name_are_decoded() -> None:
    found = DataSource.parse(
        "postgresql://shop%40eu:p%2Fw@h/my%20db?connect_timeout=3&application_name=till&options=-c%20a%3Db"
    )
    assert (found.user, found.password, found.database) == ("shop@eu", "p/w", "my db")
    assert found.connect_timeout_s == 3.0
    assert found.startup == {"application_name": "till", "options": "-c a=b"}
    assert found.url == "postgresql://shop%40eu:p%2Fw@h/my%20db"


def test_a_list_of_hosts_with_brackets_is_passed_to_the_driver_as_a_parameter() -> None:
    """`urlsplit` of Python 3.14, which the driver uses, refuses brackets after another host."""
    found = DataSource.parse("postgresql://u:p%2Fw@h1:5432,[::1]:5433/db?port=1&sslmode=require&host=other")
    assert found.url == "postgresql://u:p%2Fw@/db?host=h1%3A5432%2C%5B%3A%3A1%5D%3A5433&sslmode=require"
    assert DataSource.parse("postgresql://[::1]:5433/db").url == "postgresql://[::1]:5433/db"


@pytest.mark.parametrize(
    ("dsn", "said"),
    [
        ("host=db dbname=goverse password=hunter2", "keyword form"),
        ("postgresql+asyncpg://u:hunter2@h/db", "postgresql+asyncpg"),
        ("mysql://u:hunter2@h/db", "postgresql://"),
        ("hunter2", "not a URL"),
        ("postgresql://u:p@hunter2:w/rd@h/db", "encode"),
        ("postgresql://u:hunter2/x@h/db", "encode"),
        ("postgresql://u:hunter2?x@h/db", "encode"),
        ("postgresql://u:hunter2?x=y@h/db", "encode"),
        ("postgresql://u:hunter2#x@h/db", "encode"),
        ("postgresql://u:x@hunter2@h/db", "encode"),
        ("postgresql://u:[hunter2@h/db", "encode"),
        ("postgresql://u:hunter2/1", "encode"),
        ("postgresql://u:a hunter2@h/db", "white space"),
        ("postgresql://u:hunter2\n@h/db", "control character"),
        ("postgresql://u@h:99999/db?password=hunter2", "65535"),
        ("postgresql://u@h/db?password=hunter2&sslmode=on", "sslmode"),
        ("postgresql://u@h/db?password=hunter2&connect_timeout=soon", "connect_timeout"),
        ("postgresql://u@h/db?password=hunter2&channel_binding=require", "channel_binding"),
        ("postgresql://u@h/db?password=hunter2&target_session_attrs=standby", "target_session_attrs"),
        ("postgresql://u@h/db?password=hunter2&keepalives_idle=5", "keepalives_idle is not supported"),
        ("postgresql://u@h/db?password=hunter2&sslmod=require", "did you mean sslmode?"),
        ("postgresql://u@h/db?password=hunter2&statement_timeout=5", "statement_timeout"),
        ("postgresql://u@h/db?hunter2", "encode"),
    ],
)
def test_a_name_is_refused_with_its_reason_and_without_its_secret(dsn: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_settings(environ={"GOVERSE_POSTGRES__DSN": dsn})
    assert said in refused.value.detail
    assert SECRET not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize("command", [("db", "status"), ("config", "check"), ("--debug", "db", "status")])
def test_an_invalid_name_ends_a_command_with_status_2_and_shows_no_secret(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GOVERSE_POSTGRES__DSN", "postgresql://u:p@hunter2:w/rd@h/db")
    assert main.run(list(command)) == 2
    said = capsys.readouterr()
    assert SECRET not in said.out + said.err
    assert "postgres.password" in said.err


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://u:hunter2@h/db",
        "postgresql://u@h/db?password=hunter2",
        "postgresql://u@h/db?p%61ssword=hunter2&sslmode=prefer",
    ],
)
def test_the_effective_settings_show_no_password_of_a_name(dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    effective = load_settings(environ={"GOVERSE_POSTGRES__DSN": dsn})
    assert SECRET not in repr(effective.shown())
    assert "u" in effective.shown()["postgres.dsn"]["value"]
    assert SECRET not in repr(effective)


@pytest.mark.parametrize("value", ["12345678", "[12345678]", "*12345678", "!12345678 x", "{a: 12345678}"])
def test_a_password_of_the_wrong_form_is_not_repeated(value: str, tmp_path: Path) -> None:
    file = tmp_path / "goverse.yaml"
    file.write_text(f"postgres:\n  password: {value}\n", encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        load_settings(config=file, environ={})
    assert "12345678" not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    "text",
    [
        "cannot reach postgresql://u:hunter2@h/db now",
        "postgresql://u:a@hunter2@h",
        "host=h user=u password=hunter2",
        "password = 'a \\' hunter2' host=h",
        "https://u:hunter2@h and ?PASSWORD=hunter2&x=y",
    ],
)
def test_passwords_are_hidden_in_any_text(text: str) -> None:
    assert SECRET not in hide_passwords(text)
    assert "h" in hide_passwords(text)
