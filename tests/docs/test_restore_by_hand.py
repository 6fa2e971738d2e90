"""The commands for a backup and a restore without Kubernetes work exactly as the page shows them."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.postgres import BINARIES, postgres
from goverse.model.keys import ObjectKey
from goverse.model.records import CommitRecord
from goverse_cli import main
from goverse_node.stores.postgres.options import PostgresOptions
from goverse_node.stores.postgres.store import PostgresStore
from tests.tree import ROOT

pytestmark = pytest.mark.requirement("OPS-9")

PAGE = ROOT / "docs" / "operations" / "README.md"
TITLE = "## Backup and restore without Kubernetes"
KEY = ObjectKey("default", "Counter", "c")


@pytest.fixture
def dsn() -> Iterator[str]:
    with postgres(Path("/var/tmp")) as (found, _):
        yield found


def blocks() -> list[str]:
    section = PAGE.read_text(encoding="utf-8").partition(f"{TITLE}\n")[2].partition("\n## ")[0]
    return re.findall(r"```bash\n(.*?)```", section, re.DOTALL)


def carry_out(block: str, folder: Path, dsn: str) -> None:
    goverse = folder / "goverse"
    goverse.write_text(f'#!/bin/sh\nexec {sys.executable} -m goverse_cli "$@"\n', encoding="utf-8")
    goverse.chmod(0o755)
    path = os.pathsep.join([str(folder), str(BINARIES[-1]), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "DSN": dsn, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        check=False,
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr


async def write(dsn: str, *versions: int) -> int:
    """Write these versions; return the previous version."""
    store = PostgresStore(PostgresOptions(dsn=dsn))
    await store.open()
    found = await store.load(KEY)
    for version in versions:
        (seq,) = await store.commit([CommitRecord(KEY, version - 1, version, b"{}", 1, 0)])
        assert isinstance(seq, int), seq
    await store.close()
    return 0 if found is None else found.version


async def test_a_database_is_saved_and_restored_as_the_page_says(dsn: str, tmp_path: Path) -> None:
    backup, restore = blocks()
    connected = ["db", "migrate", "--dsn", dsn]
    assert await asyncio.to_thread(main.run, connected) == 0
    await write(dsn, 1, 2)
    await asyncio.to_thread(carry_out, backup, tmp_path, dsn)
    assert await write(dsn, 3, 4) == 2
    await asyncio.to_thread(carry_out, restore, tmp_path, dsn)
    assert await write(dsn, 3) == 2
