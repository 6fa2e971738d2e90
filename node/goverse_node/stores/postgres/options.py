"""How a store reaches PostgreSQL."""

from __future__ import annotations

from dataclasses import dataclass, field

from goverse.limits import KEPT_REPLIES_DISK_BYTES_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresOptions:
    """Options of one store.

    Attributes:
        dsn: ``postgresql://user@host:port/database?sslmode=...``; of several hosts the first that takes writes is used.
        password: for the user; wins over one in the DSN.
        pool_max: connections for reading; one more is for commits.
        connect_timeout_s: for one attempt to connect.
        statement_timeout_s: for one statement.
        changes_retention_days: whole days that changes are kept for readers of the feed; 0 keeps none.
        replies_retention_days: whole days that partitions of kept replies outlive their day.
        kept_replies_bytes_max: what kept replies may take on the disk before new keyed calls are refused.
    """

    dsn: str = field(repr=False)
    password: str | None = field(default=None, repr=False)
    pool_max: int = 4
    connect_timeout_s: float = 10.0
    statement_timeout_s: float = 30.0
    changes_retention_days: int = 7
    replies_retention_days: int = 2
    kept_replies_bytes_max: int = KEPT_REPLIES_DISK_BYTES_MAX
