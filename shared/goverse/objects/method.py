"""``@call`` and the hooks: which functions of a class may be reached, and how they behave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar, overload

from goverse.errors import DefinitionError

Function = TypeVar("Function", bound=Callable[..., Any])

OPTIONS_ATTRIBUTE: Final = "__goverse_call__"
MIGRATION_ATTRIBUTE: Final = "__goverse_migration__"
HOOKS: Final = ("on_create", "on_activate", "on_deactivate", "on_delete")


@dataclass(frozen=True, slots=True)
class CallOptions:
    """What ``@call`` declares about a method.

    Attributes:
        readonly: the method does not change the state; it runs beside other readonly calls.
        reentrant: whether a call chain may come back into the object while this method waits; None takes the class's
            choice.
        timeout_s: the longest time that one call may take; None takes the configured default.
        raises: business errors that the method documents, and other exceptions whose class name and message the
            caller may see.
    """

    readonly: bool = False
    reentrant: bool | None = None
    timeout_s: float | None = None
    raises: tuple[type[Exception], ...] = ()


@overload
def call(method: Function, /) -> Function: ...


@overload
def call(
    *,
    readonly: bool = False,
    reentrant: bool | None = None,
    timeout_s: float | None = None,
    raises: tuple[type[Exception], ...] = (),
) -> Callable[[Function], Function]: ...


def call(
    method: Function | None = None,
    /,
    *,
    readonly: bool = False,
    reentrant: bool | None = None,
    timeout_s: float | None = None,
    raises: tuple[type[Exception], ...] = (),
) -> Function | Callable[[Function], Function]:
    """Export a method: callers reach it by name, over HTTP and from other objects. Nothing else is reachable.

    The arguments are a JSON object whose members are the method's parameters; they and the result are checked
    against the annotations. ``async def`` and plain ``def`` both work; a plain one must not block.

    Args:
        method: the function, where the decorator is used without parentheses.
        readonly: the method leaves the state as it is (checked) and runs concurrently with other readonly calls.
        reentrant: let a call chain that comes back run while this method waits for it, instead of failing with
            ``deadlock``.
        timeout_s: longest time for one call in seconds, instead of the configured default.
        raises: business errors to document; also other exception classes that the caller may see by name and message.

    Raises:
        DefinitionError: an option is out of range.
    """
    if timeout_s is not None and timeout_s <= 0:
        raise DefinitionError(f"timeout_s is {timeout_s}; it must be greater than 0")
    options = CallOptions(readonly=readonly, reentrant=reentrant, timeout_s=timeout_s, raises=tuple(raises))

    def mark(function: Function) -> Function:
        if not callable(function):
            raise DefinitionError(
                "@call goes on a method; put it below @staticmethod and the like, or leave those away"
            )
        setattr(function, OPTIONS_ATTRIBUTE, options)
        return function

    return mark if method is None else mark(method)


def migration(*, from_version: int) -> Callable[[Function], Function]:
    """Declare how state of one version becomes state of the next.

    The function takes the stored state as a dict of JSON values and returns the dict for ``from_version + 1``. It is a
    static function of the class; it runs when an object of the older version is loaded.

    >>> class Counter(Object, state_version=2):
    ...     total: int = 0
    ...
    ...     @staticmethod
    ...     @migration(from_version=1)
    ...     def _rename(state: dict[str, Any]) -> dict[str, Any]:
    ...         return {"total": state["value"]}

    Raises:
        DefinitionError: ``from_version`` is less than 1.
    """
    if from_version < 1:
        raise DefinitionError(f"from_version is {from_version}; state versions begin at 1")

    def mark(function: Function) -> Function:
        setattr(getattr(function, "__func__", function), MIGRATION_ATTRIBUTE, from_version)
        return function

    return mark
