"""Pages for people: ``/docs`` (Swagger UI from a package, nothing from the internet) and a folder of web pages."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

from fastapi import FastAPI, HTTPException
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles

from goverse.errors import ConfigError

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


def add_pages(app: FastAPI, web_dir: Path | None) -> None:
    """Add the docs, and ``web_dir`` (or a redirect to the docs) at ``/``.

    Raises:
        ConfigError: ``web_dir`` is no folder.
    """
    own = files("goverse_gate") / "web"
    page = (own / "docs.html").read_text(encoding="utf-8")
    start = (own / "docs.js").read_text(encoding="utf-8")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(page, headers=_PAGE_HEADERS)

    @app.get("/docs/start.js", include_in_schema=False)
    async def docs_start() -> Response:
        return Response(start, media_type="text/javascript", headers=_ASSET_HEADERS)

    with as_file(files("fastapi_offline") / "static") as assets:
        folder = assets  # wheels are installed unpacked, so the folder outlives this block

    @app.get("/docs/assets/{name}", include_in_schema=False)
    async def docs_asset(name: str) -> Response:
        if name not in ASSETS:
            raise HTTPException(404)
        return FileResponse(folder / name, media_type=ASSETS[name], headers=_ASSET_HEADERS)

    if web_dir is None:

        @app.get("/", include_in_schema=False)
        async def to_docs() -> RedirectResponse:
            return RedirectResponse("/docs")

    elif web_dir.is_dir():
        app.mount("/", StaticFiles(directory=web_dir, html=True), name="web")
    else:
        raise ConfigError(f"the folder of web pages {web_dir} does not exist", setting="gate.web_dir")
