"""Context variables of turns.

Each turn runs in its own context, a copy of the context in which the node started. A value that a method sets in a
``ContextVar`` (a tenant, a user, bound log fields) is visible to the rest of its turn and to the tasks that it starts.
It is never visible to another call, and a method never sees values that its caller has set. This holds for plain
functions, coroutines and hooks, and for callers in this process and in others.

A context copy is shallow, so a mutable value that the application set before the node started is shared by all turns.
The standard library has one such value that is changed in place, the decimal context
(``decimal.getcontext().prec = 4``), so each turn gets its own copy of it. A decimal context with the default settings
is left out of the copied context. Python then creates a new one in a turn that needs it, and other turns pay nothing.
"""

from __future__ import annotations

import decimal
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from functools import partial

from goverse.objects.context import current_turn


class TurnContexts:
    """Creates the contexts of a node's turns."""

    def __init__(self) -> None:
        """Use the current context as the template for every turn."""
        self._clean = Context()
        shared: decimal.Context | None = None
        variables: dict[ContextVar[object], object] = dict(copy_context())
        for variable, value in variables.items():
            if not isinstance(value, decimal.Context):
                self._clean.run(variable.set, value)
            elif _rules(value) != _rules(decimal.DefaultContext):
                self._clean.run(variable.set, value)
                shared = value
        self._clean.run(current_turn.set, None)  # setting a variable that exists in the context is faster
        self.new: Callable[[], Context] = self._clean.copy if shared is None else partial(self._with_decimal, shared)
        """Return a new context for a turn."""

    def _with_decimal(self, shared: decimal.Context) -> Context:
        context = self._clean.copy()
        context.run(decimal.setcontext, shared.copy())
        return context


def _rules(context: decimal.Context) -> tuple[object, ...]:
    """Return the settings of a decimal context, without its flags, which are results of calculations."""
    places = (context.prec, context.rounding, context.Emin, context.Emax)
    return (*places, context.capitals, context.clamp, dict(context.traps))
