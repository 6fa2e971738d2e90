"""Class options of an object type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, get_args

from goverse.errors import DefinitionError
from goverse.model.keys import is_name
from goverse.objects.declaration import check_flag, check_number, check_seconds

Who = Literal["anyone", "internal", "nobody"]
"""The permitted callers of create and delete: requests from outside and objects, objects only, or no caller."""

WHO: Final[tuple[Who, ...]] = get_args(Who)


@dataclass(frozen=True, slots=True)
class Policy:
    """The class options of an object type; ``Object`` documents each of them."""

    name: str
    state_version: int = 1
    reentrant: bool = False
    create_on_call: bool = True
    idle_timeout_s: float | None = None
    abstract: bool = False
    create: Who = "anyone"
    delete: Who = "internal"

    @property
    def creates_on_call(self) -> bool:
        """True if the first call creates an object, which requires ``create="anyone"``."""
        return self.create_on_call and self.create == "anyone"

    @classmethod
    def of_class(cls, class_name: str, inherited: Policy, options: Mapping[str, Any]) -> Policy:
        """Return the inherited options overridden by those of the class; ``name`` and ``abstract`` are not inherited.

        Raises:
            DefinitionError: an option has an invalid value.
        """
        merged = replace(inherited, **{"name": class_name, "abstract": False, **options})
        for flag in ("abstract", "reentrant", "create_on_call"):
            check_flag(class_name, flag, getattr(merged, flag))
        if not merged.abstract and not _is_name(merged.name):
            raise DefinitionError(
                f"{class_name}: invalid type name {merged.name!r}; use an ASCII identifier without a leading '_'"
            )
        check_number(class_name, "state_version", merged.state_version)
        if merged.idle_timeout_s is not None:
            check_seconds(class_name, "idle_timeout_s", merged.idle_timeout_s)
        for option in ("create", "delete"):
            if getattr(merged, option) not in WHO:
                choices = ", ".join(map(repr, WHO))
                raise DefinitionError(f"{class_name}: {option}={getattr(merged, option)!r} is invalid; use {choices}")
        if options.get("create_on_call") and merged.create != "anyone":
            raise DefinitionError(
                f"{class_name}: create_on_call=True lets any call create the object, but create={merged.create!r} "
                "forbids that; remove one of the two options"
            )
        return merged


def _is_name(value: object) -> bool:
    return isinstance(value, str) and is_name(value)
