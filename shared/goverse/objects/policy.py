"""Class options of an object type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, get_args

from goverse.errors import DefinitionError
from goverse.model.keys import is_name
from goverse.objects.declaration import check_flag, check_number, check_seconds

Who = Literal["anyone", "internal", "nobody"]
"""Who may create or delete objects of a type: requests from outside and objects, objects only, or nothing at all."""

WHO: Final[tuple[Who, ...]] = get_args(Who)


@dataclass(frozen=True, slots=True)
class Policy:
    """How objects of a type behave; see ``Object`` for the meaning of each option."""

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
        """Whether the first call creates an object: only where requests from outside may create it."""
        return self.create_on_call and self.create == "anyone"

    @classmethod
    def of_class(cls, class_name: str, inherited: Policy, options: Mapping[str, Any]) -> Policy:
        """Combine what a class inherits with what it declares; name and ``abstract`` are never inherited.

        Raises:
            DefinitionError: an option has a value that it cannot have.
        """
        merged = replace(inherited, **{"name": class_name, "abstract": False, **options})
        for flag in ("abstract", "reentrant", "create_on_call"):
            check_flag(class_name, flag, getattr(merged, flag))
        if not merged.abstract and not _is_name(merged.name):
            raise DefinitionError(
                f"{class_name}: {merged.name!r} cannot be a type name; use an ASCII identifier without leading '_'"
            )
        check_number(class_name, "state_version", merged.state_version)
        if merged.idle_timeout_s is not None:
            check_seconds(class_name, "idle_timeout_s", merged.idle_timeout_s)
        for option in ("create", "delete"):
            if getattr(merged, option) not in WHO:
                words = ", ".join(map(repr, WHO))
                raise DefinitionError(f"{class_name}: {option}={getattr(merged, option)!r} is invalid; use {words}")
        if options.get("create_on_call") and merged.create != "anyone":
            raise DefinitionError(
                f"{class_name}: create_on_call=True lets every call create the object, which create={merged.create!r} "
                "forbids; leave one of them out"
            )
        return merged


def _is_name(value: object) -> bool:
    return isinstance(value, str) and is_name(value)
