"""Checks of the arguments of ``ObjectHost``, so that an invalid value fails where the test passes it."""

from __future__ import annotations

import inspect
import math

from goverse.objects.object import Object


def shown(value: object) -> str:
    """Return a value as text for a message; a class is shown by its name."""
    return value.__name__ if isinstance(value, type) else repr(value)


def check_class(target: object) -> None:
    """Check that a value is an object type.

    Raises:
        TypeError: it is not.
    """
    described = shown(target)
    if isinstance(target, type) and issubclass(target, Object):
        return
    if isinstance(target, list | tuple | set | frozenset):
        raise TypeError("the classes are in a collection; pass them one by one, for example ObjectHost(Order, Wallet)")
    raise TypeError(f"{described} is not an object type; use a class that is derived from goverse.Object")


def check_text(name: str, value: object) -> str:
    """Return ``value`` if it is a string.

    Raises:
        TypeError: it is not.
    """
    if isinstance(value, str):
        return value
    if inspect.isfunction(value):
        raise TypeError(f"{name} is the function {value.__qualname__}; use its name, {value.__name__!r}")
    raise TypeError(f"{name} is {value!r}; use a string, for example '{value}'")


def check_flag(name: str, value: object) -> None:
    """Check that a value is True or False.

    Raises:
        TypeError: it is not.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}; use True or False")


def check_count(name: str, value: object) -> None:
    """Check that a value is an integer of at least 1.

    Raises:
        TypeError: it is not an integer.
        ValueError: it is less than 1.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is {value!r}; use a whole number of at least 1")
    if value < 1:
        raise ValueError(f"{name} is {value}; it must be at least 1")


def check_seconds(name: str, value: object, *, least: float | None = None) -> None:
    """Check that a value is a finite number of seconds greater than 0, or at least ``least``.

    Raises:
        TypeError: it is not a number.
        ValueError: it is not finite, or too small.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is {value!r}; use a number of seconds")
    if not math.isfinite(value) or (value <= 0 if least is None else value < least):
        bound = "greater than 0" if least is None else f"of at least {least:g}"
        raise ValueError(f"{name} is {value}; use a finite number {bound}")
