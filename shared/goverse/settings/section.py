"""What all sections of the settings are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, LiteralString

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError


def split(value: Any) -> Any:
    """Read ``a, b`` as a list, so that an environment variable can hold one."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _expand(value: Path) -> Path:
    return value.expanduser()


Words = Annotated[tuple[str, ...], BeforeValidator(split)]
Directory = Annotated[Path, AfterValidator(_expand)]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


def together(section: str, **files: Path | None) -> None:
    """Accept these files of one section if all of them are named, or none.

    Raises:
        PydanticCustomError: some are missing.
    """
    missing = [name for name, path in files.items() if path is None]
    if missing and len(missing) < len(files):
        given = next(name for name, path in files.items() if path is not None)
        raise relation(
            given,
            "needs {missing} beside it",
            missing=" and ".join(f"{section}.{name}" for name in missing),
        )


def relation(setting: str, message: LiteralString, **values: str) -> PydanticCustomError:
    """Return the error of a setting that is wrong beside another one of its section."""
    return PydanticCustomError("relation", message, {"setting": setting, **values})


class Section(BaseModel):
    """One section: unknown names are errors, values do not change after start."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)
