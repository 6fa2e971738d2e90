"""Types and helpers shared by all sections of the settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, LiteralString

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError


def split(value: Any) -> Any:
    """Split ``a, b`` into a list, so that an environment variable can hold one."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _expand(value: Path) -> Path:
    return value.expanduser()


Words = Annotated[tuple[str, ...], BeforeValidator(split)]
Directory = Annotated[Path, AfterValidator(_expand)]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


def together(section: str, **files: Path | None) -> None:
    """Check that all of these files of one section are set, or none.

    Raises:
        PydanticCustomError: some are missing.
    """
    missing = [name for name, path in files.items() if path is None]
    if missing and len(missing) < len(files):
        given = next(name for name, path in files.items() if path is not None)
        raise relation(
            given,
            "requires {missing} as well",
            missing=" and ".join(f"{section}.{name}" for name in missing),
        )


def relation(setting: str, message: LiteralString, **values: str) -> PydanticCustomError:
    """Return the error for a setting that contradicts another one."""
    return PydanticCustomError("relation", message, {"setting": setting, **values})


class Section(BaseModel):
    """A section of the settings: unknown names are errors, and values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)
