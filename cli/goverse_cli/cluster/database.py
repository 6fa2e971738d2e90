"""PostgreSQL options of a cluster, built from the settings."""

from __future__ import annotations

from math import ceil
from typing import Final

from goverse.settings import Settings
from goverse_cli.node_options import call_retention_of
from goverse_node.stores.postgres.options import PostgresOptions

_DAY_S: Final = 86_400.0


def postgres_of(values: Settings) -> PostgresOptions:
    """Build the options of the PostgreSQL store."""
    postgres = values.postgres
    return PostgresOptions(
        dsn=postgres.dsn,
        password=postgres.password.get_secret_value() if postgres.password else None,
        pool_max=postgres.pool_max,
        connect_timeout_s=postgres.connect_timeout_s,
        statement_timeout_s=postgres.statement_timeout_s,
        changes_retention_days=postgres.changes_retention_days,
        kept_replies_bytes_max=postgres.kept_replies_bytes_max,
        replies_retention_days=ceil(values.node.idempotency_retention_s / _DAY_S) + 1,
        call_retention=call_retention_of(values),
    )
