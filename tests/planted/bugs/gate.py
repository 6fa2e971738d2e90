"""Bugs of the gate: memory, foreign pages, administration, connections, the log."""

import logging

import pytest
from uvicorn.protocols.http.flow_control import FlowControl

from goverse.telemetry.own_loggers import OwnLogger
from goverse_gate import admin, connection, protocol
from goverse_gate.guard import Guard
from goverse_gate.memory_bounds import Unsent
from tests.planted import Planted

MEMORY = "tests/integration/gate/test_memory_bounds.py::test_"
READ = "/objects/Counter/c1/call/read"


def _resume_whatever_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol._HeldFlow, "resume_reading", FlowControl.resume_reading)


def _let_answers_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Unsent, "enforce", lambda _: None)


def _let_frames_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Guard, "_check_fetch_site", lambda *_: None)


def _accept_every_administrator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "check_administrator", lambda *_: None)


def _overlook_expectations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "EXPECTS", "goverse.overlooked")


def _write_only_where_the_application_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OwnLogger, "callHandlers", logging.Logger.callHandlers)


PLANTED = (
    Planted(
        "pipelined-requests-are-read-without-bound",
        _resume_whatever_is_held,
        f"{MEMORY}a_client_that_pipelines_without_a_pause_fills_at_most_two_read_buffers[http-POST-{READ}]",
        complaint="HELD_BYTES_MAX",
    ),
    Planted(
        "unread-answers-have-no-common-bound",
        _let_answers_pile_up,
        "tests/unit/gate/test_memory_bounds.py::test_the_connection_blocked_for_the_longest_time_is_closed_first",
        complaint="[True, True, False, False]",
    ),
    Planted(
        "foreign-pages-may-frame",
        _let_frames_pass,
        "tests/unit/gate/test_guard.py::test_a_foreign_page_cannot_show_the_gate_in_a_frame[cross-site-iframe]",
        complaint="DID NOT RAISE",
    ),
    Planted(
        "administration-trusts-the-peer-address",
        _accept_every_administrator,
        "tests/integration/gate/test_administration.py::test_a_process_without_a_token_denies_administration",
        complaint="assert (200",
    ),
    Planted(
        "an-unmet-expectation-keeps-its-connection",
        _overlook_expectations,
        "tests/integration/gate/test_expect.py::test_a_final_response_before_the_body_closes_the_connection"
        "[100-continue-GET-/healthz-headers12-200]",
        complaint="assert (200, None) == (200, 'close')",
    ),
    Planted(
        "an-application-can-silence-the-log",
        _write_only_where_the_application_does,
        "tests/unit/telemetry/test_logs.py::test_an_application_cannot_silence_goverse[goverse-a root handler]",
        complaint="== ['serving'",
    ),
)
