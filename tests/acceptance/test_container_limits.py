"""A node in a container that is too small for its objects answers all calls, because it passivates objects in time."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from benchmarks.postgres import postgres
from goverse.limits import MIB
from goverse_node.stores.postgres import schema
from tests.acceptance.limited_node import OBJECTS
from tests.limited_memory import Limit, memory_limit

LIMIT_BYTES = 256 * MIB
PATIENCE_S = 300.0


async def migrate(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await schema.migrate(connection)
    await connection.close()


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """The DSN of a private PostgreSQL server with an empty schema."""
    with postgres(Path("/var/tmp")) as (dsn, _):
        asyncio.run(migrate(dsn))
        yield dsn


@pytest.fixture
def limit(tmp_path: Path) -> Iterator[Limit]:
    """The memory limit, a real one where the machine allows it."""
    with memory_limit(LIMIT_BYTES, tmp_path) as made:
        yield made


@pytest.mark.requirement("OPS-7", "OBJ-5")
def test_a_node_at_its_memory_limit_answers_everything_and_is_not_killed(limit: Limit, database: str) -> None:
    """The objects take three times the limit, and the configured bound is too high, so only measured memory counts.

    Without the measurement the kernel kills the process (exit code -9) where the limit is real.
    """
    done = subprocess.run(
        [*limit.joining, sys.executable, "-m", "tests.acceptance.limited_node", str(limit.mounted), database],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    sys.stdout.write(f"{'real' if limit.members else 'pretended'} limit: {told}\n")
    assert told["limit_bytes"] == LIMIT_BYTES
    assert told["wrong"] == 0
    assert told["peak_bytes"] < LIMIT_BYTES
    assert told["passivations"] > OBJECTS
    assert MIB < told["least_bound_bytes"] < LIMIT_BYTES
    assert told["resident"] > 0


@pytest.mark.requirement("OPS-7")
def test_a_process_in_a_control_group_shows_the_bounds_that_follow_from_it(limit: Limit) -> None:
    shown = subprocess.run(
        [*limit.joining, sys.executable, "-m", "goverse_cli", "-o", "json", "config", "show"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    settings = json.loads(shown.stdout)
    bound = settings["node.activations_bytes_max"]
    if limit.members is None:  # without a real limit, the process sees only the machine's memory
        assert bound["origin"].startswith("default")
        assert bound["value"] <= 512 * MIB
    else:
        assert bound == {"value": 64 * MIB, "origin": "default for a memory limit of 256 MiB"}
        assert settings["gate.bodies_bytes_max"]["value"] == 64 * MIB
