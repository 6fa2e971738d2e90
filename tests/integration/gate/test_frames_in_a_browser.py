"""Frames in a real browser: a foreign page cannot frame the gate's pages, so it cannot redirect clicks to them."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import async_playwright

from goverse_gate.options import GateOptions
from tests.browser import CHROMIUM, FLAGS
from tests.gate.serving import serving

PAGE = """<!doctype html><title>counter</title>
<button id="pay" style="position:fixed;inset:0;width:100%;height:100%">pay</button>
<script>
document.getElementById("pay").onclick = () => fetch("/objects/Counter/victim/call/increment", { method: "POST" });
</script>"""
FRAMING = """<!doctype html><title>{title}</title><iframe src="{url}" style="width:400px;height:300px"></iframe>"""
EMBEDDING = """<!doctype html><title>{title}</title><object data="{url}" style="width:400px;height:300px"></object>"""


@pytest.mark.browser
@pytest.mark.requirement("GATE-10")
@pytest.mark.parametrize("form", [FRAMING, EMBEDDING])
async def test_a_click_on_a_foreign_page_does_not_reach_a_framed_one(tmp_path: Path, form: str) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    (ours / "index.html").write_text(PAGE)
    async with serving(GateOptions(web_dir=ours)) as gate, serving(GateOptions(web_dir=theirs)) as foreign:
        # Another port of the same host is the same site: the strictest case, in which cookies and storage are shared.
        (theirs / "index.html").write_text(form.format(title="foreign", url=f"{gate.server.url}/"))
        (ours / "own.html").write_text(form.format(title="own", url="/"))
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            page = await browser.new_page()
            for url in (foreign.server.url, foreign.server.url.replace("127.0.0.1", "localhost")):
                await page.goto(url)
                await page.mouse.click(200, 150)
                await page.wait_for_load_state("networkidle")
                assert gate.link.requests == []
            await page.goto(f"{gate.server.url}/own.html")
            async with page.expect_response("**/call/increment") as answer:
                await page.mouse.click(200, 150)
            assert (await answer.value).status == 200
            await browser.close()
        assert len(gate.link.requests) == 1


@pytest.mark.requirement("GATE-10")
@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/none",
        "/healthz",
        "/metrics",
        "/openapi.json",
        "/docs",
        "/admin/log-level",
        "/objects/Counter/c1",
        "/objects/Counter",
        "/objects/None/x",
    ],
)
async def test_every_answer_that_can_be_navigated_to_forbids_foreign_frames(tmp_path: Path, path: str) -> None:
    (tmp_path / "index.html").write_text("<p>page")
    async with serving(GateOptions(web_dir=tmp_path)) as gate:
        await gate.client.put("/objects/Counter/c1")
        for headers in ({}, {"Host": "evil.example"}):
            answer = await gate.client.get(path, headers=headers)
            assert "frame-ancestors" in answer.headers["content-security-policy"]
            assert answer.headers["x-frame-options"] == "SAMEORIGIN"
    async with serving(GateOptions(web_dir=tmp_path, allowed_origins=("https://shop.example",))) as gate:
        answer = await gate.client.get("/")
        assert answer.headers["content-security-policy"] == "frame-ancestors 'self' https://shop.example"
        assert "x-frame-options" not in answer.headers
