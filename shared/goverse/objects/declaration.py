"""Checks of class definitions that are valid Python but would not work as intended.

Each error names the class, the member and the invalid value, and shows how to write it. All checks run once, when a
decorator is applied or a class is loaded.

A method is treated as a mistyped hook if its name begins with ``on``, it has no GoVerse decorator, and its name
resembles that of a hook: ``on_created``, ``oncreate``, ``on_activation``. GoVerse would never run it. The first letter
after ``on`` must match, so applications can use names like ``on_rate`` and ``on_reactivate``.

Methods named ``on_start`` or ``on_stop`` are rejected too, because these decorators mark functions of a module.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches
from typing import Any, Final

from goverse.errors import DefinitionError

HOOKS: Final = ("on_create", "on_activate", "on_deactivate", "on_delete")
PROCESS_HOOKS: Final = ("on_start", "on_stop")

_MARK: Final = "__goverse_"
_HOOK_BY_LETTERS: Final = {hook.replace("_", ""): hook for hook in HOOKS}
_SIMILAR: Final = 0.85  # 'on_activity' (0.80) is a name of the application, 'on_active' (0.89) a mistyped hook
_METHODS: Final = (staticmethod, classmethod)


def name_of(function: object) -> str:
    """Return ``Class.method`` for messages, even if another decorator wraps the function."""
    inner = getattr(function, "__func__", getattr(function, "fget", function))
    return str(getattr(inner, "__qualname__", inner)).rpartition("<locals>.")[2]


def not_on(owner: str, mark: str, value: object) -> str:
    """Return the error for a decorator that exports a method, on a value that cannot be exported."""
    return (
        f"{owner}: {mark} goes directly on a function that takes self, not on a {type(value).__name__}; remove the "
        "other decorator, or call the decorated function from an exported method"
    )


def check_flag(owner: str, option: str, value: object) -> None:
    """Check that a value is True or False.

    Raises:
        DefinitionError: the value is not a bool.
    """
    if not isinstance(value, bool):
        raise DefinitionError(f"{owner}: {option} is {value!r}; write {option}=True or {option}=False")


def check_seconds(owner: str, option: str, value: object) -> None:
    """Check that a value is a finite number of seconds greater than 0.

    Raises:
        DefinitionError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DefinitionError(
            f"{owner}: {option} is {value!r}; use a number of seconds greater than 0, for example {option}=5"
        )
    if not (math.isfinite(value) and value > 0):
        raise DefinitionError(f"{owner}: {option} is {value}; it must be a finite number greater than 0")


def check_number(owner: str, option: str, value: object) -> None:
    """Check that a value is an integer of at least 1.

    Raises:
        DefinitionError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise DefinitionError(f"{owner}: {option} is {value!r}; use a whole number, for example {option}=2")
    if value < 1:
        raise DefinitionError(f"{owner}: {option} is {value}; it must be at least 1")


def declared_errors(errors: Any) -> tuple[Any, ...]:
    """Return ``errors`` as a tuple; it may be a single class, because ``raises=(SoldOut)`` is not a tuple."""
    if isinstance(errors, type | str):
        return (errors,)
    try:
        return tuple(errors)
    except TypeError:  # a single value of another kind
        return (errors,)


def check_exceptions(owner: str, errors: Collection[object]) -> None:
    """Check that all members are exception classes.

    Raises:
        DefinitionError: a member is not.
    """
    for error in errors:
        if not (isinstance(error, type) and issubclass(error, Exception)):
            raise DefinitionError(f"{owner}: {error!r} is not an exception class; list classes like SoldOut")


def check_signature(owner: str, function: Callable[..., Any], hints: Mapping[str, Any]) -> None:
    """Check that a method takes ``self`` and that all other parameters have annotations.

    Raises:
        DefinitionError: ``self`` is missing, or a parameter has no annotation and so would accept any value.
    """
    parameters = list(inspect.signature(function).parameters.values())
    first = parameters[0] if parameters else None
    if first is None or first.kind is first.KEYWORD_ONLY or (first.name != "self" and first.name in hints):
        raise DefinitionError(f"{owner} does not take the object: make self its first parameter")
    for parameter in parameters[1:]:
        if parameter.name not in hints:
            raise DefinitionError(
                f"{owner}: parameter {parameter.name!r} has no annotation and would accept any value; annotate it, for "
                f"example {parameter.name}: int (or {parameter.name}: Any, if any JSON value is valid)"
            )


def check_migration(owner: str, function: Callable[..., Any]) -> None:
    """Check that a migration is a plain function with one parameter.

    Raises:
        DefinitionError: it also takes ``self``, or it returns a coroutine or an async generator.
    """
    if len(inspect.signature(function).parameters) != 1:
        raise DefinitionError(
            f"{owner} is a migration; make it a @staticmethod that takes the stored state and nothing else"
        )
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise DefinitionError(f"{owner} is a migration; make it a plain def that returns the state")


def check_members(user_class: type[Any], bases: Collection[type[Any]], reserved: Collection[str]) -> None:
    """Check the names of a class's members.

    Raises:
        DefinitionError: a hook is not a function, a name resembles that of a hook, or a member replaces a member of
            ``Object``.
    """
    for base in bases:
        for name, value in vars(base).items():
            owner = f"{user_class.__name__}.{name}"
            if name in HOOKS:
                _check_hook(owner, value)
            elif name in reserved and name != "goverse_policy" and not _is_marked(value):
                raise DefinitionError(
                    f"{owner} replaces {name!r} of goverse.Object, which the object model uses; choose another name"
                )
            elif (hook := _resembled_hook(name)) and _is_method(value) and not _is_marked(value):
                raise DefinitionError(
                    f"{owner} has no decorator and is not a hook, so GoVerse never runs it; did you mean {hook}? If "
                    f"it is a method of your own, choose a name that does not resemble a hook ({', '.join(HOOKS)})"
                )
            elif (mark := _process_hook(name)) and _is_method(value) and not _is_marked(value):
                raise DefinitionError(
                    f"{owner}: {mark} is a function of the application's module, not a method, so GoVerse never runs "
                    f"it here; move it out of the class and decorate it with @{mark}, or use one of the hooks for "
                    f"objects: {', '.join(HOOKS)}"
                )


def _check_hook(owner: str, value: object) -> None:
    if not inspect.isfunction(value):
        raise DefinitionError(
            f"{owner} is a hook and must be a function that takes self, not a {type(value).__name__}; remove the "
            "other decorator"
        )


def _is_method(value: object) -> bool:
    return inspect.isfunction(value) or isinstance(value, _METHODS)


def _is_marked(value: object) -> bool:
    inner = getattr(value, "__func__", getattr(value, "fget", value))
    return any(name.startswith(_MARK) for name in getattr(inner, "__dict__", {}))


def _process_hook(name: str) -> str | None:
    letters = name.replace("_", "").lower() if name.startswith("on") else ""
    return next((hook for hook in PROCESS_HOOKS if hook.replace("_", "") == letters), None)


def _resembled_hook(name: str) -> str | None:
    letters = name.replace("_", "").lower()
    if not name.startswith("on"):
        return None
    if letters.endswith("ion"):
        letters = f"{letters[:-3]}e"
    near = get_close_matches(letters, _HOOK_BY_LETTERS, 1, _SIMILAR)
    return _HOOK_BY_LETTERS[near[0]] if near and near[0][2] == letters[2] else None
