"""Pydantic adapters and serializer settings for arguments, results and states."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar, cast

from pydantic import ConfigDict, PydanticUndefinedAnnotation, TypeAdapter
from pydantic_core import CoreConfig, SchemaSerializer
from typing_extensions import TypedDict

from goverse.objects.storable import with_visible_infinity

T = TypeVar("T")

# Bytes are sent as Base64: Pydantic's default, UTF-8, cannot represent most byte strings.
ARGUMENTS: Final = ConfigDict(
    extra="forbid", strict=True, allow_inf_nan=False, ser_json_bytes="base64", val_json_bytes="base64"
)
RESULT: Final = ConfigDict(allow_inf_nan=False, ser_json_bytes="base64", val_json_bytes="base64")
STATE: Final = ConfigDict(allow_inf_nan=False, ser_json_bytes="base64", val_json_bytes="base64")
WRITING: Final[CoreConfig] = {"ser_json_bytes": "base64"}
OWN: Final[CoreConfig] = {}
SENDING: Final[CoreConfig] = {"ser_json_bytes": "base64", "ser_json_inf_nan": "constants"}


def members_adapter(name: str, members: Mapping[str, Any], config: ConfigDict) -> TypeAdapter[dict[str, Any]]:
    """Return an adapter for JSON objects with these members."""
    make: Any = TypedDict  # called as a function, because the members are known only at run time
    shape = make(name, dict(members))
    shape.__pydantic_config__ = config
    return defined(cast("TypeAdapter[dict[str, Any]]", TypeAdapter(shape)))


def defined(adapter: TypeAdapter[T]) -> TypeAdapter[T]:
    """Return an adapter all of whose types are defined.

    Raises:
        NameError: a model or dataclass in it refers to a class that is not defined.
    """
    if not adapter.pydantic_complete:
        try:
            adapter.rebuild(raise_errors=True)
        except PydanticUndefinedAnnotation as error:
            raise NameError(
                f"a class in it refers to {error.name!r}, which is not defined; define that in the same module, "
                "before the object type"
            ) from error
    return adapter


def sender(adapter: TypeAdapter[Any], config: CoreConfig = SENDING) -> Callable[..., bytes]:
    """Return a function that encodes values for another process; NaN and infinity are written by name, not as null."""
    return SchemaSerializer(with_visible_infinity(adapter.core_schema), config, _use_prebuilt=False).to_json
