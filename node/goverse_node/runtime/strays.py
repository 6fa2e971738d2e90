"""Strays: tasks, callbacks and threads that a method left running when its turn ended.

Each of them holds a copy of the turn's context, and with it the turn's ``Scope``. Nothing else refers to a scope. A
scope that is alive after its turn therefore belongs to a stray, which may change the object later, while no turn runs.
As long as an object has strays, its state is compared before each turn (``State.undo_strays``). Without strays the
cost is one weak reference per turn.
"""

from __future__ import annotations

from weakref import ref

from goverse_node.runtime.scope import Scope

_NAMES_MAX = 5


class Strays:
    """The scopes of one object that outlived their turns."""

    __slots__ = ("_alive", "_ended")

    def __init__(self) -> None:
        self._alive: dict[ref[Scope], str] = {}
        self._ended: list[str] = []

    def add(self, turn: str, mark: ref[Scope]) -> None:
        """Track a scope that is alive although its turn has ended. ``turn`` is the turn's name for messages."""
        scope = mark()
        if scope is not None:
            self._alive[ref(scope, self._forget)] = turn

    def _forget(self, mark: ref[Scope]) -> None:
        name = self._alive.pop(mark, None)
        if name is not None and len(self._ended) < _NAMES_MAX:
            self._ended.append(name)

    def names(self) -> list[str]:
        """Return the turns with strays since the last comparison, as method name and request id."""
        return [*self._ended, *tuple(self._alive.values())[:_NAMES_MAX]][:_NAMES_MAX]

    def checked(self) -> bool:
        """Forget the strays that have ended, after a comparison of the state. Return False if none is left."""
        self._ended.clear()
        return bool(self._alive)
