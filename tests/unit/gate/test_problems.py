"""Every error has one status, and problem documents have the members of the API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from goverse.errors import GoverseError
from goverse.model.frames import Problem
from goverse_gate.problems import STATUS, document, retry_after_s, status_of


def known_errors(root: type[GoverseError] = GoverseError) -> Iterator[type[GoverseError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__ == "goverse.errors":
            yield from known_errors(child)


def shown(problem: Problem, request_id: str = "r1") -> dict[str, Any]:
    members: dict[str, Any] = json.loads(document(problem, status_of(problem), request_id))
    return members


@pytest.mark.requirement("GATE-1")
def test_every_error_of_the_tree_has_a_status_and_every_status_belongs_to_one() -> None:
    assert {error.code for error in known_errors()} == set(STATUS)


def test_a_business_error_keeps_the_status_that_it_declares() -> None:
    problem = Problem("sold_out", "gone", status=410)
    assert status_of(problem) == 410
    assert shown(problem)["status"] == 410


@pytest.mark.parametrize("status", [None, 200, 302, 500, 700])
def test_an_unknown_code_without_a_client_error_of_its_own_is_a_server_error(status: int | None) -> None:
    assert status_of(Problem("surprise", "?", status=status)) == 500


def test_a_plain_business_error_keeps_the_status_that_its_class_declares() -> None:
    assert status_of(Problem("business_error", "no", status=400)) == 400
    assert status_of(Problem("business_error", "no", status=418)) == 418


def test_the_table_wins_over_a_status_that_comes_with_a_known_code() -> None:
    assert status_of(Problem("object_not_found", "?", status=418)) == 404


def test_a_document_has_the_members_of_the_contract_and_the_further_ones() -> None:
    problem = Problem("timeout", "too slow", True, {"operation": "increment", "seconds": 1.5})
    assert shown(problem) == {
        "type": "urn:goverse:problem:timeout",
        "title": "Timeout",
        "status": 504,
        "detail": "too slow",
        "code": "timeout",
        "retryable": True,
        "request_id": "r1",
        "operation": "increment",
        "seconds": 1.5,
    }


def test_further_members_never_hide_those_of_the_contract() -> None:
    assert shown(Problem("conflict", "x", extra={"code": "fake", "status": 200}))["code"] == "conflict"


@pytest.mark.requirement("DUR-2")
def test_a_stored_problem_keeps_the_request_id_of_the_request_that_met_it() -> None:
    assert shown(Problem("sold_out", "gone", status=409, request_id="first"), "second")["request_id"] == "first"


@pytest.mark.parametrize(
    ("value", "seen"),
    [({1, 2}, "{1, 2}"), (2**80, 2**80), ("\ud800", "\ud800"), ({1: 2}, {"1": 2}), (float("nan"), None)],
)
def test_a_value_without_a_json_form_does_not_break_the_answer(value: object, seen: object) -> None:
    assert shown(Problem("conflict", "x", extra={"what": value}))["what"] == seen


def test_members_that_json_cannot_represent_are_dropped() -> None:
    loop: list[object] = [2**80]
    loop.append(loop)
    assert shown(Problem("conflict", "half \ud800", extra={"what": loop}))["detail"] == "half \ud800"


def test_only_retryable_problems_have_a_retry_after() -> None:
    assert retry_after_s(Problem("overloaded", "", True), 429) == 1
    assert retry_after_s(Problem("timeout", "", True), 504) is None
    assert retry_after_s(Problem("timeout", "", True, {"retry_after_s": 1}), 504) == 1
    assert retry_after_s(Problem("unavailable", "", True, {"retry_after_s": 2.1}), 503) == 3
    assert retry_after_s(Problem("store_failed", "", False), 503) is None
    assert retry_after_s(Problem("timeout", "", True), 504) is None
