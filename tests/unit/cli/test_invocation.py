"""Tests of common options, which are accepted anywhere on the line, and of the mapping of errors to exit codes."""

import socket

import pytest

from goverse.errors import ConfigError, DataDamaged, GoverseError, StoreLocked, Unavailable
from goverse_cli.failure import ExitCode, Failure, failure_of
from goverse_cli.invocation import global_options_first
from goverse_cli.listener import bind, url_of


@pytest.mark.parametrize(
    ("given", "parsed"),
    [
        (["call", "A", "-o", "json"], ["-o", "json", "call", "A"]),
        (["call", "--output=json", "A"], ["--output=json", "call", "A"]),
        (["dump", "-ojson", "--debug"], ["-ojson", "--debug", "dump"]),
        (["dev", "app.py", "--config", "x.yaml", "--no-input"], ["--config", "x.yaml", "--no-input", "dev", "app.py"]),
        (["call", "A", "--", "-o", "json"], ["call", "A", "--", "-o", "json"]),
        (["config", "show"], ["config", "show"]),
        (["restore", "--to-seq", "3", "-o"], ["-o", "restore", "--to-seq", "3"]),
    ],
)
def test_global_options_move_to_the_front(given: list[str], parsed: list[str]) -> None:
    assert global_options_first(given) == parsed


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ConfigError("gate.port is wrong"), ExitCode.USAGE, "gate.port is wrong"),
        (StoreLocked("in use"), ExitCode.UNAVAILABLE, "in use"),
        (Unavailable("not now"), ExitCode.UNAVAILABLE, "not now"),
        (DataDamaged("manifest.json"), ExitCode.FAILED, "manifest.json"),
        (GoverseError("no"), ExitCode.FAILED, "no"),
        (FileNotFoundError(2, "No such file or directory", "x"), ExitCode.FAILED, "x: No such file or directory"),
        (ZeroDivisionError("division"), ExitCode.FAILED, "unexpected error: ZeroDivisionError: division"),
    ],
)
def test_every_error_has_an_exit_code_and_a_sentence(error: Exception, code: ExitCode, said: str) -> None:
    failure = failure_of(error)

    assert (failure.exit_code, failure.message) == (code, said)


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("localhost", "127.0.0.1"), ("", "127.0.0.1")])
def test_a_bound_socket_knows_its_url(host: str, shown: str) -> None:
    with bind(host or "0.0.0.0", 0) as listener:
        assert url_of(listener) == f"http://{shown}:{listener.getsockname()[1]}"


def test_a_bound_socket_does_not_listen_yet() -> None:
    with bind("127.0.0.1", 0) as listener, pytest.raises(ConnectionRefusedError):
        socket.create_connection(listener.getsockname())


@pytest.mark.parametrize(
    ("host", "code", "said"),
    [
        ("no-such-host.invalid", ExitCode.USAGE, "cannot resolve gate.host 'no-such-host.invalid'"),
        ("192.0.2.1", ExitCode.USAGE, "cannot listen on 192.0.2.1:"),
    ],
)
def test_an_address_of_another_machine_is_refused(host: str, code: ExitCode, said: str) -> None:
    with pytest.raises(Failure, match=said) as caught:
        bind(host, 0)

    assert caught.value.exit_code == code
