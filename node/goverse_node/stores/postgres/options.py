"""Options of the PostgreSQL store."""

from __future__ import annotations

from dataclasses import dataclass, field

from goverse.limits import KEPT_REPLIES_DISK_BYTES_MAX
from goverse.model.call_retention import CallRetention


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresOptions:
    """Options of one store.

    Attributes:
        dsn: ``postgresql://user@host:port/database?sslmode=...``. Of several hosts, the first that accepts writes is
            used.
        password: the password of the user. It overrides a password in the DSN.
        pool_max: the number of connections for reading. One more connection is used for commits.
        connect_timeout_s: the timeout of one attempt to connect.
        statement_timeout_s: the timeout of one statement.
        changes_retention_days: whole days for which changes are kept for readers of the feed; 0 keeps none.
        replies_retention_days: whole days for which a partition of kept replies is kept after its own day.
        call_retention: limits on the times for which ends of calls are kept.
        kept_replies_bytes_max: the size of the kept replies on disk at which new calls with a key are refused.
    """

    dsn: str = field(repr=False)
    password: str | None = field(default=None, repr=False)
    pool_max: int = 4
    connect_timeout_s: float = 10.0
    statement_timeout_s: float = 30.0
    changes_retention_days: int = 7
    replies_retention_days: int = 2
    call_retention: CallRetention | None = None
    kept_replies_bytes_max: int = KEPT_REPLIES_DISK_BYTES_MAX
