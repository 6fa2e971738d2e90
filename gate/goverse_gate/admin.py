"""Routes for operators under ``/admin``. They require the admin token (``goverse_gate.admin_access``).

The routes of the store exist only in a process with an embedded store.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal, Self

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator

from goverse.model.keys import DEFAULT_NAMESPACE, ObjectKey, check_id, check_namespace
from goverse.ports.administration import Administration
from goverse.telemetry.logs import change_level, current_level
from goverse_gate.admin_access import check_administrator
from goverse_gate.options import GateOptions

ConfigView = Callable[[], Mapping[str, Any]]
Level = Literal["DEBUG", "INFO", "WARNING", "ERROR"]

SNAPSHOTS_KEPT_MAX: Final = 1_000

logger = logging.getLogger("goverse.gate.admin")


class LogLevel(BaseModel):
    """The lowest level that is logged."""

    model_config = ConfigDict(extra="forbid")

    level: Level


class Snapshot(BaseModel):
    """A snapshot that is complete and durable."""

    commit_seq: str = Field(description="The newest commit in the snapshot.")
    objects: int
    replies: int
    bytes: int


class Trim(BaseModel):
    """The segments and snapshots that a trim removed."""

    segments: int
    snapshots: int
    bytes: int


class RestoredObject(BaseModel):
    """An object that was restored to an earlier state."""

    version: int = Field(description="The object's version after the restore.")
    commit_seq: str
    from_version: int = Field(description="The version whose state was restored.")
    from_commit_seq: str


class ObjectToRestore(BaseModel):
    """An object, and the commit or the time whose state it is restored to."""

    model_config = ConfigDict(extra="forbid")

    namespace: str = DEFAULT_NAMESPACE
    type: str
    id: str
    to_seq: Annotated[int, Field(ge=0)] | None = None
    to_time_ms: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _one_point(self) -> Self:
        if (self.to_seq is None) == (self.to_time_ms is None):
            raise ValueError("give either to_seq or to_time_ms")
        return self


def admin_routes(options: GateOptions, administration: Administration | None, config: ConfigView | None) -> APIRouter:
    """Return the routes under ``/admin`` that this gate can serve."""

    async def administrator(request: Request) -> None:
        check_administrator(request, options)

    router = APIRouter(prefix="/admin", tags=["admin"], dependencies=[Depends(administrator)])
    _add_log_level(router)
    if config is not None:
        _add_config(router, config)
    if administration is not None:
        _add_store(router, administration)
    return router


def _add_log_level(router: APIRouter) -> None:
    @router.get("/log-level", operation_id="get_log_level", summary="Get the log level")
    async def get_log_level() -> LogLevel:
        return LogLevel.model_validate({"level": current_level().upper()})

    @router.put("/log-level", operation_id="set_log_level", summary="Set the log level until the next restart")
    async def set_log_level(wanted: LogLevel) -> LogLevel:
        change_level(wanted.level.lower())
        logger.warning("log level changed to %s", wanted.level, extra={"level": wanted.level})
        return wanted


def _add_config(router: APIRouter, config: ConfigView) -> None:
    @router.get("/config", operation_id="get_config", summary="Get the effective settings, secrets hidden")
    async def get_config() -> dict[str, Any]:
        return dict(config())


def _add_store(router: APIRouter, administration: Administration) -> None:
    @router.post("/snapshot", operation_id="snapshot", summary="Write a snapshot now")
    async def snapshot() -> Snapshot:
        made = await administration.snapshot()
        return Snapshot(
            commit_seq=str(made.commit_seq), objects=made.objects, replies=made.replies, bytes=made.size_bytes
        )

    @router.post("/trim", operation_id="trim", summary="Remove old snapshots and the log segments only they needed")
    async def trim(snapshots_kept: Annotated[int, Query(ge=1, le=SNAPSHOTS_KEPT_MAX)] = 1) -> Trim:
        removed = await administration.trim(snapshots_kept)
        return Trim(segments=removed.segments, snapshots=removed.snapshots, bytes=removed.size_bytes)

    @router.post("/restore-object", operation_id="restore_object", summary="Restore an object to an earlier state")
    async def restore_object(wanted: ObjectToRestore) -> RestoredObject:
        key = ObjectKey(check_namespace(wanted.namespace), wanted.type, check_id(wanted.id))
        made = await administration.restore_object(key, to_seq=wanted.to_seq, to_time_ms=wanted.to_time_ms)
        logger.warning("%s restored to the state of version %d", key, made.from_version, extra={"object": str(key)})
        return RestoredObject(
            version=made.version,
            commit_seq=str(made.commit_seq),
            from_version=made.from_version,
            from_commit_seq=str(made.from_commit_seq),
        )

    @router.get("/manifest", operation_id="get_manifest", summary="List the files of the store")
    async def manifest() -> dict[str, Any]:
        return dict(await administration.manifest())
