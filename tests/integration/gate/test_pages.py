"""Pages of the gate: docs without internet access, metrics, administration, and a folder of web pages."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from goverse.errors import ConfigError, Unavailable
from goverse.objects.describe import describe
from goverse.ports.administration import SnapshotReport, TrimReport
from goverse_gate.app import create_app
from goverse_gate.options import GateOptions
from tests.gate.serving import ADMIN, Serving, new_link, serving


class Store:
    """A store with operations for administrators."""

    def __init__(self) -> None:
        self.kept: list[int] = []
        self.full = False

    async def snapshot(self) -> SnapshotReport:
        if self.full:
            raise Unavailable("the disk is full")
        return SnapshotReport(commit_seq=2**60, objects=3, replies=1, size_bytes=512)

    async def trim(self, snapshots_kept: int) -> TrimReport:
        self.kept.append(snapshots_kept)
        return TrimReport(segments=2, snapshots=1, size_bytes=1_024)

    async def manifest(self) -> Mapping[str, Any]:
        return {"segments": [1]}


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
async def full(store: Store) -> AsyncIterator[Serving]:
    async with serving(administration=store, config=lambda: {"wal": {"data_dir": "x"}}) as gate:
        yield gate


@pytest.mark.requirement("GATE-1")
async def test_the_docs_use_only_local_files(gate: Serving) -> None:
    page = await gate.client.get("/docs")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    local = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(local) == 5
    assert all(re.match(r"/[^/]", url) for url in local)
    for url in local:
        assert (await gate.client.get(url)).status_code == 200
    assert (await gate.client.get("/docs/assets/../secret")).status_code == 404
    assert (await gate.client.get("/docs/assets/core.py")).json()["code"] == "unknown_path"


@pytest.mark.requirement("GATE-10")
async def test_large_pages_are_compressed(gate: Serving) -> None:
    for path in ("/openapi.json", "/docs/assets/swagger-ui-bundle.js"):
        answer = await gate.client.get(path, headers={"Accept-Encoding": "gzip"})
        assert answer.headers["content-encoding"] == "gzip"
        assert "accept-encoding" in answer.headers["vary"].lower()
    assert "content-encoding" not in (await gate.client.get("/healthz")).headers


@pytest.mark.requirement("OBS-1")
async def test_metrics_show_calls_and_pages(gate: Serving) -> None:
    await gate.client.post("/objects/Counter/c1/call/increment")
    await gate.client.get("/objects/Counter/c1")
    await gate.client.get("/objects/Nope/secret-id")
    await gate.client.get("/healthz")
    await gate.client.get("/no/such/secret-path")
    metrics = (await gate.client.get("/metrics")).text
    assert 'goverse_method_calls_total{method="increment",object_type="Counter",status="success"} 1.0' in metrics
    assert 'goverse_method_calls_total{method="unknown",object_type="unknown",status="unknown_type"} 1.0' in metrics
    assert 'goverse_operation_duration_seconds_count{operation="read",status="success"} 1.0' in metrics
    assert "goverse_gate_inflight_requests 0.0" in metrics
    assert 'http_requests_total{handler="/healthz",method="GET",status="2xx"} 1.0' in metrics
    assert "secret" not in metrics


@pytest.mark.requirement("OBS-1")
async def test_calls_of_unknown_methods_are_counted_with_their_type(gate: Serving) -> None:
    await gate.client.post("/objects/Counter/c1/call/nothing")
    await gate.client.get("/objects/Counter/c1/call/nothing")
    metrics = (await gate.client.get("/metrics")).text
    unknown = 'goverse_method_calls_total{method="unknown",object_type="Counter",status="unknown_method"} 2.0'
    assert unknown in metrics


async def test_unknown_pages_are_problems(gate: Serving) -> None:
    answer = await gate.client.get("/nothing/here")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_path")
    assert answer.headers["content-type"] == "application/problem+json"
    assert (await gate.client.get("/healthz/")).status_code == 404


async def test_without_web_pages_the_root_redirects_to_the_docs(gate: Serving) -> None:
    answer = await gate.client.get("/")
    assert (answer.status_code, answer.headers["location"]) == (307, "/docs")


async def test_a_folder_of_web_pages_is_served_at_the_root(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<h1>Shop</h1>")
    (tmp_path / "app.js").write_text("1")
    async with serving(GateOptions(web_dir=tmp_path)) as gate:
        assert (await gate.client.get("/")).text == "<h1>Shop</h1>"
        assert "javascript" in (await gate.client.get("/app.js")).headers["content-type"]
        assert (await gate.client.get("/none.html")).json()["code"] == "unknown_path"
        assert (await gate.client.get("/%2e%2e/%2e%2e/etc/passwd")).json()["code"] == "unknown_path"
        assert (await gate.client.post("/index.html")).status_code == 405
        assert (await gate.client.get("/docs")).status_code == 200
        assert (await gate.client.post("/objects/Counter/c1/call/increment")).text == "1"


def test_a_missing_web_folder_is_a_config_error(tmp_path: Path) -> None:
    link = new_link()
    with pytest.raises(ConfigError, match="does not exist"):
        create_app(link, describe(link.registry), GateOptions(web_dir=tmp_path / "none"))


@pytest.mark.requirement("OBS-3")
async def test_the_log_level_can_be_changed_at_run_time(gate: Serving) -> None:
    changed = await gate.client.put("/admin/log-level", headers=ADMIN, json={"level": "DEBUG"})
    assert (changed.status_code, changed.json()) == (200, {"level": "DEBUG"})
    assert logging.getLogger("another.library").isEnabledFor(logging.DEBUG)
    assert not logging.getLogger("httpx").isEnabledFor(logging.DEBUG)  # about its own machinery
    assert (await gate.client.get("/admin/log-level", headers=ADMIN)).json() == {"level": "DEBUG"}


async def test_an_admin_body_is_checked(gate: Serving) -> None:
    wrong = await gate.client.put("/admin/log-level", headers=ADMIN, json={"level": "LOUD"})
    assert (wrong.status_code, wrong.json()["code"], wrong.json()["errors"][0]["path"]) == (
        422,
        "invalid_arguments",
        "/level",
    )
    assert (await gate.client.put("/admin/log-level", headers=ADMIN, content=b"{")).json()[
        "code"
    ] == "malformed_request"
    assert (await gate.client.put("/admin/log-level", headers=ADMIN, content=b" " * 2_000_000)).json()[
        "code"
    ] == "too_large"
    form = ADMIN | {"content-type": "application/x-www-form-urlencoded"}
    assert (await gate.client.put("/admin/log-level", content=b'{"level":"INFO"}', headers=form)).status_code == 200


async def test_routes_of_the_store_exist_only_with_a_store(gate: Serving, full: Serving, store: Store) -> None:
    for path in ("/admin/config", "/admin/manifest"):
        assert (await gate.client.get(path)).json()["code"] == "unknown_path"
    assert (await full.client.get("/admin/config", headers=ADMIN)).json() == {"wal": {"data_dir": "x"}}
    assert (await full.client.get("/admin/manifest", headers=ADMIN)).json() == {"segments": [1]}
    made = await full.client.post("/admin/snapshot", headers=ADMIN)
    assert made.json() == {"commit_seq": str(2**60), "objects": 3, "replies": 1, "bytes": 512}
    assert (await full.client.post("/admin/trim?snapshots_kept=2", headers=ADMIN)).json() == {
        "segments": 2,
        "snapshots": 1,
        "bytes": 1_024,
    }
    assert store.kept == [2]
    assert (await full.client.post("/admin/trim?snapshots_kept=0", headers=ADMIN)).json()["code"] == "invalid_arguments"


async def test_an_error_of_the_store_is_a_problem(full: Serving, store: Store) -> None:
    store.full = True
    answer = await full.client.post("/admin/snapshot", headers=ADMIN)
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "unavailable", "1")


async def test_an_unexpected_error_of_a_page_is_logged_and_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> Mapping[str, Any]:
        raise ZeroDivisionError("inside")

    async with serving(config=broken) as gate:
        answer = await gate.client.get("/admin/config", headers=ADMIN)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "inside" not in answer.text
    assert "ZeroDivisionError" in caplog.text
