"""Unknown options of a function of the API: the error suggests the nearest option and lists all of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from goverse.model.near_names import advice

P = ParamSpec("P")
R = TypeVar("R")


def known_options(name: str, error: type[Exception] = TypeError) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function, which messages call ``name``, refuse options other than its keyword-only parameters.

    >>> @known_options("field()")
    ... def field(*, default: object = None, hidden: bool = False) -> None: ...
    >>> field(hiden=True)
    TypeError: field() has no option 'hiden'; did you mean 'hidden'? Its options are default, hidden
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        parameters = inspect.signature(function).parameters.values()
        options = {each.name: None for each in parameters if each.kind is each.KEYWORD_ONLY}

        @wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            if not kwargs.keys() <= options.keys():
                unknown = next(option for option in kwargs if option not in options)
                hint = advice(unknown, options, f"its options are {', '.join(options)}")
                raise error(f"{name} has no option {unknown!r}; {hint}")
            return function(*args, **kwargs)

        return checked

    return decorate
