"""The served document matches the responses to schemathesis's requests, with a real node behind the gate."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from goverse_gate.options import GateOptions
from tests.gate.serving import ADMIN_TOKEN, serving_node

ROOT = Path(__file__).parents[3]
CONFIG = Path(__file__).with_name("schemathesis.toml")
SEED = "20261121"


@pytest.mark.requirement("GATE-1")
async def test_no_server_error_and_no_undocumented_answer(tmp_path: Path) -> None:
    async with serving_node(GateOptions(admin_token=ADMIN_TOKEN)) as client:
        process = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("schemathesis"),
            *("--config-file", CONFIG, "run", str(client.base_url.join("/openapi.json"))),
            *("--checks", "all", "--max-examples", "10", "--seed", SEED, "--no-color"),
            *("--generation-database", "none"),
            # The first fails on purpose, with a documented 500; the second changes the log level of this process
            *("--exclude-operation-id", "Counter_fail", "--exclude-operation-id", "set_log_level"),
            *("--header", f"Authorization: Bearer {ADMIN_TOKEN}"),
            cwd=tmp_path,
            env=os.environ
            | {"SCHEMATHESIS_HOOKS": "tests.integration.gate.schemathesis_hooks", "PYTHONPATH": str(ROOT)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()[-8_000:]
    assert b"40 selected / 42 total" in output
