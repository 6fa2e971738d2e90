"""Context variables of turns.

Each turn runs in a context of its own: a copy of the one in which the node started. What a method sets in a
``ContextVar`` (a tenant, a user, bound log fields) is seen by the rest of its turn and by the tasks that it starts,
never by another call, and a method never sees what its caller set. That is the same for plain functions, coroutines and
hooks, and for callers in this process and in another one.

A copy is shallow, so a mutable value that the application set before the node started is shared by all turns. The
decimal context is the one such value that the standard library changes in place (``decimal.getcontext().prec = 4``);
each turn gets its own. Python makes it when a thread first needs it, so one that the application left as it is stays
out of the clean context: a turn that needs it gets a new one, and others pay for none.
"""

from __future__ import annotations

import decimal
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from functools import partial

from goverse.objects.context import current_turn


class TurnContexts:
    """Makes the contexts of a node's turns."""

    def __init__(self) -> None:
        """Take the current context as the one that every turn begins with."""
        self._clean = Context()
        shared: decimal.Context | None = None
        variables: dict[ContextVar[object], object] = dict(copy_context())
        for variable, value in variables.items():
            if not isinstance(value, decimal.Context):
                self._clean.run(variable.set, value)
            elif _rules(value) != _rules(decimal.DefaultContext):
                self._clean.run(variable.set, value)
                shared = value
        self._clean.run(current_turn.set, None)  # a variable that is there already is set faster
        self.new: Callable[[], Context] = self._clean.copy if shared is None else partial(self._with_decimal, shared)
        """Returns a context for one turn."""

    def _with_decimal(self, shared: decimal.Context) -> Context:
        context = self._clean.copy()
        context.run(decimal.setcontext, shared.copy())
        return context


def _rules(context: decimal.Context) -> tuple[object, ...]:
    """Return all of a decimal context that an application sets; flags are what calculations leave."""
    places = (context.prec, context.rounding, context.Emin, context.Emax)
    return (*places, context.capitals, context.clamp, dict(context.traps))
