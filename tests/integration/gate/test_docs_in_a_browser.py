"""Swagger UI in a real browser: it shows the API and calls an object without internet access."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from playwright.async_api import ConsoleMessage, Request, async_playwright, expect

from tests.browser import CHROMIUM, FLAGS
from tests.gate.serving import Serving


@pytest.mark.browser
@pytest.mark.requirement("GATE-1")
async def test_a_method_can_be_tried_out(gate: Serving) -> None:
    foreign: list[str] = []
    complaints: list[str] = []

    def on_request(request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and parts.hostname != "127.0.0.1":
            foreign.append(request.url)

    def on_console(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = await browser.new_page()
        page.on("request", on_request)
        page.on("console", on_console)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        await page.goto(f"{gate.server.url}/docs")

        operation = page.locator("#operations-Counter-Counter_increment")
        await expect(operation).to_contain_text("Add to the counter.")
        await operation.locator(".opblock-summary").click()
        await expect(operation.get_by_placeholder("id", exact=True)).to_have_value("c1")
        editor = operation.locator("textarea.body-param__text")
        await expect(editor).to_have_value('{\n  "by": 1\n}')
        await editor.fill('{"by": 2}')
        await operation.get_by_role("button", name="Execute").click()
        answer = operation.locator(".live-responses-table .response").first
        await expect(answer.locator(".response-col_status")).to_contain_text("200")
        await expect(answer).to_contain_text("goverse-commit-seq: 1")
        await browser.close()

    assert (await gate.client.get("/objects/Counter/c1")).json() == {"value": 2}
    assert foreign == []
    assert complaints == []
