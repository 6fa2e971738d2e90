"""Health checks. Liveness has no dependencies; readiness is computed for each request and lists its reasons."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from goverse.ports.link import Link
from goverse_gate.objects import Objects


class Liveness(BaseModel):
    """The process is alive and its event loop runs."""

    status: str = Field(default="ok", examples=["ok"])


class ReadinessReport(BaseModel):
    """The readiness of the server, with reasons."""

    ready: bool = Field(description="True if the server can serve requests now.")
    reasons: list[str] = Field(
        description="Problems, one sentence each. A cluster that serves only some of its shards is ready."
    )
    commit_seq: str = Field(description="The newest durable commit of the store.", examples=["42"])


def health_routes(link: Link, objects: Objects) -> APIRouter:
    """Return the routes ``/healthz``, ``/livez``, ``/ready`` and ``/readyz``."""
    router = APIRouter(tags=["health"])

    async def healthz() -> Liveness:
        return Liveness()

    async def ready(response: Response) -> ReadinessReport:
        state = link.readiness()
        reasons = [*state.reasons]
        if objects.draining:
            reasons.append("the gate is shutting down")
        is_ready = state.ready and not objects.draining
        response.headers["cache-control"] = "no-store"
        if not is_ready:
            response.status_code = 503
        return ReadinessReport(ready=is_ready, reasons=reasons, commit_seq=str(state.commit_seq))

    for path in ("/healthz", "/livez"):
        router.add_api_route(
            path, healthz, operation_id=path[1:], summary="Check that the process is alive", response_model=Liveness
        )
    for path in ("/ready", "/readyz"):
        router.add_api_route(
            path,
            ready,
            operation_id=path[1:],
            summary="Check that the server can serve requests",
            response_model=ReadinessReport,
            response_class=JSONResponse,
            responses={503: {"model": ReadinessReport, "description": "Not ready; see `reasons`."}},
        )
    return router
