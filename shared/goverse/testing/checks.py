"""Checks of what a test gives to ``ObjectHost``: a value that could not work is refused where it is written."""

from __future__ import annotations

import inspect
import math

from goverse.objects.object import Object


def shown(value: object) -> str:
    """Return a value for a message, a class by its name."""
    return value.__name__ if isinstance(value, type) else repr(value)


def check_class(target: object) -> None:
    """Pass an object type.

    Raises:
        TypeError: it is a list of classes, a name, an object or a class of another kind.
    """
    described = shown(target)
    if isinstance(target, type) and issubclass(target, Object):
        return
    if isinstance(target, list | tuple | set | frozenset):
        raise TypeError("the classes are given one by one, not in a collection: ObjectHost(Order, Wallet)")
    raise TypeError(f"{described} is not an object type; give a class that is derived from goverse.Object")


def check_text(name: str, value: object) -> str:
    """Return ``value`` if it is a text.

    Raises:
        TypeError: it is something else.
    """
    if isinstance(value, str):
        return value
    if inspect.isfunction(value):
        raise TypeError(f"{name} is the function {value.__qualname__}; give its name, {value.__name__!r}")
    raise TypeError(f"{name} is {value!r}; give a text, as '{value}'")


def check_flag(name: str, value: object) -> None:
    """Pass True or False.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}; give True or False")


def check_count(name: str, value: object) -> None:
    """Pass a whole number from 1.

    Raises:
        TypeError: it is not a whole number.
        ValueError: it is less than 1.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is {value!r}; give a whole number from 1")
    if value < 1:
        raise ValueError(f"{name} is {value}; give a whole number from 1")


def check_seconds(name: str, value: object, *, least: float | None = None) -> None:
    """Pass a finite number of seconds: greater than 0, or from ``least`` on.

    Raises:
        TypeError: it is not a number.
        ValueError: it is not finite, or too small.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is {value!r}; give the seconds as a number")
    if not math.isfinite(value) or (value <= 0 if least is None else value < least):
        bound = "greater than 0" if least is None else f"from {least:g} on"
        raise ValueError(f"{name} is {value}; give a finite number {bound}")
