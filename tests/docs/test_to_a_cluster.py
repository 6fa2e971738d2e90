"""The page on moving from one machine to a cluster works as written."""

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.ports import free_port
from benchmarks.postgres import postgres
from tests.docs.walkthrough import walk_through
from tests.etcd_server import etcd_cluster
from tests.tree import ROOT

PAGE = ROOT / "docs" / "guide" / "to-a-cluster.md"
DSN, ETCD = "postgresql://goverse@db/goverse", "http://etcd:2379"


def _adapted(dsn: str, etcd: str) -> Callable[[str], str]:
    """Replace the addresses of the page with those of this test's servers."""
    gate, node = str(free_port()), str(free_port())

    def adapt(text: str) -> str:
        for shown, here in ((DSN, dsn), (ETCD, etcd), ("8000", gate), ("7400", node)):
            text = text.replace(shown, here)
        return text.replace("goverse dev app.py", f"goverse dev app.py --port {gate}")

    return adapt


@pytest.mark.requirement("DOC-2", "DUR-9")
async def test_the_way_from_one_machine_to_a_cluster_works_as_the_page_shows_it(tmp_path: Path) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert DSN in page
    assert ETCD in page
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "GOVERSE_CLUSTER__ADMIN_LISTEN": "127.0.0.1:0",
        "LOG_FORMAT": "text",
    }
    (tmp_path / "reader").mkdir()
    with postgres(Path("/var/tmp")) as (dsn, _):
        async with etcd_cluster(tmp_path) as etcd:
            adapt = _adapted(dsn, etcd.urls[0])
            await asyncio.to_thread(walk_through, PAGE, tmp_path / "reader", env=environment, adapt=adapt, timeout_s=90)
