"""PostgreSQL's errors as callers and operators hear them: what is wrong, and not merely that something is."""

from __future__ import annotations

import asyncpg
import pytest

from goverse.errors import StoreError, Unavailable
from goverse_node.stores.postgres.failures import passes, told


@pytest.mark.requirement("DUR-5")
@pytest.mark.parametrize(
    ("error", "says"),
    [
        (asyncpg.DiskFullError("could not extend file"), "not enough room, memory or connections: could not extend"),
        (asyncpg.TooManyConnectionsError("too many clients"), "not enough room, memory or connections: too many"),
        (asyncpg.LockNotAvailableError("lock timeout"), "somebody else uses the tables"),
        (asyncpg.ReadOnlySQLTransactionError("read-only"), "takes no writes now"),
        (ConnectionRefusedError("refused"), "does not answer: refused"),
        (TimeoutError(), "does not answer: TimeoutError"),
    ],
)
def test_what_time_may_heal_is_unavailable_and_named(error: Exception, says: str) -> None:
    found = told(error)

    assert passes(error)
    assert isinstance(found, Unavailable)
    assert says in found.detail


@pytest.mark.requirement("DUR-5")
def test_what_nobody_expects_is_an_error_of_the_store() -> None:
    assert not passes(asyncpg.UndefinedColumnError("no such column"))
    assert isinstance(told(asyncpg.UndefinedColumnError("no such column")), StoreError)
