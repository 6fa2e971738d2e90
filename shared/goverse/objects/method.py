"""The decorators for methods of an object: ``@call``, ``@handler``, ``@view``, ``@raises`` and ``@migration``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar, overload

from goverse.errors import DefinitionError
from goverse.objects.declaration import (
    check_exceptions,
    check_flag,
    check_number,
    check_seconds,
    declared_errors,
    name_of,
    not_on,
)
from goverse.objects.known_options import known_options

Function = TypeVar("Function", bound=Callable[..., Any])

OPTIONS_ATTRIBUTE: Final = "__goverse_call__"
MIGRATION_ATTRIBUTE: Final = "__goverse_migration__"
RAISES_ATTRIBUTE: Final = "__goverse_raises__"
VIEW_ATTRIBUTE: Final = "__goverse_view__"


@dataclass(frozen=True, slots=True)
class CallOptions:
    """The options of ``@call`` and ``@handler``.

    Attributes:
        readonly: True if the method does not change the state; it then runs concurrently with other readonly calls.
        reentrant: True if a call chain may call back into the object while this method waits; None uses the option of
            the class.
        timeout_s: the timeout of one call; None uses the configured default.
        raises: business errors that the method documents, and other exceptions whose class name and message the
            caller may see.
        handler: True if only other objects and GoVerse itself may call the method, but no request from outside.
    """

    readonly: bool = False
    reentrant: bool | None = None
    timeout_s: float | None = None
    raises: tuple[type[Exception], ...] = ()
    handler: bool = False


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


@known_options("@call", DefinitionError)
def call(
    method: Function | None = None,
    /,
    *,
    readonly: bool = False,
    reentrant: bool | None = None,
    timeout_s: float | None = None,
    raises: tuple[type[Exception], ...] = (),
) -> Function | Callable[[Function], Function]:
    """Export a method, so that clients can call it over HTTP and other objects can call it through a reference.

    Only exported methods can be called. The arguments are a JSON object whose members are the method's parameters;
    arguments and result are checked against the annotations. Both ``async def`` and plain ``def`` work; a plain
    function must not block.

    Args:
        method: the function, if the decorator is used without parentheses.
        readonly: the method does not change the state, which is checked, and runs concurrently with other readonly
            calls.
        reentrant: while the method waits for a call, let that call chain call back into the object. Otherwise such a
            call fails with ``deadlock``.
        timeout_s: timeout of one call in seconds, instead of the configured default.
        raises: business errors to document, and other exception classes whose name and message the caller may see.

    Raises:
        DefinitionError: an option is unknown or has an invalid value, or the decorated value is not a function.
    """
    mark = _marker(CallOptions(readonly, reentrant, timeout_s, declared_errors(raises)))
    return mark if method is None else mark(_decorated("@call", method))


@overload
def handler(method: Function, /) -> Function: ...


@overload
def handler(
    *,
    readonly: bool = False,
    reentrant: bool | None = None,
    timeout_s: float | None = None,
    raises: tuple[type[Exception], ...] = (),
) -> Callable[[Function], Function]: ...


@known_options("@handler", DefinitionError)
def handler(
    method: Function | None = None,
    /,
    *,
    readonly: bool = False,
    reentrant: bool | None = None,
    timeout_s: float | None = None,
    raises: tuple[type[Exception], ...] = (),
) -> Function | Callable[[Function], Function]:
    """Export a method to other objects and to GoVerse itself only.

    A request from outside gets 403 ``access_denied``. The API documentation and generated clients do not contain the
    method. In all other respects it works like ``@call``, with the same options.

    >>> class Account(Object):
    ...     cents: int = 0
    ...
    ...     @handler
    ...     async def deposit(self, cents: int) -> None:
    ...         self.cents += cents

    Raises:
        DefinitionError: an option is unknown or has an invalid value, or the decorated value is not a function.
    """
    mark = _marker(CallOptions(readonly, reentrant, timeout_s, declared_errors(raises), handler=True))
    return mark if method is None else mark(_decorated("@handler", method))


def _marker(options: CallOptions) -> Callable[[Function], Function]:
    name = "@handler" if options.handler else "@call"

    def mark(function: Function) -> Function:
        if isinstance(function, property):
            raise DefinitionError(not_on(name_of(function), name, function))
        if not callable(function):
            raise DefinitionError(
                f"{name_of(function)}: {name} goes on a method; put it below @staticmethod and similar decorators, or "
                "remove those"
            )
        _check_options(name_of(function), options)
        present = getattr(function, OPTIONS_ATTRIBUTE, options)
        if isinstance(present, CallOptions) and present.handler != options.handler:
            raise DefinitionError(
                f"{name_of(function)} is marked with both @call and @handler; keep @call if requests from outside "
                "may call it, @handler if only other objects may"
            )
        setattr(function, OPTIONS_ATTRIBUTE, options)
        return function

    return mark


def _decorated(name: str, method: Function) -> Function:
    """Return the decorated function.

    Raises:
        DefinitionError: it is the value of an option that was given without its name.
    """
    if isinstance(method, bool | int | float | str | tuple):
        raise DefinitionError(
            f"{name}({method!r}): the options of {name} are keywords, for example {name}(readonly=True)"
        )
    return method


def view(method: Function) -> Function:
    """Mark the function that computes the response to ``GET``; without one, ``GET`` returns the stored state.

    The function is a plain ``def`` with ``self`` as its only parameter and a return annotation. It reads the state and
    must not change it. It runs on a copy of the durable state and without ``on_activate``, so transient attributes have
    their defaults and ``self.context`` is not available. A class has at most one view.

    >>> class Order(Object):
    ...     item: str = ""
    ...     margin: int = 0
    ...
    ...     @view
    ...     def public(self) -> OrderView:
    ...         return OrderView(item=self.item)

    Raises:
        DefinitionError: the decorated value is not a function.
    """
    if not callable(method):
        raise DefinitionError("@view goes on a method without parameters: @view def public(self) -> OrderView")
    setattr(method, VIEW_ATTRIBUTE, True)
    return method


def raises(*errors: type[Exception]) -> Callable[[Function], Function]:
    """Document the errors that a hook raises.

    The API documentation lists the business errors of ``on_create`` under ``PUT`` and ``POST``, and those of
    ``on_delete`` under ``DELETE``. The caller also sees the name and message of other exception classes listed here.

    >>> class Order(Object):
    ...     @raises(SeatsTaken)
    ...     async def on_create(self, seats: list[str]) -> None: ...

    On a method, it has the same effect as ``@call(raises=...)``.

    Raises:
        DefinitionError: an argument is not an exception class.
    """
    if len(errors) == 1 and inspect.isfunction(errors[0]):
        raise DefinitionError(f"{name_of(errors[0])}: @raises takes exception classes, as @raises(SoldOut)")
    check_exceptions("@raises", errors)

    def mark(function: Function) -> Function:
        if not callable(function):
            raise DefinitionError("@raises goes on a hook or a method")
        setattr(function, RAISES_ATTRIBUTE, errors)
        return function

    return mark


def _check_options(owner: str, options: CallOptions) -> None:
    check_flag(owner, "readonly", options.readonly)
    if options.reentrant is not None:
        check_flag(owner, "reentrant", options.reentrant)
    if options.timeout_s is not None:
        check_seconds(owner, "timeout_s", options.timeout_s)
    check_exceptions(owner, options.raises)


def migration(*, from_version: int) -> Callable[[Function], Function]:
    """Mark a function that converts stored state of ``from_version`` to the next state version.

    The function takes the stored state as a dict of JSON values and returns the dict for ``from_version + 1``. It is a
    static method of the class and runs when an object of the older version is loaded.

    >>> class Counter(Object, state_version=2):
    ...     total: int = 0
    ...
    ...     @staticmethod
    ...     @migration(from_version=1)
    ...     def _rename(state: dict[str, Any]) -> dict[str, Any]:
    ...         return {"total": state["value"]}

    Raises:
        DefinitionError: ``from_version`` is not a whole number from 1.
    """
    check_number("@migration", "from_version", from_version)

    def mark(function: Function) -> Function:
        setattr(getattr(function, "__func__", function), MIGRATION_ATTRIBUTE, from_version)
        return function

    return mark
