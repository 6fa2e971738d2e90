"""Translation of PostgreSQL's errors: the message contains the cause."""

from __future__ import annotations

import asyncpg
import pytest

from goverse.errors import StoreError, Unavailable
from goverse_node.stores.postgres.failures import is_temporary, translated


@pytest.mark.requirement("DUR-5")
@pytest.mark.parametrize(
    ("error", "says"),
    [
        (asyncpg.DiskFullError("could not extend file"), "out of disk space, memory or connections: could not extend"),
        (asyncpg.TooManyConnectionsError("too many clients"), "out of disk space, memory or connections: too many"),
        (asyncpg.LockNotAvailableError("lock timeout"), "the tables are locked by another session"),
        (asyncpg.ReadOnlySQLTransactionError("read-only"), "PostgreSQL is read-only"),
        (ConnectionRefusedError("refused"), "PostgreSQL is unavailable: refused"),
        (TimeoutError(), "PostgreSQL is unavailable: TimeoutError"),
    ],
)
def test_temporary_errors_become_unavailable_with_their_cause(error: Exception, says: str) -> None:
    found = translated(error)

    assert is_temporary(error)
    assert isinstance(found, Unavailable)
    assert says in found.detail


@pytest.mark.requirement("DUR-5")
def test_an_unexpected_error_becomes_a_store_error() -> None:
    assert not is_temporary(asyncpg.UndefinedColumnError("no such column"))
    assert isinstance(translated(asyncpg.UndefinedColumnError("no such column")), StoreError)
