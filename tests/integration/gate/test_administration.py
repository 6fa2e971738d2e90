"""Administration requires the token and a direct connection from this machine."""

from __future__ import annotations

import asyncio
import shutil
import stat
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from benchmarks.ports import free_port
from goverse.errors import ConfigError
from goverse.objects.describe import describe
from goverse_gate.admin_access import token_in
from goverse_gate.app import create_app
from goverse_gate.options import GateOptions
from tests.gate.serving import ADMIN, ADMIN_TOKEN, Serving, new_link, serving

LEVEL = "/admin/log-level"
OWN_PAGE = "http://localhost"

pytestmark = pytest.mark.requirement("OBS-3", "GATE-10")


async def asked(options: GateOptions, peer: str = "127.0.0.1", **headers: str) -> httpx.Response:
    """Request the log level from a peer with this address."""
    link = new_link()
    transport = httpx.ASGITransport(create_app(link, describe(link.registry), options), client=(peer, 1))
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return await client.get(LEVEL, headers=named)


WITH_TOKEN = GateOptions(admin_token=ADMIN_TOKEN)


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
async def test_a_local_request_with_the_token_is_allowed(peer: str) -> None:
    assert (await asked(WITH_TOKEN, peer, **ADMIN)).status_code == 200
    assert (await asked(WITH_TOKEN, peer, Authorization=f"bearer  {ADMIN_TOKEN}")).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": f"Bearer {ADMIN_TOKEN}x"},
        {"Authorization": f"Basic {ADMIN_TOKEN}"},
        {"Authorization": ADMIN_TOKEN},
        {"Authorization": "Bearer ?"},
    ],
)
@pytest.mark.parametrize("options", [WITH_TOKEN, GateOptions(admin_token=ADMIN_TOKEN, allow_remote_admin=True)])
async def test_a_local_request_without_the_token_is_denied(options: GateOptions, headers: dict[str, str]) -> None:
    answer = await asked(options, **headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "access_denied")
    assert answer.json()["setting"] == "gate.admin_token_file"
    assert ADMIN_TOKEN not in answer.text


async def test_a_process_without_a_token_denies_administration() -> None:
    for headers in ({}, ADMIN, {"Authorization": "Bearer "}, {"Authorization": "Bearer None"}):
        answer = await asked(GateOptions(), **headers)
        assert (answer.status_code, answer.json().get("setting")) == (403, "gate.admin_token_file")


@pytest.mark.parametrize("peer", ["10.0.0.7", "127.0.0.6", "127.1.2.3", "fe80::1", ""])
async def test_other_machines_and_meshes_are_denied_unless_a_setting_allows_them(peer: str) -> None:
    refused = await asked(WITH_TOKEN, peer, **ADMIN)
    assert (refused.status_code, refused.json()["setting"]) == (403, "gate.allow_remote_admin")
    allowed = GateOptions(admin_token=ADMIN_TOKEN, allow_remote_admin=True)
    assert (await asked(allowed, peer, **ADMIN)).status_code == 200
    assert (await asked(allowed, peer)).status_code == 403


@pytest.mark.parametrize("name", ["Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Proto", "X-Real-IP"])
async def test_a_proxied_request_does_not_count_as_local(name: str) -> None:
    header = {name.replace("-", "_"): "1.2.3.4"}
    assert (await asked(WITH_TOKEN, **ADMIN, **header)).status_code == 403
    local = GateOptions(admin_token=ADMIN_TOKEN, allow_local_admin=True)
    assert (await asked(local, **header)).status_code == 403
    assert (await asked(local)).status_code == 200


@pytest.mark.parametrize("peer", ["10.0.0.7", "127.0.0.6"])
async def test_local_administration_without_a_token_is_limited_to_this_machine(peer: str) -> None:
    options = GateOptions(allow_local_admin=True, allow_remote_admin=True)
    assert (await asked(options)).status_code == 200
    assert (await asked(options, peer)).status_code == 403


@pytest.mark.parametrize("origins", [("https://shop.example",), ("*",)])
async def test_pages_of_allowed_origins_can_call_but_not_administrate(origins: tuple[str, ...]) -> None:
    options = GateOptions(admin_token=ADMIN_TOKEN, allow_local_admin=True, allowed_origins=origins)
    for headers in (ADMIN, {}):
        assert (await asked(options, Origin="https://shop.example", **headers)).status_code == 403
        assert (await asked(options, Origin=OWN_PAGE, **headers)).status_code == 200


@asynccontextmanager
async def behind_nginx(gate: Serving, folder: Path, port: int) -> AsyncIterator[str]:
    """Run nginx in front of the gate with a minimal configuration: ``proxy_pass`` and nothing else."""
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}\n"
        f"http {{ access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;\n"
        f"fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n"
        f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {gate.server.url}; }} }} }}\n"
    )
    process = await asyncio.create_subprocess_exec(
        nginx, "-c", str(config), "-p", str(folder), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.system
async def test_a_site_behind_nginx_with_its_defaults_does_not_expose_administration(tmp_path: Path) -> None:
    async with (
        serving() as gate,
        behind_nginx(gate, tmp_path, free_port()) as url,
        httpx.AsyncClient(base_url=url, trust_env=False) as client,
    ):
        served: list[int] = []

        async def look() -> None:
            try:
                served.append((await client.get("/healthz")).status_code)
            except httpx.TransportError:
                await asyncio.sleep(0.05)

        for _ in range(200):
            await look()
            if served:
                break
        assert served == [200]
        assert (await client.post("/objects/Counter/c1/call/increment")).text == "1"
        assert (await client.get(LEVEL)).status_code == 403
        assert (await client.put(LEVEL, json={"level": "DEBUG"})).status_code == 403


def test_a_token_is_created_once_and_readable_only_by_its_user(tmp_path: Path) -> None:
    path = tmp_path / "admin.token"
    token = token_in(path)
    assert len(token) >= 43
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert token_in(path) == token
    assert token_in(tmp_path / "other.token") != token
    assert sorted(each.name for each in tmp_path.iterdir()) == ["admin.token", "other.token"]


def test_processes_that_start_together_use_the_same_token(tmp_path: Path) -> None:
    for attempt in range(20):
        path, together = tmp_path / f"{attempt}.token", threading.Barrier(8)

        def make(path: Path = path, together: threading.Barrier = together) -> str:
            together.wait()
            return token_in(path)

        with ThreadPoolExecutor(8) as pool:
            made = {each.result() for each in [pool.submit(make) for _ in range(8)]}
        assert made == {path.read_text("utf-8").strip()}
    assert len(list(tmp_path.iterdir())) == 20


@pytest.mark.parametrize("content", ["", "short", "x" * 31 + "\n", "é" * 40])
def test_a_weak_token_is_refused_at_the_start(tmp_path: Path, content: str) -> None:
    (tmp_path / "admin.token").write_text(content)
    with pytest.raises(ConfigError) as refusal:
        token_in(tmp_path / "admin.token")
    assert refusal.value.extra["setting"] == "gate.admin_token_file"


def test_an_error_about_the_token_file_names_its_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot use the admin token file"):
        token_in(tmp_path / "none" / "admin.token")


def test_options_do_not_show_the_token() -> None:
    assert ADMIN_TOKEN not in repr(WITH_TOKEN)
