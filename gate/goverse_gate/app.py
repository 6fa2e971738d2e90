"""The gate's ASGI application.

``GateApp`` is a FastAPI application whose entry point checks the path first. ``/objects`` goes to ``Objects``, a plain
ASGI application, so that calls pass no middleware. ``/calls`` and ``/dead-letters`` go to ``Calls`` in the same way.
All other paths (docs, health, metrics, administration) go through ``PageGateway``, which applies the same guard, to
FastAPI.
"""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from prometheus_client import CollectorRegistry
from prometheus_fastapi_instrumentator import Instrumentator
from pydantic_core import to_json
from starlette.middleware.gzip import GZipMiddleware

from goverse.model.catalog import Catalog
from goverse.ports.administration import Administration
from goverse.ports.link import Carrier
from goverse.telemetry.exposition import expose
from goverse_gate.admin import ConfigView, admin_routes
from goverse_gate.bodies import Bodies
from goverse_gate.calls import CALL_PATHS, CALL_PREFIXES, Calls
from goverse_gate.exchange import Receive, Scope, Send
from goverse_gate.guard import Guard
from goverse_gate.health import health_routes
from goverse_gate.identity import ObjectIds, RequestIds
from goverse_gate.memory_bounds import Budget
from goverse_gate.metrics import GateMetrics
from goverse_gate.objects import Objects
from goverse_gate.openapi.document import ApiDocument
from goverse_gate.options import GateOptions
from goverse_gate.page_gateway import PageGateway, add_problem_handlers
from goverse_gate.pages import add_pages
from goverse_gate.static_content import StaticContent
from goverse_gate.timeouts import Timeouts

OBJECT_PREFIXES: Final = (b"/objects/", b"/v1/objects/")
COMPRESSED_BYTES_MIN: Final = 2_048  # smaller responses fit into one or two packets uncompressed


class GateApp(FastAPI):
    """The ASGI application of a gate.

    Attributes:
        objects: serves ``/objects``.
        calls: serves ``/calls`` and ``/dead-letters``.
        page_gateway: serves all other paths.
        catalog: the object types that the gate serves.
    """

    objects: Objects
    calls: Calls
    page_gateway: PageGateway
    catalog: Catalog

    def __init__(self, title: str, version: str, catalog: Catalog, described: ApiDocument | None = None) -> None:
        """Start without FastAPI's own pages, which load scripts from the internet."""
        super().__init__(
            title=title,
            version=version,
            docs_url=None,
            redoc_url=None,
            openapi_url=None,
            redirect_slashes=False,
        )
        self.catalog = catalog
        self._described = described
        self._document: StaticContent | None = None

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:  # not ``async``: saves a frame per call
        """Route ``/objects`` to ``objects`` and all other paths to ``page_gateway``."""
        if scope["type"] != "http":
            return super().__call__(scope, receive, send)
        if scope["raw_path"].startswith(OBJECT_PREFIXES):
            return self.objects(scope, receive, send)
        if scope["raw_path"].startswith(CALL_PREFIXES) or scope["raw_path"] in CALL_PATHS:
            return self.calls(scope, receive, send)
        return self.page_gateway(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document. It is built on first use."""
        if self.openapi_schema is None:
            routes = get_openapi(title=self.title, version=self.version, routes=self.routes)
            described, self._described = self._described or ApiDocument(self.catalog), None
            self.openapi_schema = described.with_routes(routes).as_json(self.title, self.version)
        return self.openapi_schema

    def document(self) -> StaticContent:
        """Return the encoded OpenAPI document, with its caching headers."""
        if self._document is None:
            encoded = to_json(self.openapi(), indent=2)  # not orjson: a default may exceed 64 bits
            self._document = StaticContent(encoded, "application/json", {"cache-control": "no-cache"})
        return self._document

    def set_catalog(self, catalog: Catalog) -> None:
        """Serve the object types of ``catalog`` from now on."""
        self.catalog = catalog
        self.openapi_schema = self._document = self._described = None
        self.objects.set_catalog(catalog)

    def drain(self) -> None:
        """Report not ready, and close each connection after its next response. Requests in progress continue.

        Waits for the ends of calls are answered early.
        """
        self.objects.draining = True
        self.objects.call_requests.drain()


def create_app(
    link: Carrier,
    catalog: Catalog,
    options: GateOptions | None = None,
    *,
    title: str = "GoVerse",
    registry: CollectorRegistry | None = None,
    administration: Administration | None = None,
    config: ConfigView | None = None,
    object_ids: ObjectIds | None = None,
    described: ApiDocument | None = None,
) -> GateApp:
    """Build a gate.

    Args:
        link: sends requests to objects.
        catalog: the object types to serve.
        options: see ``GateOptions``.
        title: the name of the API in its documentation.
        registry: the metrics registry; node and store may have registered their metrics in it.
        administration: operations on the store; without it ``/admin`` has no routes for the store.
        config: returns the effective settings for ``/admin/config``, secrets hidden.
        object_ids: generates ids for objects that are created without one.
        described: the API document of ``catalog`` alone, if it was built before.

    Raises:
        ConfigError: an option is invalid.
    """
    options = options or GateOptions()
    registry = registry or CollectorRegistry()
    app = GateApp(title, options.release, catalog, described)
    metrics = GateMetrics(catalog)
    registry.register(metrics)
    _add_entry_points(app, link, options, metrics, object_ids or ObjectIds())
    app.add_middleware(GZipMiddleware, minimum_size=COMPRESSED_BYTES_MIN)
    add_problem_handlers(app)
    app.include_router(health_routes(link, app.objects))
    app.include_router(admin_routes(options, administration, config))
    _add_metrics(app, registry)
    _add_document(app)
    add_pages(app, options.web_dir)
    return app


def _add_entry_points(
    app: GateApp, link: Carrier, options: GateOptions, metrics: GateMetrics, object_ids: ObjectIds
) -> None:
    """Create the applications for objects and for pages, with a shared guard."""
    guard, request_ids = Guard(options), RequestIds()
    timeouts = Timeouts()
    received = Budget(options.bodies_bytes_max)
    bodies = Bodies(options, timeouts, received)
    app.objects = Objects(
        link,
        app.catalog,
        options,
        bodies=bodies,
        received=received,
        timeouts=timeouts,
        guard=guard,
        metrics=metrics,
        request_ids=request_ids,
        object_ids=object_ids,
    )
    app.calls = Calls(app.objects, options, bodies, metrics)
    app.page_gateway = PageGateway(
        app,
        app.objects,
        bodies,
        guard=guard,
        metrics=metrics,
        request_ids=request_ids,
        access_log=options.access_log,
    )


def _add_metrics(app: FastAPI, registry: CollectorRegistry) -> None:
    Instrumentator(registry=registry).instrument(app)

    @app.get(
        "/metrics",
        tags=["health"],
        operation_id="metrics",
        summary="Prometheus metrics",
        response_class=Response,
    )
    async def metrics(request: Request) -> Response:
        # On the event loop, not in a thread: the loop changes these numbers, and they have no lock.
        exposed = expose(registry, ",".join(request.headers.getlist("accept")))
        return Response(exposed.body, headers={"content-type": exposed.content_type})


def _add_document(app: GateApp) -> None:
    @app.get("/openapi.json", include_in_schema=False)
    async def openapi_json(request: Request) -> Response:
        return await app.document().answer(request)
