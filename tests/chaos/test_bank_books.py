"""Tests of the comparison of a bank's logs: a planted loss, repetition or change of order is found and named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.chaos.bank import CENTS, is_refused
from tests.chaos.bank_books import AccountLogs, Books

pytestmark = [pytest.mark.requirement("QUA-2")]

PAID = [f"{chain}.1" for chain in range(40) if not is_refused(f"{chain}.1")][:4]
REFUSED = next(f"{chain}.1" for chain in range(200) if is_refused(f"{chain}.1"))
SENT = [*PAID[:2], REFUSED, *PAID[2:]]

A = AccountLogs(
    CENTS - 40,
    sent=[("b", payment) for payment in SENT],
    ended=[(payment, "failed" if payment == REFUSED else "success") for payment in SENT],
)
B = AccountLogs(CENTS + 40, received=[("a", payment) for payment in PAID])
BOOKS = Books({"a": A, "b": B}, PAID, SENT[:1])


def test_the_logs_of_a_run_without_a_fault_are_accepted() -> None:
    assert BOOKS.complaints() == []
    assert BOOKS.payments == 5


def _with(a: AccountLogs = A, b: AccountLogs = B, **further: list[str]) -> Books:
    return replace(BOOKS, accounts={"a": a, "b": b}, **further)


@pytest.mark.parametrize(
    ("plant", "complaint"),
    [
        (lambda: _with(replace(A, cents=CENTS)), f"the accounts hold {2 * CENTS + 40} cents instead of {2 * CENTS}"),
        (lambda: _with(b=replace(B, received=B.received[1:])), f"lost: payments from a to b: {PAID[0]}"),
        (
            lambda: _with(b=replace(B, received=[*B.received, B.received[0]])),
            f"doubled: payments from a to b: {PAID[0]}",
        ),
        (lambda: _with(b=replace(B, received=[*B.received, ("a", "99.1")])), "unexpected: payments from a to b: 99.1"),
        (
            lambda: _with(b=replace(B, received=[B.received[1], B.received[0], *B.received[2:]])),
            f"reordered: payments from a to b: {PAID[1]} took effect before {PAID[0]}",
        ),
        (
            lambda: _with(b=replace(B, received=[*B.received, ("a", REFUSED)])),
            f"unexpected: payments from a to b: {REFUSED}",
        ),
        (lambda: _with(replace(A, ended=A.ended[1:])), f"lost: outcomes of payments of a: {PAID[0]}"),
        (lambda: _with(replace(A, ended=[*A.ended, A.ended[0]])), f"doubled: outcomes of payments of a: {PAID[0]}"),
        (
            lambda: _with(replace(A, ended=[(PAID[0], "dead"), *A.ended[1:]])),
            f"payment {PAID[0]} of a ended as dead instead of success",
        ),
        (lambda: _with(replace(A, open=["7.1"])), "payments of a without an outcome: 7.1"),
        (lambda: _with(audited=PAID[1:]), f"lost: payments that the auditors noted: {PAID[0]}"),
        (lambda: _with(audited=[*PAID, PAID[0]]), f"doubled: payments that the auditors noted: {PAID[0]}"),
        (lambda: _with(begun=["88.3"]), "lost: chains that began: 88.3"),
    ],
)
def test_a_fault_is_found_and_named(plant: Callable[[], Books], complaint: str) -> None:
    assert complaint in plant().complaints()
