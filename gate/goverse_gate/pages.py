"""Web pages: Swagger UI at ``/docs``, from a package instead of the internet, and a folder of pages at ``/``."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import RedirectResponse, Response
from fastapi.staticfiles import StaticFiles

from goverse.errors import ConfigError
from goverse_gate.static_content import StaticContent

ASSETS: Final = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE_HEADERS: Final = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
_ASSET_HEADERS: Final = {"x-content-type-options": "nosniff", "cache-control": "public, max-age=3600"}


@cache
def _asset(name: str) -> StaticContent:
    body = (files("fastapi_offline") / "static" / name).read_bytes()
    return StaticContent(body, ASSETS[name], _ASSET_HEADERS)


def add_pages(app: FastAPI, web_dir: Path | None) -> None:
    """Add ``/docs``, and at ``/`` the pages in ``web_dir`` or a redirect to ``/docs``.

    Raises:
        ConfigError: ``web_dir`` is not a folder.
    """
    own = files("goverse_gate") / "web"
    page = StaticContent((own / "docs.html").read_bytes(), "text/html", _PAGE_HEADERS)
    start = StaticContent((own / "docs.js").read_bytes(), "text/javascript", _ASSET_HEADERS)

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        return await page.answer(request)

    @app.get("/docs/start.js", include_in_schema=False)
    async def docs_start(request: Request) -> Response:
        return await start.answer(request)

    @app.get("/docs/assets/{name}", include_in_schema=False)
    async def docs_asset(name: str, request: Request) -> Response:
        if name not in ASSETS:
            raise HTTPException(404)
        return await _asset(name).answer(request)

    if web_dir is None:

        @app.get("/", include_in_schema=False)
        async def to_docs() -> RedirectResponse:
            return RedirectResponse("/docs")

    elif web_dir.is_dir():
        app.mount("/", StaticFiles(directory=web_dir, html=True), name="web")
    else:
        raise ConfigError(f"the web folder {web_dir} does not exist or is not a folder", setting="gate.web_dir")
