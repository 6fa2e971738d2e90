"""The list of all settings, read from the models; used by error messages, the generated file and the reference page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin

from pydantic import BaseModel, ByteSize, SecretStr
from pydantic.fields import FieldInfo

ENVIRONMENT_PREFIX = "GOVERSE_"
PLAIN_NAMES = {"LOG_FORMAT": "log.format", "LOG_LEVEL": "log.level"}
"""Environment variables without the prefix, and the settings that they set."""

_TYPE_NAMES: dict[Any, str] = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    Path: "path",
    ByteSize: "bytes, or text like `64MiB`",
    SecretStr: "secret text",
    tuple: "list, or comma-separated text",
}
_SIGNS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its ``path`` in the file, its environment ``variable``, and the values that it ``takes``."""

    path: str
    variable: str
    takes: str
    default: Any
    description: str
    secret: bool


def known_settings(model: type[BaseModel]) -> Iterator[Setting]:
    """Yield the settings of ``model``, section by section."""
    for section_name, section in sections(model).items():
        for name, field in section.model_fields.items():
            yield Setting(
                path=f"{section_name}.{name}",
                variable=f"{ENVIRONMENT_PREFIX}{section_name}__{name}".upper(),
                takes=_takes(field),
                default=field.get_default(call_default_factory=True, validated_data={}),
                description=field.description or "",
                secret=_kind(field.annotation) is SecretStr,
            )


def sections(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """Return the section models of ``model`` by name."""
    return {
        name: field.annotation
        for name, field in model.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }


def plain(value: Any) -> Any:
    """Return ``value`` as a JSON and YAML value."""
    if isinstance(value, tuple):
        return [plain(item) for item in cast("Iterable[Any]", value)]
    if isinstance(value, ByteSize):
        return int(value)
    return str(value) if isinstance(value, Path) else value


def _kind(annotation: Any) -> Any:
    """Return the type inside ``X | None`` and ``tuple[X, ...]``."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        return _kind(next(part for part in get_args(annotation) if part is not NoneType))
    if origin is not None and hasattr(annotation, "__metadata__"):
        return _kind(get_args(annotation)[0])
    return tuple if origin is tuple else annotation


def _takes(field: FieldInfo) -> str:
    kind = _kind(field.annotation)
    if get_origin(kind) is Literal:
        return " or ".join(f"`{choice}`" for choice in get_args(kind))
    bounds = ", ".join(
        f"{sign} {getattr(item, name):,}".replace(",", " ")
        for name, sign in _SIGNS.items()
        for item in cast("list[object]", field.metadata)
        if hasattr(item, name)
    )
    return ", ".join(part for part in (_TYPE_NAMES[kind], bounds) if part)
