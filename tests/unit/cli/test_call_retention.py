"""The settings for ends of reliable calls reach the node and both stores."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from goverse.limits import CALLS_RETENTION_S_MAX
from goverse.model.call_retention import CallRetention
from goverse.settings import NodeSettings, Settings
from goverse.settings.cluster_sections import PostgresSettings
from goverse_cli.cluster.database import postgres_of
from goverse_cli.node_options import node_options

NAMES = (
    "failed_calls_retention_s",
    "expired_calls_retention_s",
    "cancelled_calls_retention_s",
    "dead_letters_retention_s",
)


def test_each_time_reaches_the_node_and_the_store_of_a_cluster() -> None:
    values = Settings(
        node=NodeSettings.model_validate({name: 100.0 + at for at, name in enumerate(NAMES)}),
        postgres=PostgresSettings(dsn="postgresql://localhost/goverse"),
    )
    expected = CallRetention(failed_s=100, expired_s=101, cancelled_s=102, dead_s=103)
    assert node_options(values).call_retention == expected
    assert postgres_of(values).call_retention == expected
    assert expected.by_state() == {"failed": 100_000, "expired": 101_000, "cancelled": 102_000, "dead": 103_000}


@pytest.mark.parametrize("name", NAMES)
def test_a_time_is_at_least_zero_and_fits_the_partitions(name: str) -> None:
    assert getattr(NodeSettings.model_validate({name: 0}), name) == 0
    assert getattr(NodeSettings.model_validate({name: CALLS_RETENTION_S_MAX}), name) == CALLS_RETENTION_S_MAX
    for value in (-1, CALLS_RETENTION_S_MAX + 1, float("nan")):
        with pytest.raises(ValidationError, match=name):
            NodeSettings.model_validate({name: value})
